"""Anything that comes in as 3CX's CDR output: a leg or a counted refusal, and never more than one call's legs a line."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import strategies as st

from connectors.threecx import cdr
from connectors.threecx.intake import Intake
from connectors.threecx.settings import Cdr
from meter.model import Direction
from tests.fuzz.targets import mangled
from tests.fuzz.test_fuzz import LONG_S, SHORT, run, run_long

LINES = (
    b"Call 288831,4cc2_26808,00:00:25,2024/06/17 05:59:49,2024/06/17 05:59:58,2024/06/17 06:00:23,TerminatedBySrc,"
    b"Ext.10016,+46555014082,10016,10020,+46555014082,,+46555014082,10020,default,1,0.43,default,"
    b"Chain: Ext.10016;+46555014082;,Extension,Line,Line,Backup no2,+46555014082,+46555014082,\r\n"
    b"Call 7,0C21_1,,2026/11/12 09:00:00,,2026/11/12 09:00:34,TerminatedByDst,+1555010,Ext.100,10000,100,100,,"
    b'+1555020,10001,,,,,Chain: +1555010;Ext.100;+1555020;,Line,Extension,Line,"Doe, Jane",,x,\r\n'
)


def lines(data: st.DataObject) -> None:
    """Bytes of CDR output, mangled, cut anywhere: the same legs and refusals however they were cut, and no other error."""
    stream = mangled(data, LINES * 2) if data.draw(st.booleans()) else data.draw(st.binary(max_size=600))
    stream += b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))

    def told(places: list[int]) -> tuple[int, int, object]:
        intake = Intake(Cdr(port=0), lambda: 2_000_000_000_000)
        found = intake._file_lines
        for start, end in zip([0, *places], [*places, len(stream)], strict=True):
            for line in found.feed(stream[start:end]):
                intake.told(line)
        intake._kept.begin(0)
        return intake.lines, intake.refused, intake.take(None)

    assert told(cuts) == told([])


def line(data: st.DataObject) -> None:
    """Any line in any columns is one call's legs or Unreadable: at most one in and one out, each whole and on one trunk."""
    columns = tuple(data.draw(st.permutations(cdr.COLUMNS))) if data.draw(st.booleans()) else ()
    text = mangled(data, data.draw(st.sampled_from(LINES.splitlines()))).decode("utf-8", "replace")
    try:
        found = cdr.legs_of(cdr.record(text, cdr.Layout(columns, UTC)))
    except cdr.Unreadable as refusal:
        assert str(refusal).isprintable()  # noqa: PT017 -- either way is right
        assert "555" not in str(refusal)  # noqa: PT017 -- likewise
        return
    assert [leg.direction for leg in found] in (
        [],
        [Direction.IN],
        [Direction.OUT],
        [Direction.IN, Direction.OUT],
    )
    for leg in found:
        assert leg.start <= (leg.start if leg.answer is None else leg.answer) <= leg.end
        assert leg.endpoint.removeprefix("3CX/")
        assert leg.call


TARGETS = {"lines": lines, "line": line}


@pytest.mark.parametrize("name", TARGETS)
def test_briefly(name: str) -> None:
    """Nothing but what is documented comes out."""
    run(TARGETS[name], SHORT)


@pytest.mark.soak
@pytest.mark.timeout(LONG_S * 2 + 300)
@pytest.mark.parametrize("name", TARGETS)
def test_for_long(name: str) -> None:
    """Nor for ten minutes."""
    run_long(TARGETS[name])
