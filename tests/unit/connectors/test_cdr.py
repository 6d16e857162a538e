"""What real Asterisks wrote of real calls (tests/recordings/*/Master.csv) is understood as those calls were."""

import csv
import io
import re
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import callrecords
from connectors.asterisk import cdr
from meter.model import Direction, Level
from meter.tenancy import PbxRules, Tenancy, TenantRules
from meter.witness import judged, told
from tests.asterisk.record import SCENARIOS
from tests.asterisk.record_calls import TOGETHER

RECORDINGS = Path(__file__).parents[2] / "recordings"
VERSIONS = ("asterisk16", "asterisk22")
TRUNKS = ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared")
RULES = Tenancy(
    [PbxRules("pbx1", TRUNKS, re.compile("1[0-9]{2}"))],
    [
        TenantRules("acme", None, TRUNKS[:1], ("acme",), ("acme-*",), ("016329601*",)),
        TenantRules("globex", None, TRUNKS[1:2], ("globex",), ("globex-*",), ("016329602*",)),
    ],
    b"key",
)


def text(version: str) -> str:
    return (RECORDINGS / version / "Master.csv").read_text()


def legs(records: list[cdr.Record]) -> list:
    found = [judged(leg, "pbx1", RULES) for leg in cdr.legs(records)]
    return [leg for leg in found if leg is not None]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_trunk_leg_that_was_dialled_is_told_once(version):
    """Of all sixteen kinds of call, and four calls at once, call records give each trunk leg once: its trunk, its way, whether it was answered, and whose it was."""
    dialled = [s for scripts in SCENARIOS.values() for s in scripts] + list(TOGETHER)
    expected = [
        (f"PJSIP/{leg.trunk}", leg.direction, leg.answered, leg.tenant) for s in dialled for leg in s.legs()
    ]
    # The second party of a transferred call was dialled over its trunk as `outbound`: expected above.
    found = [
        (leg.endpoint, leg.direction.value, leg.answer is not None, leg.tenant)
        for leg in legs(cdr.read(text(version), UTC))
    ]

    assert Counter(found) == Counter(expected)
    assert len(found) == 25


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_at_once_are_a_peak(version):
    """Two answered calls and one that is forwarded are four of acme's lines and three calls at once; globex's own line is not among them."""
    records = cdr.read(text(version), UTC)
    span = cdr.span(records)
    assert span is not None
    own = [leg for leg in legs(records) if leg.tenant == "acme"]

    found = told(own, *span)

    assert {level: peak for level, (peak, _) in found.peaks.items()} == {
        Level.CHANNELS: 4, Level.CALLS: 3, Level.ANSWERED: 3,
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_tells_what_the_file_tells(tmp_path, version):
    """The same records as a table of cdr_sqlite3_custom (calldate, no answer, no end) are the same legs."""
    file = tmp_path / "master.db"
    rows = list(csv.reader(io.StringIO(text(version))))
    with closing(sqlite3.connect(file)) as db:
        db.execute(
            "CREATE TABLE cdr (calldate, clid, dcontext, src, dst, channel, dstchannel, lastapp, duration,"
            " billsec, disposition, accountcode, uniqueid, peeraccount, linkedid)"
        )
        for r in rows:
            seconds = [
                (sum(int(part) * size for part, size in zip(at[-8:].split(":"), (3600, 60, 1), strict=True)))
                for at in (r[9], r[10] or r[11], r[11])
            ]
            values = (r[9], "", r[3], r[1], r[2], r[5], r[6], r[7], seconds[2] - seconds[0],
                      seconds[2] - seconds[1], r[14], r[0], r[16], r[18], r[19])  # fmt: skip
            db.execute(f"INSERT INTO cdr VALUES ({','.join('?' * 15)})", values)
        db.commit()

    assert callrecords.is_database(file)
    assert legs(cdr.rows(callrecords.rows(file), UTC)) == legs(cdr.read(text(version), UTC))


def test_without_linkedid_records_that_share_a_channel_are_one_call():
    """A file without the newer columns gives the same legs; those of one record are one call, and inbound ones keep their id."""
    short = io.StringIO()
    csv.writer(short).writerows(row[:17] for row in csv.reader(io.StringIO(text("asterisk22"))))
    whole, found = legs(cdr.read(text("asterisk22"), UTC)), legs(cdr.read(short.getvalue(), UTC))

    assert [(x.leg, x.endpoint, x.start, x.answer, x.end) for x in found] == [
        (x.leg, x.endpoint, x.start, x.answer, x.end) for x in whole
    ]
    forwarded = [x for x in found if x.start == found[8].start]
    assert len(forwarded) == 2
    assert len({x.call for x in forwarded}) == 1


def line(channel: str, dialled: str, start: str, answer: str, end: str, *, number: str = "1") -> list[str]:
    """Return a line of Master.csv, its times of one minute."""
    at = ["" if not second else f"2026-11-21 20:00:{second}" for second in (start, answer, end)]
    return ["", "", "101", "", "", channel, dialled, "Dial", "", *at, "0", "0", "ANSWERED", "DOCUMENTATION",
            f"1795291380.{number}", "", "", f"1795291380.{number}", number]  # fmt: skip


def read(*lines: list[str]) -> list[cdr.Record]:
    file = io.StringIO()
    csv.writer(file).writerows(lines)
    return cdr.read(file.getvalue(), UTC)


def test_a_channel_of_several_records_is_one_leg():
    """A caller who was handed on stands in two records, in any order: one leg, from the first start over the first answer to the last end."""
    caller = "PJSIP/trunk-kpn-00000001"
    first = line(caller, "PJSIP/101-00000002", "01", "05", "20")
    second = line(caller, "PJSIP/102-00000003", "20", "22", "40")

    for lines in ((first, second), (second, first)):
        (leg,) = legs(read(*lines))
        start = leg.start // 60_000 * 60_000
        assert (leg.start - start, leg.answer - start, leg.end - start) == (1_000, 5_000, 40_000)


def test_a_forwarded_leg_begins_when_it_was_answered():
    """A leg that a trunk leg dialled out again begins with its answer, one that a phone dialled with the record: no record tells when it was made."""
    forwarded = legs(read(line("PJSIP/trunk-kpn-00000001", "PJSIP/trunk-kpn2-00000002", "01", "30", "40")))
    dialled = legs(read(line("PJSIP/101-00000003", "PJSIP/trunk-kpn2-00000004", "01", "30", "40")))

    assert [(leg.direction, leg.start % 60_000) for leg in forwarded] == [
        (Direction.IN, 1_000), (Direction.OUT, 30_000),
    ]  # fmt: skip
    assert [(leg.direction, leg.start % 60_000) for leg in dialled] == [(Direction.OUT, 1_000)]


def test_local_times_are_of_the_zone_that_is_said():
    """Times without usegmtime are taken for the PBX's zone: an hour earlier in Amsterdam's winter."""
    utc, local = (cdr.read(text("asterisk22"), tz)[0].start for tz in (UTC, ZoneInfo("Europe/Amsterdam")))
    assert utc - local == 3_600_000


@given(st.text(max_size=400))
def test_no_text_is_more_than_unreadable(noise):
    """Whatever stands in a file: records, or one sentence that names the line and quotes nothing of it."""
    said = "line "
    try:
        cdr.legs(cdr.read(noise, UTC))
    except cdr.Unreadable as error:
        said = str(error)
    assert said.startswith("line ")


def test_a_file_of_something_else_is_refused(tmp_path):
    """A line with other columns, times that are none, and a database without the table are refused, each with its sentence."""
    with pytest.raises(cdr.Unreadable, match="line 2: 3 columns"):
        cdr.read(text("asterisk22").splitlines()[0] + "\na,b,c\n", UTC)
    with pytest.raises(cdr.Unreadable, match="line 1: its times"):
        cdr.read(text("asterisk22").splitlines()[0].replace("2026-11-21", "2026-13-41"), UTC)
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(ValueError, match="table cdr"):
        callrecords.rows(tmp_path / "empty.db")
