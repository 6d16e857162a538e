"""What is kept of records does not depend on how they came."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter.canonical import canonical_bytes
from meter.schema import validate
from provider.statements import SeriesRow, SummaryRow
from provider.storage import deriving
from provider.storage.deriving import Stood
from provider.storage.tables import minute_series, summaries

GOLDEN = Path(__file__).parents[2] / "golden"
RECORDS = {
    name: json.loads((GOLDEN / f"{name}.json").read_text())
    for name in ("interim", "final", "correction", "minute-series", "key-change")
}


def record(kind: str, **data):
    made = copy.deepcopy(RECORDS[kind])
    made["data"] |= data
    if "revision" in data:
        made["id"] = "/".join([*made["id"].split("/")[:3], str(data["revision"])])
    return validate(canonical_bytes(made))


def stood(chain: int = 1, sequence: int = 1) -> Stood:
    return Stood("ams-01", chain, sequence, f"{chain:032}{sequence:032}", 7)


def test_rows_have_the_columns_of_their_tables():
    """A record gives every column of its table and no other, and readers see all of them."""
    (final,) = deriving.rows(record("final"), stood())
    (series,) = deriving.rows(record("minute-series"), stood())

    assert final.keys() == {column.name for column in summaries.c}
    assert series.keys() == {column.name for column in minute_series.c}
    assert {f.name for f in fields(SummaryRow)} == final.keys() - {"kind"} | {"state"}
    assert {f.name for f in fields(SeriesRow)} == series.keys() - {"chain", "sequence"}
    assert list(deriving.rows(record("key-change"), stood())) == []


def test_figures_are_those_of_the_record():
    """What the final of the first version says stands in its row, figure by figure."""
    (row,) = deriving.rows(record("final"), stood(2, 9))

    assert {
        name: row[name] for name in ("agent", "tenant", "period", "kind", "revision", "chain", "sequence")
    } == {
        "agent": "ams-01",
        "tenant": "acme",
        "period": "2026-11",
        "kind": "final",
        "revision": 1,
        "chain": 2,
        "sequence": 9,
    }
    assert (row["peak_channels"], row["peak_calls"], row["peak_answered"]) == (17, 16, 14)
    assert (row["peak_channels_at"], row["peak_channels_ms"], row["peak_channels_source"]) == (
        1794475867412,
        8120,
        "seen",
    )
    assert (row["capacity"], row["package"], row["overruns"], row["over_ms"]) == (16, 24, 1, 8120)
    assert (row["users"], row["users_max"], row["failed_reads"]) == (42, 44, 0)
    assert (row["in_legs"], row["out_billable_s"], row["unknown_answered_ms"]) == (5120, 91401, 60000)
    assert (row["expected_ms"], row["observed_ms"], row["gaps"]) == (2592000000, 2591880000, 1)
    assert (row["synchronised"], row["unclassified"], row["unassigned"], row["taken_at"]) == (1, 0, 0, 7)


def test_what_is_not_known_stays_unknown():
    """A record of a period in which nothing was seen has no figure that is zero."""
    data = copy.deepcopy(RECORDS["interim"]["data"])
    (row,) = deriving.rows(record("interim"), stood())

    for level in ("channels", "calls", "answered"):
        assert row[f"peak_{level}"] == data["levels"][level]["peak"]
    assert row["users"] == data["users"]["at_close"]


STATEMENTS = st.lists(
    st.tuples(
        st.sampled_from(["interim", "final", "correction", "minute-series"]),
        st.integers(1, 3),  # which revision
        st.integers(1, 2),  # the chain
        st.sampled_from(["2026-11-09T10:00:00.000Z", "2026-11-09T11:00:00.000Z"]),
    ),
    max_size=8,
    unique_by=lambda one: (one[0], one[1], one[2]) if one[0] in ("interim", "minute-series") else one[:2],
)


@settings(deadline=None)
@given(STATEMENTS, st.randoms(use_true_random=False))
def test_the_order_of_coming_does_not_matter(statements, chance):
    """However records of an agent come, the same rows are kept."""
    made = []
    for place, (kind, revision, chain, as_of) in enumerate(statements, 1):
        if kind == "final":
            revision = 1  # noqa: PLW2901  # a final has no other
        data = {"as_of": as_of} if kind == "interim" else {}
        number = {"correction": revision + 1}.get(kind, revision)
        made.append((record(kind, revision=number, **data), stood(chain, place)))

    def kept(given_):
        rows: dict = {}
        for one in given_:
            deriving.keep(rows, *one)
        return rows

    unique = {}
    for one, where in made:  # judged: a final or correction is counted once
        name = (one.id, where.chain) if one.data.kind in ("interim", "minute-series") else one.id
        unique.setdefault(name, (one, where))
    once = list(unique.values())
    mixed = list(once)
    chance.shuffle(mixed)

    assert kept(once) == kept(mixed)


@pytest.mark.parametrize(
    ("kept", "fresh", "takes"),
    [
        ((1, 1), (2, 1), True),  # a newer revision
        ((2, 1), (1, 1), False),
        ((1, 1), (1, 2), False),  # a restored agent sealed the day again: the first one stays
        ((1, 2), (1, 1), True),
    ],
)
def test_which_series_of_a_day_stays(kept, fresh, takes):
    """Of a day's series the newest revision is kept, and of two chains' the elder one's."""
    rows = [
        next(iter(deriving.rows(record("minute-series", revision=revision), stood(chain))))
        for revision, chain in (kept, fresh)
    ]

    assert deriving.outranks(rows[1], rows[0]) is takes
