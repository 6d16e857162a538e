"""What real Asterisks said of real calls is understood as those calls were (tests/recordings)."""

import asyncio
from pathlib import Path

import pytest

from connectors.asterisk import ami, lists, parse
from connectors.asterisk.actions import Answer
from connectors.asterisk.settings import Settings
from connectors.errors import Unreachable
from meter.events import LegChanged, LegEnded, LegStarted

RECORDINGS = Path(__file__).parents[2] / "recordings"
VERSIONS = ("asterisk16", "asterisk22")

KPN, KPN2, SHARED = "PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared"

#: Each kind of call: its trunk legs (endpoint, direction, answered), the calls they are of at the end, all its legs.
CALLS = {
    "answered.least": ([(KPN, "in", True)], 1, 2),
    "answered.filtered": ([(KPN, "in", True)], 1, 2),
    "answered.all": ([(KPN, "in", True)], 1, 2),
    "unanswered.least": ([(KPN, "in", False)], 1, 2),
    "cancelled.least": ([(KPN, "in", False)], 1, 2),
    "rejected.least": ([(KPN, "in", False)], 1, 2),
    "outbound.least": ([(KPN2, "out", True)], 1, 2),
    "outbound-account.least": ([(SHARED, "out", True)], 1, 2),
    "outbound-busy.least": ([(KPN, "out", False)], 1, 2),
    "internal.least": ([], 0, 2),
    "shared-trunk.least": ([(SHARED, "in", True)], 1, 2),
    "forwarded.least": ([(KPN, "in", True), (SHARED, "out", True)], 1, 2),
    "forwarded.all": ([(KPN, "in", True), (SHARED, "out", True)], 1, 2),
    "ring-group.least": ([(KPN, "in", True)], 1, 10),
    "ring-group.all": ([(KPN, "in", True)], 1, 10),
    "queue.least": ([(KPN, "in", True)], 1, 3),
    "conference.least": ([(KPN, "in", True), (SHARED, "in", True)], 2, 2),
    "blind-transfer.least": ([(KPN, "in", True), (KPN, "out", True)], 1, 3),
    "attended-transfer.least": ([(KPN, "in", True), (SHARED, "out", True)], 1, 4),
    "attended-transfer.all": ([(KPN, "in", True), (SHARED, "out", True)], 1, 4),
    "joined.least": ([(KPN2, "in", True), (SHARED, "out", True)], 1, 4),
}


def told(path: Path):
    """All events of a recording, and what ended it."""
    stream = path.read_bytes()

    async def read():
        events = []
        link = ami.Link(Settings("h", "u", "s"), lambda: 7, lambda: 7, events.extend, lambda: None)
        link.data_received(stream)
        return events, link.fault

    return asyncio.run(read())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", CALLS)
def test_a_recorded_call_is_told_as_it_was(version, kind):
    """Every trunk leg of a recorded call has its endpoint, direction, answer, end and call."""
    events, fault = told(RECORDINGS / version / f"{kind}.ami")
    trunk_legs, calls, legs = CALLS[kind]
    assert fault is None
    born = {event.seen.leg: event.seen for event in events if isinstance(event, LegStarted)}
    answered = {event.leg for event in events if isinstance(event, LegChanged) and event.answered}
    shown = {leg: seen.call for leg, seen in born.items()}
    shown |= {
        event.leg: event.call for event in events if isinstance(event, LegChanged | LegEnded) and event.call
    }
    trunks = [seen for seen in born.values() if seen.endpoint and "/trunk" in seen.endpoint]
    assert len(born) == legs
    assert sorted(event.leg for event in events if isinstance(event, LegEnded)) == sorted(born)
    assert [(seen.endpoint, seen.direction, seen.leg in answered) for seen in trunks] == trunk_legs
    assert len({shown[seen.leg] for seen in trunks}) == calls
    for seen in trunks:
        assert seen.context == f"from-{seen.endpoint.partition('/')[2]}"
        assert seen.dialled.startswith("01632960") == (seen.direction == "in")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["answered", "forwarded", "ring-group", "attended-transfer"])
def test_more_rights_tell_nothing_else(version, kind):
    """The same call heard with all rights tells exactly what it tells under least rights."""
    assert told(RECORDINGS / version / f"{kind}.all.ami") == told(RECORDINGS / version / f"{kind}.least.ami")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_account_code_is_seen(version):
    """A leg that carries an account code shows it."""
    events, _ = told(RECORDINGS / version / "outbound-account.least.ami")
    assert "acme" in {event.seen.account for event in events if isinstance(event, LegStarted)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_shutdown_ends_the_link(version):
    """The Shutdown event of an Asterisk that is asked to stop is a lost link."""
    _, fault = told(RECORDINGS / version / "shutdown.system.ami")
    assert isinstance(fault, Unreachable)
    assert "shutting down" in str(fault)


def answers(path: Path) -> dict[str, Answer]:
    """The recorded answers by the action that asked for them; the recording's README tells their order."""
    rows = [parse.fields(message) for message in path.read_bytes().split(b"\r\n\r\n")]
    found = {}
    for place, action in enumerate(("CoreShowChannels", "DeviceStateList", "PJSIPShowEndpoints"), start=4):
        own = [row for row in rows if row.get("actionid") == f"t{place}"]
        items = [row for row in own[1:] if row.get("eventlist", "").lower() != "complete"]
        found[action] = Answer(own[0], tuple(items))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("account", ["least", "system", "all"])
def test_recorded_lists_are_read(version, account):
    """CoreShowChannels gives the leg that is up; both lists name the same endpoints; a refusal is one."""
    found = answers(RECORDINGS / version / f"lists.{account}.ami")
    (row,) = found["CoreShowChannels"].items
    leg = parse.listed(row, 1_000_000)
    assert (leg.endpoint, leg.answered, leg.call) == (KPN, True, leg.leg)
    assert leg.created is not None
    devices = set(lists.of_devices(found["DeviceStateList"]))
    assert {KPN, KPN2, SHARED, "PJSIP/101", "PJSIP/139"} <= devices
    if account == "least":
        assert found["PJSIPShowEndpoints"].refusal == "Permission denied"
        assert found["PJSIPShowEndpoints"].lacks_right
    else:
        assert set(lists.of_pjsip(found["PJSIPShowEndpoints"])) == devices
