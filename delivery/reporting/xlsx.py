"""A report as a workbook, for people: numbers are numbers, dates dates of the report's zone, headings their language.

XlsxWriter makes it: it only writes, which is all that is needed, pulls in nothing
else, keeps memory flat, and gives the same bytes for the same input. It is loaded
when the first workbook is made: an agent does without it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from delivery.mail import Brand as Look
from delivery.reporting.columns import partner_name
from delivery.reporting.overview import Overview, field_name, overview, peak_range
from delivery.reporting.sheet import badge
from delivery.reporting.usage import Heap, Report, State, TenantUsage
from delivery.wording import Wording, wording
from meter.model import Instant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: A day in ms: Excel counts lasting times in days.
_DAY_MS: Final = 86_400_000
#: Sheet names are that long at most, and hold none of these (Excel's own rule).
_LONGEST_NAME: Final = 31
_FORBIDDEN: Final = str.maketrans("", "", "[]:*?/\\")


class XlsxUnavailableError(RuntimeError):
    """This machine can't make a workbook; the message says what to install."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """One column: its heading, its kind (`text`, `number`, `moment`, `lasting`) and its width in characters."""

    heading: str
    kind: str
    width: int


def xlsx(report: Report) -> bytes:
    """Return a report as an .xlsx of five sheets: tenants, partners, customers, what is missing, what changed.

    A cell without a figure is empty: not known, or none. The same report gives the same
    bytes under the same version of XlsxWriter.

    Raises:
        XlsxUnavailableError: XlsxWriter is missing.
        ValueError: No such language, or the brand's colour is not `#rrggbb`.
    """
    try:
        import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - see above; no types upstream
    except ImportError as error:
        raise XlsxUnavailableError("a workbook needs XlsxWriter -> pip install xlsxwriter") from error
    words = wording(report.language)
    page = overview(report, words)
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    book.set_properties(
        {
            "title": f"{page.whose}: {page.title}",
            "author": report.brand.name,
            "created": _EPOCH.replace(tzinfo=None) + timedelta(milliseconds=report.made_at),
        }
    )
    sheets = _Sheets(book, report, page, words)
    sheets.add(words.say("report.column.tenants"), *_tenants(report, words))
    sheets.add(words.say("report.column.partner"), *_partners(report, words))
    sheets.add(words.say("report.column.customer"), *_customers(report, words))
    sheets.add(words.say("report.page.missing"), *_missing(report, page, words))
    sheets.add(page.compared, *_differences(page, words))
    book.close()
    return out.getvalue()


class _Sheets:
    """Writes tables into a workbook, each on a sheet of its own, all in one look."""

    def __init__(self, book: Any, report: Report, page: Overview, words: Wording) -> None:
        look = Look(report.brand.name, report.brand.colour)
        top = {"valign": "top"}
        self._book, self._page, self._words = book, page, words
        self._zone = ZoneInfo(report.timezone)
        self._title = book.add_format({"bold": True, "font_size": 14})
        self._small = book.add_format({"font_color": "#5c636a"})
        self._head = book.add_format(
            {
                "bold": True,
                "bg_color": look.colour,
                "font_color": look.ink,
                "text_wrap": True,
                "valign": "vcenter",
            }
        )
        self._formats = {
            "text": book.add_format(top),
            "number": book.add_format({"num_format": "#,##0", **top}),
            "moment": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", **top}),
            "lasting": book.add_format({"num_format": "[h]:mm:ss", **top}),
        }

    def add(self, name: str, columns: Sequence[_Cell], rows: Iterable[Sequence[Any]]) -> None:
        """Add one sheet; None leaves a cell empty."""
        sheet = self._book.add_worksheet(name.translate(_FORBIDDEN)[:_LONGEST_NAME])
        sheet.write_string(0, 0, f"{self._page.whose}: {self._page.title}", self._title)
        sheet.write_string(1, 0, f"{self._page.verdict} {' '.join(self._page.small)}", self._small)
        for at, column in enumerate(columns):
            sheet.set_column(at, at, column.width)
            sheet.write_string(3, at, column.heading, self._head)
        last = 3
        for last, row in enumerate(rows, 4):
            for at, (column, value) in enumerate(zip(columns, row, strict=True)):
                self._write(sheet, last, at, column.kind, value)
        sheet.set_row(3, 32)
        sheet.freeze_panes(4, 1)
        sheet.autofilter(3, 0, last, len(columns) - 1)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(3)
        # An ampersand is a code in a footer of Excel's: doubled, it is itself.
        sheet.set_footer(f"&L{self._page.whose.replace('&', '&&')}&R&P / &N"[:255])

    def _write(self, sheet: Any, row: int, at: int, kind: str, value: Any) -> None:
        format_ = self._formats[kind]
        if value is None:
            sheet.write_blank(row, at, None, format_)
        elif kind == "text":  # never `write`, which takes some texts for formulas and links
            sheet.write_string(row, at, str(value), format_)
        elif kind == "moment":
            sheet.write_datetime(row, at, _local(value, self._zone), format_)
        else:
            sheet.write_number(row, at, value / _DAY_MS if kind == "lasting" else value, format_)


def _local(at: Instant, zone: ZoneInfo) -> datetime:
    """Return an instant as the zone's wall shows it, to the second; a workbook knows no zones."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).replace(tzinfo=None, microsecond=0)


_TENANT: Final[tuple[tuple[str, str, int], ...]] = (
    ("name", "text", 30), ("customer", "text", 14), ("partner", "text", 22), ("state", "text", 14),
    ("peak.level", "number", 9), ("peak.at", "moment", 20), ("peak.ms", "lasting", 11),
    ("peak.lower_bound", "text", 11), ("capacity", "number", 10), ("recorded_capacity", "number", 12),
    ("over.count", "number", 11), ("over.ms", "lasting", 11), ("package", "number", 11),
    ("users", "number", 11), ("users_max", "number", 11),
    ("inbound.billable_s", "lasting", 12), ("outbound.billable_s", "lasting", 12),
    ("unknown.billable_s", "lasting", 12), ("inbound.legs", "number", 12), ("outbound.legs", "number", 12),
    ("expected_ms", "lasting", 12), ("observed_ms", "lasting", 12), ("gaps", "number", 8), ("as_of", "moment", 20),
    ("agent", "text", 12), ("tenant", "text", 14), ("proof.record", "text", 30), ("proof.sha256", "text", 66),
)  # fmt: skip


def _tenants(report: Report, words: Wording) -> tuple[list[_Cell], list[list[Any]]]:
    said: dict[str, Callable[[TenantUsage], Any]] = {
        "state": lambda one: badge(one, words) or words.say("report.state.final"),
        "partner": lambda one: partner_name(report, one) or one.partner,
        "gaps": lambda one: None if one.state is State.MISSING else len(one.gaps),
        "peak.lower_bound": lambda one: None if one.peak is None or not one.peak.lower_bound else "≥",
    }

    def value(one: TenantUsage, path: str) -> Any:
        if path in said:
            return said[path](one)
        found: Any = one
        for name in path.split("."):
            found = None if found is None else getattr(found, name)
        return found * 1000 if path.endswith("_s") and found is not None else found

    columns = [_Cell(field_name(path, words), kind, width) for path, kind, width in _TENANT]
    return columns, [[value(one, path) for path, _, _ in _TENANT] for one in report.tenants]


def _heap_columns(first: str, words: Wording) -> list[_Cell]:
    numbers = (
        "tenants",
        "missing",
        "users",
        "users_unknown",
        "capacity",
        "peak.at_least",
        "peak.at_most",
        "peak_unknown",
        "peak_unsure",
    )
    return [
        _Cell(first, "text", 30),
        *(_Cell(field_name(name, words), "number", 14) for name in numbers),
        _Cell(words.say("report.column.together"), "text", 14),
        *(
            _Cell(field_name(f"{way}.billable_s", words), "lasting", 14)
            for way in ("inbound", "outbound", "unknown")
        ),
    ]


def _heap_row(heap: Heap, words: Wording) -> list[Any]:
    ways = (heap.inbound.billable_s, heap.outbound.billable_s, heap.unknown.billable_s)
    return [
        heap.tenants,
        heap.missing,
        heap.users,
        heap.users_unknown,
        heap.capacity,
        None if heap.peak is None else heap.peak.at_least,
        None if heap.peak is None or heap.peak_unknown or heap.peak_unsure else heap.peak.at_most,
        heap.peak_unknown,
        heap.peak_unsure,
        peak_range(heap, words),
        *(None if seconds is None else seconds * 1000 for seconds in ways),
    ]


def _partners(report: Report, words: Wording) -> tuple[list[_Cell], list[list[Any]]]:
    rows = [[name, *_heap_row(heap, words)] for _, name, heap in report.partners]
    rows.append([words.say("report.heap.title"), *_heap_row(report.heap, words)])
    return _heap_columns(words.say("report.column.partner"), words), rows


def _customers(report: Report, words: Wording) -> tuple[list[_Cell], list[list[Any]]]:
    columns = [
        *_heap_columns(words.say("report.column.customer"), words),
        _Cell(words.say("report.column.of"), "text", 50),
    ]
    rows = [
        [one.customer, *_heap_row(one.heap, words), ", ".join("/".join(key) for key in one.of)]
        for one in report.customers
    ]
    return columns, rows


def _missing(report: Report, page: Overview, words: Wording) -> tuple[list[_Cell], list[list[Any]]]:
    columns = [
        _Cell(field_name("name", words), "text", 30),
        _Cell(field_name("agent", words), "text", 14),
        _Cell(field_name("tenant", words), "text", 16),
        _Cell(field_name("as_of", words), "moment", 20),
        _Cell(words.say("report.page.missing"), "text", 60),
    ]
    rows = [
        [one.name, one.agent, one.tenant, one.as_of, lacking.said]
        for one, lacking in zip(report.missing, page.lacking, strict=True)
    ]
    return columns, rows


def _differences(page: Overview, words: Wording) -> tuple[list[_Cell], list[Sequence[Any]]]:
    keys = (("tenant", 30), ("what", 40), ("before", 30), ("after", 30))
    columns = [_Cell(words.say(f"report.column.{key}"), "text", width) for key, width in keys]
    return columns, list(page.differences)
