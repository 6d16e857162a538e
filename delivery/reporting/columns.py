"""A report as CSV, made for an invoicing program: one row a tenant, one documented column a figure.

RFC 4180, UTF-8 without a mark at its head, a comma between cells. Nothing is
rounded or turned into another unit: whole numbers as they stand in the record,
instants as ISO 8601 in UTC. An empty cell means that it is not known or that there
is none, never zero. Column names are fixed: columns may be added at the end, never
renamed, and docs/usage-report-columns.md is made from this list.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from delivery.reporting.usage import Report, TenantUsage
from meter.model import Instant

#: What a spreadsheet may take for a formula when it opens a CSV (OWASP, "CSV injection"; the wide forms too).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - the wide forms are meant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its heading, fixed for ever.
        doc: What it says; markdown, one line.
        value: Takes it from a tenant of a report; None: an empty cell.
    """

    name: str
    doc: str
    value: Callable[[Report, TenantUsage], str | int | None]


def _of(path: str) -> Callable[[Report, TenantUsage], Any]:
    """Take a field of the tenant by its dotted name; None as soon as one of them is None."""

    def value(_: Report, usage: TenantUsage) -> Any:
        found: Any = usage
        for name in path.split("."):
            found = None if found is None else getattr(found, name)
        return found

    return value


def _instant(path: str) -> Callable[[Report, TenantUsage], str | None]:
    taken = _of(path)

    def value(report: Report, usage: TenantUsage) -> str | None:
        at = taken(report, usage)
        return None if at is None else iso(at)

    return value


def _flag(path: str) -> Callable[[Report, TenantUsage], str | None]:
    taken = _of(path)

    def value(report: Report, usage: TenantUsage) -> str | None:
        found = taken(report, usage)
        return None if found is None else str(found).lower()

    return value


def partner_name(report: Report, usage: TenantUsage) -> str | None:
    """Return the name of the partner who gets this tenant's month; None: the provider himself, or no name is known."""
    if usage.partner is None:
        return None
    names = {each: name for each, name, _ in report.partners}
    return names.get(usage.partner, report.name if usage.partner == report.partner else None)


def _revision(report: Report, _: TenantUsage) -> int:
    return report.revision


#: Every column, in order.
COLUMNS: Final[tuple[Column, ...]] = (
    Column("period", "the period's name, as `2026-11`", lambda report, _: report.period),
    Column("report_revision", "1 for the first report of the period; a later one replaces it", _revision),
    Column("state", "`final`, `corrected`: to be billed; `open`: the last interim's figures; `missing`: nothing came", _of("state")),
    Column("partner", "id of the partner who gets this month; empty: the provider himself", _of("partner")),
    Column("partner_name", "his name", partner_name),
    Column("customer", "the provider's customer number", _of("customer")),
    Column("agent", "who measured; with `tenant` the key of a tenant", _of("agent")),
    Column("tenant", "the tenant's id at that agent", _of("tenant")),
    Column("tenant_name", "the tenant's name", _of("name")),
    Column("period_start", "first instant of the period", _instant("start")),
    Column("period_end", "first instant after the period", _instant("end")),
    Column("timezone", "IANA time zone of the period's days", _of("timezone")),
    Column("as_of", "up to when the figures go; earlier than `period_end` where `state` is `open`", _instant("as_of")),
    Column("basis", "what the contract bills: `channels` (lines), `calls`, or `answered` calls", _of("basis")),
    Column("peak", "the highest number at once", _of("peak.level")),
    Column("peak_at", "when it was first reached; empty for a peak of 0", _instant("peak.at")),
    Column("peak_ms", "how long it lasted then, in milliseconds", _of("peak.ms")),
    Column("peak_source", "`seen`, `proved` (through a gap), `sampled` (between polls), or `call_log`", _of("peak.source")),
    Column("peak_lower_bound", "`true`: it may have been higher in time that was not observed", _flag("peak.lower_bound")),
    Column("capacity", "lines agreed: by the contract, else as the agent was configured", _of("capacity")),
    Column("recorded_capacity", "as the agent was configured, if the contract says something else", _of("recorded_capacity")),
    Column("over_count", "how many times over the capacity; empty where it was, but the agent did not count against it", _of("over.count")),
    Column("over_ms", "time over the capacity, in milliseconds", _of("over.ms")),
    Column("package", "the smallest package on offer that the peak fits into; empty: none does, or none is known", _of("package")),
    Column("users", "users at the end of the period", _of("users")),
    Column("users_max", "users at most", _of("users_max")),
    *(
        column
        for name, said in (("inbound", "in"), ("outbound", "out"), ("unknown", "of unknown direction"))
        for column in (
            Column(f"{name}_legs", f"call legs {said} that began in the period", _of(f"{name}.legs")),
            Column(f"{name}_answered_ms", f"answered time {said} within the period, in milliseconds", _of(f"{name}.answered_ms")),
            Column(f"{name}_billable_s", f"seconds to bill {said}: answered legs that ended in the period, each rounded up to a whole second", _of(f"{name}.billable_s")),
        )
    ),
    Column("expected_ms", "length of the period up to `as_of`, in milliseconds", _of("expected_ms")),
    Column("observed_ms", "how much of it was observed", _of("observed_ms")),
    Column("gaps", "how many gaps are known by name, 100 at most", lambda _, usage: None if usage.as_of is None else len(usage.gaps)),
    Column("unclassified", "call legs that no rule knows; they count in no figure", _of("unclassified")),
    Column("clock_synchronised", "`true` or `false`: whether the agent's clock was", _flag("synchronised")),
    Column("record", "id of the signed record that the figures come from", _of("proof.record")),
    Column("record_sha256", "SHA-256 of the record's signed bytes", _of("proof.sha256")),
    Column("record_revision", "1 for a final, higher for a correction, 0 for an interim", _of("proof.revision")),
    Column("key_thumbprint", "RFC 7638 thumbprint of the key that signed it", _of("proof.kid")),
)  # fmt: skip


def csv_bytes(report: Report) -> bytes:
    """Return a report's tenants as CSV, in the order of the report. The same report, the same bytes.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(attrgetter("name"), COLUMNS))
    writer.writerows([_cell(column.value(report, one)) for column in COLUMNS] for one in report.tenants)
    return out.getvalue().encode()


def columns_page() -> str:
    """Return docs/usage-report-columns.md: what every column says."""
    rows = "".join(f"| {at} | `{column.name}` | {column.doc} |\n" for at, column in enumerate(COLUMNS, 1))
    return f"{_PAGE}| | column | says |\n|---|---|---|\n{rows}"


def iso(at: Instant) -> str:
    """Write an instant as `2026-11-12T09:31:07.412Z`."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: str | int | None) -> str | int:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


_PAGE: Final = """# Columns of the usage report's CSV

One row a tenant; made for import into an invoicing program. UTF-8 without a byte order mark, a comma between
cells, quotes as RFC 4180 has them, lines end with CR LF. The first row names the columns; read them by name:
columns may be added at the end, none is ever renamed.

- Numbers are whole. `_ms` are milliseconds, `_s` seconds; divide by 60 for minutes, and round where your
  contract says so: nothing is rounded here but what the column says.
- Instants are ISO 8601 in UTC with milliseconds.
- **An empty cell means "not known" or "there is none", never zero.** Do not read it as 0.
- Bill rows whose `state` is `final` or `corrected`. A row that is `open` or `missing` stands there so that
  nobody is forgotten: a later revision of the report has its figures.
- A text that begins with `=`, `+`, `-`, `@`, a tab or a line break has an apostrophe before it, so that no
  spreadsheet takes a name for a formula. For reading in a spreadsheet there is the XLSX.

This page is made from `delivery/reporting/columns.py`, and a test holds the two together.

"""
