"""The words of what people read, in their language.

One catalogue per language (`delivery/languages/<code>.toml`): every sentence, the
forms of plurals, the names of months and days, the shape of dates. A test holds
all of them to the same keys and the same placeholders.

An entry is a sentence with `{placeholders}`, or a table `one`/`other` of which
the number `n` chooses: that is all the four languages need.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib import resources
from typing import Any, Final

from meter.model import Instant

#: The languages that there is a catalogue for.
LANGUAGES: Final = ("de", "en", "it", "nl")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_S: Final = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


@dataclass(frozen=True, slots=True)
class Wording:
    """One language's catalogue.

    Attributes:
        code: ISO 639-1.
        texts: Sentences and plural tables by dotted key (`over.lead`).
        months: January first.
        weekdays: Monday first.
    """

    code: str
    texts: Mapping[str, str | Mapping[str, str]]
    months: tuple[str, ...]
    weekdays: tuple[str, ...]

    def say(self, key: str, **values: str | int) -> str:
        """Return the sentence of a key with its placeholders filled in.

        Args:
            key: Its dotted name.
            values: What fills the placeholders, taken as it is; `n` also chooses between
                `one` and `other`.

        Raises:
            LookupError: No such key, or a placeholder without a value: a bug that the tests find.
        """
        text = self.texts[key]
        if not isinstance(text, str):
            text = text["one" if values["n"] == 1 else "other"]
        return text.format(**values)

    def duration(self, ms: int) -> str:
        """Return a duration in words, its two largest units at most: `1 minute and 42 seconds`.

        Cut off, not rounded: what people read is never more than was measured.
        """
        seconds = ms // 1000
        parts = []
        for unit, size in _UNITS_S:
            count, seconds = divmod(seconds, size)
            if count:
                parts.append(self.say(f"duration.{unit}", n=count))
            elif parts:
                break  # "1 hour and 3 seconds" says more than anybody measures by
            if len(parts) == 2:  # noqa: PLR2004 - two units, as promised
                break
        return self.say("duration.and").join(parts) if parts else self.say("duration.moment")

    def date(self, at: Instant, tz: tzinfo) -> str:
        """Return the local day in full: `Thursday 12 November 2026`."""
        return self.say("time.date", **self._fields(at, tz))

    def clock(self, at: Instant, tz: tzinfo) -> str:
        """Return the local time to the second with the zone's own short name: `10:31:07 (CET)`."""
        return self.say("time.clock", **self._fields(at, tz))

    def moment(self, at: Instant, tz: tzinfo) -> str:
        """Return day and time, short: `12 November, 10:31`."""
        return self.say("time.moment", **self._fields(at, tz))

    def period(self, start: Instant, end: Instant, tz: tzinfo) -> str:
        """Return a period as it stands before what happened in it: `In November 2026`."""
        first, last = _local(start, tz), _local(end, tz)
        midnight = first.time() == last.time() == datetime.min.time()
        if midnight and first.day == last.day == 1 and _months(last) - _months(first) == 1:
            return self.say("period.month", **self._fields(start, tz))
        if midnight and last.date() - first.date() == timedelta(days=1):
            return self.say("period.day", **self._fields(start, tz))
        return self.say("period.span", start=self.moment(start, tz), end=self.moment(end, tz))

    def _fields(self, at: Instant, tz: tzinfo) -> dict[str, str | int]:
        local = _local(at, tz)
        return {
            "weekday": self.weekdays[local.weekday()],
            "day": local.day,
            "month": self.months[local.month - 1],
            "year": local.year,
            "minutes": f"{local:%H:%M}",
            "seconds": f"{local:%H:%M:%S}",
            "zone": local.tzname() or "UTC",
        }


@cache
def wording(code: str) -> Wording:
    """Return the catalogue of a language.

    Raises:
        ValueError: There is none; the error names those that there are.
    """
    if code not in LANGUAGES:
        raise ValueError(f"no wording in this language; there is {', '.join(LANGUAGES)}")
    content = resources.files("delivery").joinpath("languages", f"{code}.toml").read_text(encoding="utf-8")
    catalogue = tomllib.loads(content)
    return Wording(
        code=code,
        months=tuple(catalogue.pop("months")),
        weekdays=tuple(catalogue.pop("weekdays")),
        texts=dict(_flat(catalogue)),
    )


def _flat(tables: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str | Mapping[str, str]]]:
    """Give every entry its dotted key; a table of `one` and `other` is one entry."""
    entries: list[tuple[str, str | Mapping[str, str]]] = []
    for name, value in tables.items():
        if isinstance(value, str) or value.keys() == {"one", "other"}:
            entries.append((prefix + name, value))
        else:
            entries += _flat(value, f"{prefix}{name}.")
    return entries


def _local(at: Instant, tz: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(tz)


def _months(day: datetime) -> int:
    return day.year * 12 + day.month
