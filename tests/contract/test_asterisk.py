"""What the Asterisk connector promises beyond the seam, on the simulator."""

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.asterisk import ami
from connectors.asterisk.actions import NotAllowed
from connectors.asterisk.connector import AsteriskConnector
from connectors.asterisk.settings import Settings
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import BROAD, LEAST, Account, SimulatedAsterisk
from connectors.errors import Denied, Garbled, Unreachable
from meter.events import LegChanged, LegEnded, LegStarted, Snapshot
from meter.model import Cause, Direction


@pytest.fixture
async def asterisk(clock):
    async with SimulatedAsterisk(clock) as asterisk:
        yield asterisk


@pytest.fixture
def follower(asterisk, clock):
    def make(account=LEAST, **settings):
        settings = {"port": asterisk.port, "secret": account.secret, **settings}
        return AsteriskConnector("pbx1", Settings("127.0.0.1", account.username, **settings), clock)

    return make


async def test_a_restart_is_another_run(asterisk, follower, heard, served):
    """Asterisk killed and started again: the link is lost, and the next snapshot names another run."""
    for number in (1, 2):
        async with served(follower(), heard) as task:
            await heard.snapshots(number)
            await asterisk.restart()
            assert isinstance(await asyncio.wait_for(task, 5), Unreachable)
    first, second = await heard.snapshots(2)
    assert first.booted
    assert second.booted
    assert first.booted != second.booted


async def test_a_shutdown_is_heard_where_allowed(asterisk, follower, heard, served):
    """An account that reads `system` hears the Shutdown event; the link is lost at that instant."""
    async with served(follower(BROAD), heard) as task:
        await heard.snapshots(1)
        asterisk.shut_down()
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert "shutting down" in str(fault)


async def test_missed_events_show_in_the_next_snapshot(asterisk, follower, heard, served):
    """A birth and a hangup that were not told are seen in the next snapshot."""
    before = calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
    async with served(follower(snapshot_every_s=0.2), heard):
        await heard.snapshots(1)
        asterisk.lost = {"Hangup", "Newchannel"}
        before.hang_up()
        missed = calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/102")
        first, second = (await heard.snapshots(2))[:2]
    assert {leg.leg for leg in first.legs} == {before.caller.uniqueid, before.called[0].uniqueid}
    assert {leg.leg for leg in second.legs} == {missed.caller.uniqueid, missed.called[0].uniqueid}


async def test_events_while_the_list_is_made_follow_the_snapshot(asterisk, follower, heard, served):
    """A call that begins between login and list is told once, after the snapshot, with its birth."""
    asterisk.mute = {"CoreStatus"}
    connector = follower(answer_timeout_s=5)
    async with served(connector, heard):
        await asyncio.wait_for(asterisk.asked("CoreStatus"), 5)
        call = calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
        status = b"Response: Success\r\nActionID: 2\r\nCoreStartupDate: 2026-01-01\r\nCoreStartupTime: 01:00:00\r\n\r\n"
        asterisk.write(status * 2)  # an answer that comes twice is one answer
        await heard.until(lambda events: len(events) >= 4)
    assert isinstance(heard.events[0], Snapshot)
    assert heard.events[0].legs == ()
    assert heard.started() == [call.caller.uniqueid, call.called[0].uniqueid]


async def test_a_hangup_behind_the_list_comes_before_the_snapshot(asterisk, follower, heard, served):
    """Asterisk writes a list past its queue of events: a listed leg whose hangup follows the list is in no snapshot."""
    asterisk.mute = {"Ping"}
    call = calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
    async with served(follower(answer_timeout_s=5), heard):
        await asyncio.wait_for(asterisk.asked("Ping"), 5)
        call.hang_up()
        asterisk.write(b"Response: Success\r\nActionID: 4\r\nPing: Pong\r\n\r\n")
        (first,) = await heard.snapshots(1)
    assert heard.events[0] is first
    assert first.legs == ()


async def test_all_of_a_chunk_has_one_instant(asterisk, follower, heard, served):
    """The clock is read once per chunk: what arrives together happened together."""
    async with served(follower(), heard):
        await heard.snapshots(1)
        calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101").answer()
        await heard.until(
            lambda events: any(isinstance(event, LegChanged) and event.answered for event in events)
        )
    for batch in heard.batches:
        assert len({event.at for event in batch}) == 1


async def test_calls_of_every_shape_are_told_as_they_were(asterisk, follower, heard, served):
    """Inbound, outbound, forwarded, internal and group calls: directions, answers and calls equal the exchange's truth."""
    exchange = asterisk.exchange
    async with served(follower(), heard):
        await heard.snapshots(1)
        made = [
            calls.ring_in(exchange, "PJSIP/trunk-kpn", "PJSIP/101", account="acme"),
            calls.dial_out(exchange, "PJSIP/102", "PJSIP/trunk-kpn2"),
            calls.forward(exchange, "PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"),
            calls.internal(exchange, "PJSIP/103", "PJSIP/104"),
            calls.ring_group(exchange, "PJSIP/trunk-kpn2", ["PJSIP/105", "PJSIP/106"]),
        ]
        for call in made[:-1]:
            call.answer()
        exchange.join(made[0].caller, made[1].called[0])
        for call in made:
            call.hang_up()
        await heard.until(lambda events: sum(isinstance(event, LegEnded) for event in events) == 15)
    born = {event.seen.leg: event.seen for event in heard.events if isinstance(event, LegStarted)}
    shown = {event.leg: event.call for event in heard.events if isinstance(event, LegChanged | LegEnded)}
    answered = {event.leg for event in heard.events if isinstance(event, LegChanged) and event.answered}
    assert len(exchange.lines) == 5
    for line in exchange.lines:
        assert born[line.leg].endpoint == line.endpoint
        assert born[line.leg].direction is line.direction
        assert (line.leg in answered) == (line.answer is not None)
        assert shown[line.leg] == line.call
    assert sum(leg.endpoint is None for leg in born.values()) == 4


async def test_chan_sip_shows_direction_later(clock, heard, served):
    """On chan_sip an inbound leg is born Down and shows its direction with the state after."""
    async with SimulatedAsterisk(clock, trunks=("SIP/kpn",), extensions=("SIP/101",)) as asterisk:
        settings = Settings("127.0.0.1", LEAST.username, LEAST.secret, port=asterisk.port)
        connector = AsteriskConnector("pbx1", settings, clock)
        async with served(connector, heard):
            await heard.snapshots(1)
            leg = asterisk.exchange.make("SIP/kpn", 0, context="from-trunk")
            asterisk.exchange.show(leg, 4)
            await heard.until(lambda events: len(events) == 3)
            listed = await connector.read_extensions()
    _, started, changed = heard.events
    assert (started.seen.direction, changed.direction) == (Direction.UNKNOWN, Direction.IN)
    assert (listed.source, [e.endpoint for e in listed.extensions]) == ("devices", ["SIP/101", "SIP/kpn"])


@pytest.mark.parametrize(("account", "source"), [(LEAST, "devices"), (BROAD, "pjsip")])
async def test_the_best_list_that_the_account_may_read(asterisk, follower, heard, served, account, source):
    """With `write = system` the extensions come from PJSIP's own list, else from the device states; the same ones."""
    connector = follower(account)
    async with served(connector, heard):
        await heard.snapshots(1)
        found = await connector.read_extensions()
    assert found.source == source
    assert [e.number for e in found.extensions][:2] == ["100", "101"]
    assert len(found.extensions) == 42


async def test_no_list_at_all_is_denied(clock, heard, served):
    """An account that may list channels but no devices is told what it lacks."""
    no_lists = Account("odd", read=frozenset({"call"}), write=frozenset({"originate"}))
    async with SimulatedAsterisk(clock, accounts=(no_lists,)) as asterisk:
        settings = Settings("127.0.0.1", "odd", no_lists.secret, port=asterisk.port)
        async with served(AsteriskConnector("pbx1", settings, clock), heard) as task:
            fault = await asyncio.wait_for(task, 5)
        probe = await AsteriskConnector("pbx1", settings, clock).probe()
    assert isinstance(fault, Denied)
    assert "write = reporting" in fault.hint
    assert ("CoreShowChannels", False, True) in probe.rights
    assert ("DeviceStateList", False, True) in probe.rights
    assert probe.endpoints == ()


async def test_an_account_without_events_is_noticed(clock, heard, served):
    """An account without `read = call` gets no events: the first snapshot that shows it ends the link as Denied."""
    deaf = Account("deaf", read=frozenset(), write=frozenset({"reporting"}))
    async with SimulatedAsterisk(clock, accounts=(deaf,)) as asterisk:
        settings = Settings("127.0.0.1", "deaf", deaf.secret, port=asterisk.port, snapshot_every_s=0.05)
        async with served(AsteriskConnector("pbx1", settings, clock), heard) as task:
            await heard.snapshots(2)
            calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
            clock.at += 10_000
            fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Denied)
    assert "read = call" in fault.hint


async def test_a_probe_looks_around(asterisk, follower):
    """`probe` tells product, rights, endpoints, trunk hints and the legs that are up, and leaves."""
    calls.forward(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
    connector = follower()
    probe = await connector.probe()
    assert probe.product == "Asterisk 22.10.1"
    assert ("CoreShowChannels", True, True) in probe.rights
    assert ("PJSIPShowEndpoints", False, False) in probe.rights
    assert ("DeviceStateList", True, True) in probe.rights
    assert probe.trunk_hints == ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
    assert probe.up == 2
    assert connector.heard_at is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"Event: Newchannel\r\nChannel: PJSIP/1-1\r\n\r\n",
        b"Event: Hangup\r\nUniqueid: \r\n\r\n",
        b"x" * (1024 * 1024 + 10),
    ],
)
async def test_garbage_ends_the_link_as_garbled(asterisk, follower, heard, served, garbage):
    """What can't be understood is Garbled, so that a fresh snapshot follows; what came before it is told."""
    async with served(follower(), heard) as task:
        await heard.snapshots(1)
        call = calls.ring_in(asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
        asterisk.write(garbage)
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Garbled)
    assert fault.gap_cause is Cause.EVENTS_LOST
    assert heard.started() == [call.caller.uniqueid, call.called[0].uniqueid]


async def test_an_answer_that_never_comes_is_a_lost_link(asterisk, follower, heard, served):
    """Pongs alone do not make a link: a list that is not answered in time ends it."""
    async with served(follower(snapshot_every_s=0.1, answer_timeout_s=0.3, ping_every_s=0.05), heard) as task:
        await heard.snapshots(1)
        asterisk.mute = {"CoreShowChannels"}
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.LINK_LOST


async def test_a_silent_port_is_unreachable(asterisk, follower, heard, served):
    """A port that accepts and never greets is given up after `connect_timeout_s`."""
    asterisk.frozen = True
    async with served(follower(connect_timeout_s=0.2), heard) as task:
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.PBX_UNREACHABLE


async def test_a_line_cut_during_the_login_was_never_a_link(asterisk, follower, heard, served):
    """A connection that is cut before the login is answered is a PBX that can't be reached, not a lost link."""
    asterisk.mute = {"Login"}
    async with served(follower(), heard) as task:
        await asyncio.wait_for(asterisk.asked("Login"), 5)
        asterisk.cut()
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.PBX_UNREACHABLE


async def test_another_action_raises_before_a_byte_leaves(asterisk, clock):
    """An action that is not on the list raises at the door; Asterisk never sees it."""
    settings = Settings("127.0.0.1", LEAST.username, LEAST.secret, port=asterisk.port)
    link = await ami.connect(settings, clock, clock, lambda _: None, lambda: None)
    try:
        await link.login()
        with pytest.raises(NotAllowed):
            await link.ask("Hangup", {"Channel": "PJSIP/101-00000001"})
        await link.ask("CoreStatus")
    finally:
        await link.close()
    assert asterisk.received[:2] == ["Login", "CoreStatus"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pbx")])
    day = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    signed = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), day, day.replace(year=2099)
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "pbx.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(pem))
    return path


async def test_tls_is_spoken_and_checked(clock, heard, served, certificate):
    """Over TLS all is as over TCP; a certificate that the operator does not trust is Unreachable."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    asterisk = SimulatedAsterisk(clock)
    port = await asterisk.start(tls=theirs)
    try:
        for trusted in (True, False):
            ours = ssl.create_default_context(cafile=str(certificate) if trusted else None)
            settings = Settings("127.0.0.1", LEAST.username, LEAST.secret, port=port, tls=ours)
            async with served(AsteriskConnector("pbx1", settings, clock), heard) as task:
                if trusted:
                    await heard.snapshots(1)
                    asterisk.cut()
                fault = await asyncio.wait_for(task, 5)
            assert isinstance(fault, Unreachable)
            assert fault.gap_cause is (Cause.LINK_LOST if trusted else Cause.PBX_UNREACHABLE)
        assert "certificate" in fault.hint
    finally:
        await asterisk.stop()
