"""The workbook, read back by another library: numbers are numbers, dates are dates, nothing unknown is zero."""

from __future__ import annotations

import dataclasses
import io
import re
import sys
import zipfile
from datetime import datetime, timedelta

import openpyxl
import pytest
from hypothesis import given, settings

from delivery.reporting.usage import Report
from delivery.reporting.xlsx import XlsxUnavailableError, xlsx
from delivery.wording import LANGUAGES
from tests.unit.delivery.reporting.month import month
from tests.unit.delivery.reporting.reports import reports


def opened(report: Report) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(xlsx(report)))


def table(sheet) -> list[dict[str, object]]:
    """Give a sheet's rows by their headings, which stand in its fourth row."""
    rows = list(sheet.iter_rows(min_row=4, values_only=True))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_has_five_sheets_in_every_language(language):
    """Tenants, partners, customers, what is missing, what changed: each with its table."""
    book = opened(month(language))

    assert len(book.sheetnames) == 5
    assert [len(table(book[name])) for name in book.sheetnames] == [12, 4, 1, 2, 4]
    assert all(book[name].freeze_panes == "B5" for name in book.sheetnames)
    assert all(book[name].page_setup.orientation == "landscape" for name in book.sheetnames)


def test_figures_are_numbers_and_instants_are_dates_of_the_zone():
    """The peak is a number, its instant the wall's time in Amsterdam, lasting times are times."""
    row = table(opened(month("en"))["Tenants"])[0]

    assert row["Tenant"] == "Hotel De Vuurtoren"
    assert (row["Peak"], row["Capacity"], row["Times over capacity"]) == (17, 16, 3)
    assert row["Peak on"] == datetime(2026, 11, 12, 10, 32, 8)  # noqa: DTZ001 - a workbook knows no zones
    assert row["Time over capacity"] == timedelta(seconds=102)
    assert row["Inbound, to bill"] == timedelta(seconds=814_334)
    assert row["State"] == "final"


def test_unknown_is_an_empty_cell():
    """Of the tenant of whom nothing came no figure is stated; it stands among the missing, with why."""
    book = opened(month("en"))
    row = next(row for row in table(book["Tenants"]) if row["Tenant"] == "Basisschool De Rode Kruin")

    assert [row[name] for name in ("Peak", "Users at the end", "Time over capacity", "Gaps")] == [None] * 4
    assert row["State"] == "nothing received"
    assert [one["Missing"] for one in table(book["Missing"])] == [
        "nothing came for this period",
        "only an interim, up to 28 November, 14:00",
    ]


def test_the_heap_stands_below_the_partners():
    """Each partner's figures, and all of it as one in the last line."""
    rows = table(opened(month("en"))["Partner"])

    assert [row["Partner"] for row in rows] == [
        "Noorderlicht Telecom", "Beltoren IT", "Wadlijn Communicatie", "All together",
    ]  # fmt: skip
    assert rows[-1]["Users at the end"] == month().heap.users
    assert rows[-1]["Simultaneous peak, at least"] == 41


def test_no_name_becomes_a_formula_or_a_link():
    """What looks like a formula or an address stays the text that it is."""
    one = month().tenants[0]
    names = ["=1+1", "http://x.example", "{=A1}", "@x", "1e5"]
    sheet = opened(month("en", tenants=tuple(dataclasses.replace(one, name=name) for name in names)))[
        "Tenants"
    ]
    cells = [sheet.cell(row=5 + at, column=1) for at in range(len(names))]

    assert [cell.value for cell in cells] == names
    assert {cell.data_type for cell in cells} == {"s"}
    assert all(cell.hyperlink is None for cell in cells)


def test_the_same_report_is_the_same_workbook():
    """No clock in it: every date in the file is the report's own, or the start of what a zip can say."""
    made = xlsx(month())

    assert made == xlsx(month())
    with zipfile.ZipFile(io.BytesIO(made)) as parts:
        assert {part.date_time for part in parts.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        core = parts.read("docProps/core.xml").decode()
    assert re.findall(r">(20[^<]*Z)<", core) == 2 * ["2026-12-04T07:00:00Z"]


def test_a_machine_that_can_not_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """Without XlsxWriter the error names what to type."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(XlsxUnavailableError, match="pip install xlsxwriter"):
        xlsx(month())


@given(reports)
@settings(max_examples=25, deadline=None)
def test_any_report_becomes_a_workbook(report: Report):
    """Whatever a report holds, the workbook opens and has a row for each tenant, with its figures."""
    rows = table(opened(report).worksheets[0])

    assert len(rows) == len(report.tenants)
    for row, one in zip(rows, report.tenants, strict=True):
        assert list(row.values())[4] == (None if one.peak is None else one.peak.level)
