"""The harness does what its scripts say, on both versions, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from tests.asterisk import ami
from tests.asterisk import wire as wires
from tests.asterisk.calls import EVERY_KIND, Expected, Kind, Script, mix
from tests.asterisk.configuration import TENANTS, TRUNKS
from tests.asterisk.instance import Instance
from tests.asterisk.network import Astray, Network
from tests.asterisk.wire import Wire

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(240)]


def seen(capture: Wire, script: Script) -> list[Expected]:
    """What the wire shows of one script, in the terms of a script."""
    return [
        Expected(leg.trunk, leg.direction, leg.answer_ms is not None, script.whose(leg.trunk))
        for leg in capture.legs()
        if leg.script == script.id
    ]


async def test_every_kind_of_call_makes_the_legs_its_script_says(
    asterisk_network: Network, wire: Wire
) -> None:
    """Each kind of call puts exactly its script's trunk legs on the wire, each ended, and no others."""
    async with asterisk_network.place(EVERY_KIND) as placed:
        await placed.finished()
    for script in EVERY_KIND:
        assert seen(wire, script) == list(script.legs()), script
    assert len(wire.legs()) == sum(len(script.legs()) for script in EVERY_KIND)
    assert all(leg.end_ms is not None for leg in wire.legs())


@pytest.mark.parametrize("size", [60, pytest.param(300, marks=pytest.mark.soak)])
async def test_a_random_mix_is_the_mix_that_was_drawn(
    asterisk_instance: Instance, asterisk_network: Network, wire: Wire, size: int
) -> None:
    """A drawn mix arrives whole, and AMI's own order of events has a peak that the wire allows, on each trunk."""
    scripts = mix(seed=size, trunk_legs=size, per_s=8)
    levels = Levels()
    instance = asterisk_instance
    async with (
        ami.session(
            instance.host, instance.ami_port, instance.accounts["meter"], listener=levels.hear
        ) as session,
        asterisk_network.place(scripts) as placed,
    ):
        await placed.finished()
        await session.act("Ping")  # answered after every event of these calls
    expected = Counter((s.id, leg.trunk, leg.direction, leg.answered) for s in scripts for leg in s.legs())
    found = Counter((leg.script, leg.trunk, leg.direction, leg.answer_ms is not None) for leg in wire.legs())
    assert found == expected
    for trunk in TRUNKS:
        low, high = wires.peak_bounds(wires.channels(leg for leg in wire.legs() if leg.trunk == trunk))
        assert 0 < low <= levels.peak[trunk] <= high
    assert not any(levels.now.values())
    assert {placed.tenant(leg) for leg in wire.legs()} == set(TENANTS)
    assert {first for first, _, _ in placed.merges} == {
        script.id for script in scripts if script.joins is not None
    }


@dataclass
class Levels:
    """The plainest meter there is: one up at Newchannel, one down at Hangup, per trunk."""

    now: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)

    def hear(self, event: ami.Message) -> None:
        trunk = event.get("Channel", "").removeprefix("PJSIP/").rpartition("-")[0]
        step = {"Newchannel": 1, "Hangup": -1}.get(event["Event"], 0)
        if step and trunk in TRUNKS:
            self.now[trunk] += step
            self.peak[trunk] = max(self.peak[trunk], self.now[trunk])


async def test_calls_that_do_not_go_as_scripted_are_noticed(asterisk_network: Network) -> None:
    """A call that is refused where its script wants it answered fails `finished`, and leaves no channel."""
    stray = replace(Script(1, Kind.ANSWERED, "acme", "trunk-kpn"), kind=Kind.BLIND_TRANSFER, talk_ms=100)
    with pytest.raises(Astray, match="script 1"):
        async with asterisk_network.place((stray,)) as placed:
            await placed.finished()


def test_a_mix_is_its_seed() -> None:
    """The same seed draws the same mix, another seed another; it has the legs asked for, and both tenants."""
    scripts = mix(seed=1, trunk_legs=300)
    assert scripts == mix(seed=1, trunk_legs=300) != mix(seed=2, trunk_legs=300)
    assert 300 <= sum(len(script.legs()) for script in scripts) < 303
    assert {script.tenant for script in scripts} == {"acme", "globex"}
    assert {script.kind for script in scripts} == set(Kind)
    assert len({script.id for script in scripts}) == len(scripts)
