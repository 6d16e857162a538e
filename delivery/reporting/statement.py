"""One tenant's statement, on one page and in words: for a customer who wants to check what he pays for."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from delivery.reporting import charts
from delivery.reporting.html import rendered
from delivery.reporting.overview import moment, period_name, span
from delivery.reporting.sheet import sheet
from delivery.reporting.usage import Brand, TenantUsage
from delivery.wording import Wording, wording
from meter.model import DEFINITION, Instant

_STEPS: Final = ("take", "key", "type")


def statement_html(usage: TenantUsage, *, period: str, language: str, brand: Brand, made_at: Instant) -> str:
    """Return a tenant's statement as HTML: what was measured, what was not, and how to check it.

    Args:
        usage: Whose; without a proof the page says that no signed record came.
        period: The period's name, as in `2026-11`.
        language: `nl`, `en`, `it` or `de`.
        brand: In whose name it is read.
        made_at: When the figures were put together.

    Raises:
        ValueError: No such language, or the brand's colour is not `#rrggbb`.
        zoneinfo.ZoneInfoNotFoundError: There is no such time zone.
    """
    words = wording(language)
    zone = ZoneInfo(usage.timezone)
    name = period_name(period, usage.start, usage.end, zone, words)
    small = [span(usage.start, usage.end, zone, usage.timezone, words)]
    if usage.proof is not None and usage.proof.revision:  # an interim has none
        made = moment(made_at, zone, words)
        small.append(words.say("report.revision", n=usage.proof.revision, moment=made))
    return rendered(
        "report_statement.html",
        brand=brand,
        words=words,
        heading=f"{usage.name}: {words.say('report.statement.title')}, {name}",
        made_at=made_at,
        sheet=sheet(usage, words, width=charts.PAGE),
        narrow=sheet(usage, words),
        lead=words.say("report.statement.lead", name=usage.name, period=name),
        basis=words.say(f"basis.{usage.basis}"),
        small=tuple(small),
        proof=proof_lines(usage, words),
        steps=tuple(words.say(f"report.proof.{step}") for step in _STEPS),
        definition=DEFINITION,
    )


def proof_lines(usage: TenantUsage, words: Wording) -> tuple[tuple[str, str], ...]:
    """Return (what, value) of the signed record that the figures come from; empty: there is none."""
    if usage.proof is None:
        return ()
    proof = usage.proof
    lines = (("record", proof.record), ("sha256", proof.sha256), ("kid", proof.kid))
    return tuple((words.say(f"report.proof.{key}"), value) for key, value in lines)
