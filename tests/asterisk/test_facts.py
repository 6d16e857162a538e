"""What our connector relies on, held against both versions. A fact that moves fails here first."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.asterisk import ami, network, witness
from tests.asterisk.calls import Kind, Script, pair
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.wire import Wire, cut

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(120)]


def least(
    instance: Instance, listener: Callable[[ami.Message], None] | None = None
) -> AbstractAsyncContextManager[ami.Session]:
    account = instance.accounts["meter"]
    return ami.session(instance.host, instance.ami_port, account, listener=listener)


async def heard(instance: Instance, around: Network, scripts: tuple[Script, ...]) -> list[ami.Message]:
    """Place calls and return what least rights hear of them."""
    events: list[ami.Message] = []
    async with least(instance, events.append) as session:
        async with around.place(scripts) as placed:
            await placed.finished()
        await session.act("Ping")  # answered after every event of these calls
    return events


def of(events: list[ami.Message], name: str, channel: str) -> list[ami.Message]:
    return [event for event in events if event["Event"] == name and event["Channel"].startswith(channel)]


async def test_least_rights_read_what_metering_needs(asterisk_instance: Instance) -> None:
    """`read = call, write = reporting` lists channels and devices, and is refused the endpoints."""
    async with least(asterisk_instance) as session:
        for action in ("CoreSettings", "CoreStatus", "PJSIPShowRegistrationsOutbound"):
            assert (await session.act(action))[0]["Response"] == "Success"
        assert (await session.act("CoreShowChannels"))[-1]["ListItems"] == "0"
        devices = await session.act("DeviceStateList")
        assert {"PJSIP/101", "PJSIP/139", "PJSIP/trunk-kpn2"} <= {d.get("Device") for d in devices}
        with pytest.raises(ami.Refused, match="Permission denied"):
            await session.act("PJSIPShowEndpoints")
        for absent in ("SIPpeers", "IAXpeerlist"):
            with pytest.raises(ami.Refused, match="Invalid/unknown command"):
                await session.act(absent)


async def test_system_rights_add_the_endpoints_and_fully_booted(asterisk_instance: Instance) -> None:
    """With read and write `system` the endpoints are listed, and FullyBooted comes at login."""
    said: list[str] = []
    instance = asterisk_instance
    system = instance.accounts["meter-system"]
    async with ami.session(
        instance.host, instance.ami_port, system, listener=lambda event: said.append(event["Event"])
    ) as session:
        endpoints = await session.act("PJSIPShowEndpoints")
        assert {e["ObjectName"] for e in endpoints if "ObjectName" in e} >= {"101", "trunk-kpn", "trunk-kpn2"}
    assert "FullyBooted" in said


async def test_the_event_filter_lets_only_what_metering_needs_through(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """The filter in this version's own syntax leaves Newchannel, Newstate, Hangup and BridgeEnter; answers come."""
    instance = asterisk_instance
    said: set[str] = set()
    account = instance.accounts["meter-filtered"]
    async with ami.session(
        instance.host, instance.ami_port, account, listener=lambda event: said.add(event["Event"])
    ) as session:
        async with asterisk_network.place((Script(1, Kind.ANSWERED, "acme", "trunk-kpn"),)) as placed:
            await placed.finished()
        assert (await session.act("CoreShowChannels"))[0]["Response"] == "Success"
    # The old syntax is a regular expression over the event: "Hangup" finds HangupRequest too.
    assert said - {"HangupRequest"} == {"Newchannel", "Newstate", "Hangup", "BridgeEnter"}


async def test_a_leg_that_is_dialled_out_carries_nothing_but_its_call(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """Its Newchannel says Down, `s`, its own context and no account code; Linkedid is the caller's Uniqueid."""
    events = await heard(
        asterisk_instance,
        asterisk_network,
        (Script(1, Kind.OUTBOUND, "acme", "trunk-shared", marked=True),),
    )
    (caller,) = of(events, "Newchannel", "PJSIP/105-")
    (out,) = of(events, "Newchannel", "PJSIP/trunk-shared-")
    assert (caller["ChannelState"], caller["AccountCode"], caller["Context"]) == ("4", "acme", "acme-phones")
    assert (out["ChannelState"], out["AccountCode"], out["Exten"]) == ("0", "", "s")
    assert out["Context"] == "from-trunk-shared"
    assert out["Linkedid"] == caller["Uniqueid"]


async def test_bridged_calls_show_their_merge_at_bridge_enter(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """When AMI bridges two calls, the second leg's BridgeEnter has the older Linkedid, and so has its Hangup."""
    events = await heard(
        asterisk_instance,
        asterisk_network,
        pair(Kind.JOINED, 1, "acme", "trunk-kpn", "trunk-shared", talk_ms=1_500),
    )
    (first,) = of(events, "Newchannel", "PJSIP/trunk-kpn-")
    before, after = of(events, "BridgeEnter", "PJSIP/trunk-shared-")
    assert before["Linkedid"] != first["Linkedid"]
    assert after["Linkedid"] == first["Linkedid"]
    (ended,) = of(events, "Hangup", "PJSIP/trunk-shared-")
    assert ended["Linkedid"] == first["Linkedid"]
    # The phone's own leg left before the merge and ends with the name that is gone.
    gone = [event for event in of(events, "Hangup", "PJSIP/101-") if event["Linkedid"] == before["Linkedid"]]
    assert len(gone) == 1


async def test_an_attended_transfer_shows_its_merge_only_by_the_bridge(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """The caller enters the other call's bridge with its own, older Linkedid; who was in there gets it without an event."""
    events = await heard(
        asterisk_instance,
        asterisk_network,
        pair(Kind.ATTENDED_TRANSFER, 1, "acme", "trunk-kpn", "trunk-shared", talk_ms=1_500),
    )
    (consulted,) = of(events, "BridgeEnter", "PJSIP/trunk-shared-")
    _, moved = of(events, "BridgeEnter", "PJSIP/trunk-kpn-")
    assert moved["BridgeUniqueid"] == consulted["BridgeUniqueid"]
    assert moved["BridgeType"] == consulted["BridgeType"] == "basic"
    assert moved["Linkedid"] == moved["Uniqueid"] != consulted["Linkedid"]
    between = events[events.index(moved) + 1 :]
    first_word = next(
        event for event in between if event.get("Channel", "").startswith("PJSIP/trunk-shared-")
    )
    assert first_word["Linkedid"] == moved["Linkedid"]
    assert first_word["Event"] in {
        "BridgeLeave",
        "HangupRequest",
        "SoftHangupRequest",
        "Unhold",
        "NewConnectedLine",
    }
    (transfer,) = [event for event in events if event["Event"] == "AttendedTransfer"]
    assert transfer["TransferTargetLinkedid"] == consulted["Linkedid"]  # said of the time before


async def test_a_blind_transfer_stays_in_its_call(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """The leg that is dialled after a blind transfer has the caller's Linkedid from its Newchannel on."""
    events = await heard(
        asterisk_instance,
        asterisk_network,
        (Script(1, Kind.BLIND_TRANSFER, "acme", "trunk-kpn", "trunk-shared", talk_ms=1_500),),
    )
    (caller,) = of(events, "Newchannel", "PJSIP/trunk-kpn-")
    (onward,) = of(events, "Newchannel", "PJSIP/trunk-shared-")
    assert onward["Linkedid"] == caller["Linkedid"]


async def test_a_conference_does_not_merge_its_calls(
    asterisk_instance: Instance, asterisk_network: Network
) -> None:
    """Two outside legs in one ConfBridge keep their own Linkedids to the end, in a bridge that is not `basic`."""
    events = await heard(
        asterisk_instance,
        asterisk_network,
        tuple(Script(n, Kind.CONFERENCE, "acme", "trunk-kpn", talk_ms=800) for n in (1, 2)),
    )
    entered = of(events, "BridgeEnter", "PJSIP/trunk-kpn-")
    assert len({event["BridgeUniqueid"] for event in entered}) == 1
    assert {event["BridgeType"] for event in entered} != {"basic"}
    for event in of(events, "Hangup", "PJSIP/trunk-kpn-"):
        assert event["Linkedid"] == event["Uniqueid"]


async def test_two_witnesses_see_the_same_snapshot(
    asterisk_instance: Instance, asterisk_network: Network, wire: Wire
) -> None:
    """While calls are up, pyst2's CoreShowChannels and ours name the same channels, and the wire's trunk legs are there."""
    scripts = tuple(Script(n, Kind.IVR, "acme", "trunk-kpn", talk_ms=4_000) for n in range(1, 6))
    async with (
        asterisk_network.place(scripts) as placed,
        least(asterisk_instance) as session,
    ):
        await until(lambda: len([leg for leg in wire.legs() if leg.answer_ms]) == len(scripts), within_s=10)
        seen = await witness.channels(asterisk_instance)
        _, *ours, end = await session.act("CoreShowChannels")
        await placed.finished()
    assert {c["Uniqueid"] for c in seen} == {c["Uniqueid"] for c in ours}
    assert len(ours) == int(end["ListItems"]) == len(scripts)


async def test_a_killed_asterisk_says_nothing_and_comes_back_with_another_start(
    asterisk_instance: Instance,
) -> None:
    """Killed during calls: no Hangup is heard; after the restart no channel is left and CoreStatus names another start."""
    events: list[str] = []
    with (
        running(asterisk_instance.root) as instance,
        network.around(instance) as around,
        Wire(instance.addresses) as wire,
    ):
        scripts = (Script(1, Kind.IVR, "acme", "trunk-kpn", talk_ms=30_000),)
        async with least(instance, lambda event: events.append(event["Event"])) as session:
            started = (await session.act("CoreStatus"))[0]
            booted_s = time.time_ns() // 1_000_000_000
            placing = around.place(scripts)
            await placing.__aenter__()
            await until(lambda: any(leg.answer_ms for leg in wire.legs()), within_s=10)
            instance.kill()
            await asyncio.wait_for(session.ended.wait(), 5)
        assert not instance.is_up()
        assert "Newchannel" in events
        assert "Hangup" not in events
        assert "Shutdown" not in events
        (open_leg,) = wire.legs()
        assert open_leg.end_ms is None
        assert cut([open_leg], open_leg.start_ms + 1)[0].end_ms == open_leg.start_ms + 1
        # CoreStartupTime counts whole seconds.
        await until(lambda: time.time_ns() // 1_000_000_000 > booted_s, within_s=2)
        instance.start()
        async with least(instance) as session:
            again = (await session.act("CoreStatus"))[0]
            assert (await session.act("CoreShowChannels"))[-1]["ListItems"] == "0"
        start = ("CoreStartupDate", "CoreStartupTime")
        assert [again[key] for key in start] != [started[key] for key in start]
        await placing.__aexit__(None, None, None)


def test_nothing_is_left_of_an_instance(asterisk_instance: Instance) -> None:
    """When an instance's context ends, its processes, its mounts and its directory are gone."""
    with running(asterisk_instance.root) as instance, network.around(instance):
        home = instance.home
        address = instance.host.encode()
        assert _running(address)
    assert not instance.is_up()
    assert not home.exists()
    assert not _running(address)
    mounts = subprocess.run(["mount"], check=True, capture_output=True, text=True).stdout
    assert str(asterisk_instance.root.path) not in mounts


def _running(word: bytes) -> list[str]:
    """Processes whose command line has `word` (SIPps), by /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found
