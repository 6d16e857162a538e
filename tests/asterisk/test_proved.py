"""What a gap on a real Asterisk leaves known: legs that were up on both of its sides, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.clock import Clock
from meter.model import Level
from meter.peaks import Source
from tests.asterisk import agents
from tests.asterisk.calls import Kind, Script
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.test_cut_lines import beside, figures, impatient
from tests.asterisk.test_metering import FIVE_MINUTES, settled
from tests.asterisk.wire import Wire

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(120)]

#: The period ends so long after the agent's start: in the gap, with time before and after it.
ENDS_AFTER_MS = 9_000


async def test_legs_that_were_up_before_and_after_a_gap_are_proved_through_it(
    asterisk_instance: Instance,
    asterisk_network: Network,
    wire: Wire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A period begins in the midst of a gap with three calls that last through it: its peak is three, proved.

    A fourth call that comes and goes within the gap is not known, and not invented: the peak is a
    lower bound and says so, and coverage adds up to the millisecond.
    """
    impatient(monkeypatch, 1.0)
    wall = Clock().wall()
    clock = Clock(ahead_ms=FIVE_MINUTES - wall % FIVE_MINUTES - ENDS_AFTER_MS)
    boundary = clock.now() // FIVE_MINUTES * FIVE_MINUTES + FIVE_MINUTES
    scripts = [
        Script(number, Kind.IVR, "acme", "trunk-kpn", talk_ms=16_000, callee_ends=False)
        for number in range(3)
    ]
    scripts.append(Script(3, Kind.IVR, "acme", "trunk-kpn", at_ms=6_500, talk_ms=1_500))
    async with (
        beside(asterisk_instance, tmp_path / "agent", clock=clock) as one,
        asterisk_network.place(scripts) as placed,
    ):
        levels = one.parts.sampling.levels
        await until(lambda: levels.now("acme")[Level.ANSWERED] == 3, within_s=5)
        one.line.stall()
        await until(lambda: not one.parts.links[0].up, within_s=8)
        await until(lambda: len(wire.legs()) == 4 and wire.legs()[3].end_ms is not None, within_s=15)
        await until(lambda: clock.now() > boundary + 500, within_s=10)
        one.line.flow()
        await until(lambda: one.observes, within_s=10)
        assert levels.now("acme")[Level.CHANNELS] == 3
        peak = one.parts.sampling.view("acme", clock.now()).levels[Level.CHANNELS].peak
        assert peak is not None
        assert (peak.level, peak.at, peak.source) == (3, boundary, Source.PROVED)
        await placed.finished()
        await until(settled(one.parts), within_s=10)
        content = await figures(one)
    said = content["acme"]["levels"]["channels"]
    assert (said["peak"], said["peak_source"], said["lower_bound"]) == (3, "proved", True)
    assert said["evidence"]["total"] == 3
    agents.adds_up(content["acme"])
    assert content["acme"]["coverage"]["gaps"]["total_ms"] > 0
    assert content["acme"]["traffic"]["in"]["legs"] == 0  # they began before; the fourth is not known
