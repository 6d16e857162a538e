"""All reports of one revision of a period, the whole and every partner's, and the one document that keeps them.

A partner's report holds no tenant that the whole does not hold, so the document writes
each tenant once and the partners' reports name theirs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from delivery.reporting.document import Unreadable, plain, restored
from delivery.reporting.usage import Report
from meter.canonical import canonical_bytes, exact

#: What a document calls itself.
VERSION: Final = "pbx-meter month 1"


@dataclass(frozen=True, slots=True)
class Reports:
    """One revision of a period.

    Attributes:
        whole: The provider's own report, over everybody.
        partners: The report of each partner that has tenants, himself or below, by id.
    """

    whole: Report
    partners: tuple[Report, ...]

    def of(self, partner: str | None) -> Report | None:
        """Return the report of a partner, or the whole; None: he has none."""
        if partner is None:
            return self.whole
        return next((report for report in self.partners if report.partner == partner), None)


def same(one: Reports, other: Reports) -> bool:
    """Whether two revisions state the same.

    Names and brands, when it was made and what it is compared with are no statements.
    """
    return bool(_stated(one) == _stated(other))


def _stated(reports: Reports) -> Any:
    return (
        reports.whole.tenants,
        [
            (
                report.partner,
                report.customers,
                report.heap,
                [(partner, heap) for partner, _, heap in report.partners],
            )
            for report in (reports.whole, *reports.partners)
            if report.tenants or report.partner is None
        ],
    )


def written(reports: Reports) -> bytes:
    """Return all of it as JSON text in its one form, UTF-8."""
    number = {(one.agent, one.tenant): at for at, one in enumerate(reports.whole.tenants)}
    return canonical_bytes(
        {
            "document": VERSION,
            "whole": plain(reports.whole),
            "partners": [
                {
                    "report": plain(dataclasses.replace(report, tenants=())),
                    "tenants": [number[one.agent, one.tenant] for one in report.tenants],
                }
                for report in reports.partners
            ],
        }
    )


def read(document: bytes) -> Reports:
    """Return what a document holds.

    Raises:
        Unreadable: It is no such document.
    """
    try:
        value = exact(document)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if not isinstance(value, dict) or value.get("document") != VERSION:
        raise Unreadable(f"it does not call itself {VERSION!r}")
    whole = restored(Report, value.get("whole"))
    try:
        partners = tuple(
            dataclasses.replace(
                restored(Report, each["report"]), tenants=tuple(whole.tenants[at] for at in each["tenants"])
            )
            for each in value["partners"]
        )
    except (KeyError, IndexError, TypeError) as error:
        raise Unreadable("the partners' reports are not written whole") from error
    return Reports(whole, partners)
