"""Figures as people of a language write them: whole numbers, shares, lasting times.

Everything is cut off and nothing rounded up: what people read is never more than
was measured, and 100 % is said of the whole only.
"""

from __future__ import annotations

from typing import Final

from delivery.wording import Wording

#: What stands for a figure that is not known. It never looks like zero.
UNKNOWN: Final = "?"
#: What stands where there is nothing to say: nobody agreed on it, or it never happened.
NOTHING: Final = "–"  # noqa: RUF001 - the dash that typesetters use for it


def count(n: int | None, words: Wording) -> str:
    """Return a whole number with its thousands set apart: `13.566`; None: `?`."""
    if n is None:
        return UNKNOWN
    return f"{n:,}".replace(",", words.say("report.number.thousands"))


def minutes(seconds: int | None, words: Wording) -> str:
    """Return seconds as whole minutes, cut off: `13.566`; None: `?`."""
    return count(None if seconds is None else seconds // 60, words)


def lasting(ms: int | None) -> str:
    """Return a time as `h:mm:ss`, cut off; None: `?`; something under a second: `<0:00:01`."""
    if ms is None:
        return UNKNOWN
    if 0 < ms < 1000:  # noqa: PLR2004 - a second: what exists does not look like nothing
        return "<0:00:01"
    whole, seconds = divmod(ms // 1000, 60)
    return f"{whole // 60}:{whole % 60:02}:{seconds:02}"


def share(part: int | None, whole: int | None, words: Wording) -> str:
    """Return a part in per cent with two decimals, cut off; None, or nothing to be a part of: `?`."""
    if part is None or not whole:
        return UNKNOWN
    if part == whole:
        return words.say("report.number.percent", share="100")
    hundredths = 10_000 * part // whole
    decimal = words.say("report.number.decimal")
    return words.say("report.number.percent", share=f"{hundredths // 100}{decimal}{hundredths % 100:02}")
