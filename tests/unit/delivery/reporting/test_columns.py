"""The CSV: every figure comes back as it was, nothing unknown becomes zero, no name becomes a formula."""

from __future__ import annotations

import csv
import dataclasses
import io
from datetime import datetime
from pathlib import Path

from hypothesis import given, settings

from delivery.reporting.columns import COLUMNS, columns_page, csv_bytes
from delivery.reporting.usage import Report
from tests.unit.delivery.reporting.month import PEAK_AT, month
from tests.unit.delivery.reporting.reports import reports

PAGE = Path(__file__).parents[4] / "docs" / "usage-report-columns.md"


def read(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_bytes(report).decode("utf-8"), newline=""), strict=True))


def ms(written: str) -> int:
    return round(datetime.fromisoformat(written).timestamp() * 1000)


def test_the_page_in_docs_is_this_list():
    """docs/usage-report-columns.md says what the columns say: it is written from them."""
    assert PAGE.read_text("utf-8") == columns_page()


def test_columns_are_named_once():
    """No two columns have one name, and each says what it holds."""
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.doc and "|" not in column.doc and "\n" not in column.doc for column in COLUMNS)


def test_a_row_has_the_figures_of_its_tenant():
    """Peak, time, traffic and record stand as whole numbers and instants, by the names of their columns."""
    row = read(month())[0]

    assert (row["tenant_name"], row["state"], row["partner_name"]) == (
        "Hotel De Vuurtoren",
        "final",
        "Noorderlicht Telecom",
    )
    assert (row["peak"], row["capacity"], row["over_count"], row["over_ms"]) == ("17", "16", "3", "102000")
    assert (row["inbound_billable_s"], row["users"], row["package"]) == ("814334", "49", "24")
    assert ms(row["peak_at"]) == PEAK_AT + 61_000
    assert row["peak_at"].endswith("Z")
    assert row["peak_lower_bound"] == "false"
    assert row["record"] == "vuurtoren/2026-11/final/1"


def test_unknown_is_an_empty_cell():
    """Of a tenant of whom nothing came, every figure is empty but what the contract says."""
    row = next(row for row in read(month()) if row["state"] == "missing")
    known = {name for name, value in row.items() if value}

    assert known == {
        "period", "report_revision", "state", "partner", "partner_name", "customer", "agent", "tenant",
        "tenant_name", "period_start", "period_end", "timezone", "basis", "capacity",
    }  # fmt: skip


def test_no_name_becomes_a_formula():
    """A text that a spreadsheet would run has an apostrophe before it; a number below zero can't occur."""
    names = ["=1+1", "+31", "-x", "@SUM(A1)", "\tx", "＝1", "plain", '"quoted", and\nbroken']  # noqa: RUF001 - the wide form is meant
    one = month().tenants[0]
    rows = read(month(tenants=tuple(dataclasses.replace(one, name=name) for name in names)))

    assert [row["tenant_name"] for row in rows] == [f"'{name}" for name in names[:6]] + names[6:]


@given(reports)
@settings(max_examples=25, deadline=None)
def test_any_report_comes_back(report: Report):
    """One row a tenant, in order, lines ending as RFC 4180 has it, and the numbers are those of the values."""
    rows = read(report)

    assert csv_bytes(report).endswith(b"\r\n")
    assert len(rows) == len(report.tenants)
    for row, one in zip(rows, report.tenants, strict=True):
        assert set(row) == {column.name for column in COLUMNS}
        assert row["peak"] == ("" if one.peak is None else str(one.peak.level))
        assert row["users"] == ("" if one.users is None else str(one.users))
        assert row["over_ms"] == ("" if one.over is None else str(one.over.ms))
        assert (row["agent"], row["tenant"]) == (one.agent, one.tenant)
