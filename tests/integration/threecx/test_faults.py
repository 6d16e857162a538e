"""Everything that can go wrong with a 3CX, and the state that each ends in: never a zero."""

import asyncio
import datetime as dt
import hashlib
import ipaddress
import ssl
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.errors import Denied, Garbled, Unreachable
from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.settings import Access, Settings
from connectors.threecx.simulated.cycles import begin
from connectors.threecx.simulated.directory import User
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulator import ADMIN, Client, SimulatedThreeCX
from connectors.threecx.trouble import Absent, Forbidden, Foreign, Throttled
from meter.model import Cause
from tests.contract.conftest import Clock, Heard, serving
from tests.threecx import hurried

CALLS, TOKEN, LOGIN = "*/activecalls", "POST /connect/token", "POST /webclient/api/Login/GetAccessToken"


async def ended(connector, heard):
    """Serve until it ends by itself; return what ended it."""
    async with serving(connector, heard) as task:
        return await asyncio.wait_for(task, 10)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.FAILED, Unreachable),
        (Trouble.BAD_GATEWAY, Unreachable),
        (Trouble.LATE_GATEWAY, Unreachable),
        (Trouble.TOO_MANY, Throttled),
        (Trouble.HANG, Unreachable),
        (Trouble.CUT, Unreachable),
        (Trouble.TRUNCATED, Garbled),
        (Trouble.MISSING, Absent),
        (Trouble.FORBIDDEN, Forbidden),
        (Trouble.UNAUTHORIZED, Denied),
    ],
)
@pytest.mark.parametrize("path", ["/connect/token", "*/defs", "*/trunks", CALLS])
async def test_before_the_first_poll_a_fault_is_said_at_once(pbx, follower, heard, trouble, kind, path):
    """Whatever fails before the first good poll ends `serve` with what it is, and nothing was told or heard."""
    if path == "/connect/token" and kind is Forbidden:
        kind = Denied
    if path in {"/connect/token", "*/defs"} and kind is Absent:
        kind = Foreign
    pbx.faults.add(trouble, path)
    connector = follower(pbx, answer_timeout_s=0.5)
    fault = await ended(connector, heard)
    assert isinstance(fault, kind)
    assert fault.hint
    assert heard.events == []
    assert connector.heard_at is None
    assert fault.gap_cause is not Cause.POLL_FAILED


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.FAILED, Unreachable),
        (Trouble.BAD_GATEWAY, Unreachable),
        (Trouble.LATE_GATEWAY, Unreachable),
        (Trouble.TOO_MANY, Unreachable),
        (Trouble.HANG, Unreachable),
        (Trouble.CUT, Unreachable),
        (Trouble.TRUNCATED, Garbled),
    ],
)
async def test_polls_that_fail_are_a_lost_link_after_three_intervals(pbx, follower, heard, trouble, kind):
    """A call is up and every poll fails: the link is lost since the last good poll, and no snapshot says zero."""
    begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
    connector = follower(pbx)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(trouble, CALLS)
        begun = asyncio.get_running_loop().time()
        fault = await asyncio.wait_for(task, 10)
        took_s = asyncio.get_running_loop().time() - begun
    assert isinstance(fault, kind)
    assert fault.gap_cause is Cause.POLL_FAILED
    assert connector.heard_at == heard.events[-1].at
    assert all(len(event.legs) == 1 for event in heard.events)
    assert 0.5 < took_s < 5


@pytest.mark.parametrize(
    ("trouble", "times"),
    [
        (Trouble.FAILED, 1),
        (Trouble.BAD_GATEWAY, 1),
        (Trouble.LATE_GATEWAY, 1),
        (Trouble.TOO_MANY, 1),
        (Trouble.TRUNCATED, 1),
        (Trouble.CUT, 2),  # a connection that was open already is tried anew once by the HTTP library
    ],
)
async def test_one_failed_poll_is_counted(pbx, follower, heard, trouble, times):
    """One poll fails: the next good one says so, the legs are still there, and the link goes on."""
    begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
    async with serving(follower(pbx, poll_s=0.5), heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(trouble, CALLS, times=times)
        await heard.until(lambda events: events[-1].missed)
        missed = heard.events[-1]
        await heard.snapshots(len(heard.events) + 1)
        assert not task.done()
    assert missed.missed == 1
    assert len(missed.legs) == 1
    assert heard.events[-1].missed == 0


async def test_what_failed_before_is_counted_by_the_next_connection(pbx, follower, heard):
    """The first snapshot after a lost link tells how many polls failed since the last good one."""
    connector = follower(pbx)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(Trouble.FAILED, CALLS)
        await asyncio.wait_for(task, 10)
    told = len(heard.events)
    pbx.faults.clear()
    async with serving(connector, heard):
        await heard.snapshots(told + 1)
    assert heard.events[told].missed >= 2


@pytest.mark.parametrize(
    ("trouble", "words"), [(Trouble.FORBIDDEN, "Console Restrictions"), (Trouble.MISSING, "Update")]
)
async def test_a_right_that_is_taken_away_is_denied_at_once(pbx, follower, heard, trouble, words):
    """A 403 or 404 to a poll that worked is no glitch: the operator hears what to click."""
    connector = follower(pbx)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(trouble, CALLS)
        fault = await asyncio.wait_for(task, 10)
    assert isinstance(fault, Denied)
    assert words in fault.hint


async def test_too_many_requests_are_heeded(pbx, follower, heard):
    """`Retry-After` longer than three intervals ends the link, and nothing is asked before it is over."""
    connector = follower(pbx, poll_s=0.1)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(Trouble.TOO_MANY, CALLS, times=1, seconds=2)
        fault = await asyncio.wait_for(task, 10)
        begun = asyncio.get_running_loop().time()
    asked, told = len(pbx.received), len(heard.events)
    assert fault.gap_cause is Cause.POLL_FAILED
    async with serving(connector, heard):
        await pbx.asked("*", asked + 1)
        assert asyncio.get_running_loop().time() - begun > 1.2
        await heard.snapshots(told + 1)


async def test_too_many_requests_at_the_door_are_heeded(pbx, follower, heard):
    """A 429 before the first poll is waited for, too."""
    pbx.faults.add(Trouble.TOO_MANY, "*/defs", times=1, seconds=1)
    connector = follower(pbx)
    assert isinstance(await ended(connector, heard), Throttled)
    begun = asyncio.get_running_loop().time()
    async with serving(connector, heard):
        await heard.snapshots(1)
    assert asyncio.get_running_loop().time() - begun > 0.9


async def test_a_voided_token_is_replaced_once(pbx, follower, heard):
    """Another program takes the token once: a new one is asked for, and no poll is missed."""
    async with serving(follower(pbx), heard):
        await heard.snapshots(1)
        pbx.tokens.mint(ADMIN)
        await heard.snapshots(len(heard.events) + 2)
    assert {event.missed for event in heard.events} == {0}
    assert pbx.received.count(TOKEN) == 2


async def fought(pbx, connector, heard):
    """Take every token away after a poll until the connector gives up; return why it did."""
    async with serving(connector, heard) as task:
        async with asyncio.timeout(10):
            while not task.done():
                async with asyncio.TaskGroup() as group:
                    polls = sum(one.endswith("/ActiveCalls") for one in pbx.received)
                    arrival = group.create_task(pbx.asked("*/ActiveCalls", polls + 1))
                    await asyncio.wait([task, arrival], return_when=asyncio.FIRST_COMPLETED)
                    arrival.cancel()
                pbx.tokens.void(ADMIN.client_id)
    return task.result()


async def test_two_programs_on_one_client_are_recognised(pbx, follower, heard):
    """Another program takes the token again and again: after three times it is said, and not fought on."""
    connector = follower(pbx)
    fault = await fought(pbx, connector, heard)
    assert isinstance(fault, Denied)
    assert "another program uses this Client ID" in str(fault)
    assert "one client for this agent alone" in fault.hint
    assert pbx.received.count(TOKEN) == 4
    asked = len(pbx.received)
    assert str(await ended(connector, heard)) == str(fault)
    assert len(pbx.received) == asked


def test_when_the_other_program_is_gone_it_is_followed_again():
    """Once a minute, and no more often, a token is asked for again; as soon as it is left alone, all is well."""

    async def play():
        loop, clock, heard = asyncio.get_running_loop(), Clock(), Heard()
        async with SimulatedThreeCX(clock) as pbx:
            settings = Settings(
                url=pbx.url, username=ADMIN.client_id, secret=ADMIN.secret, poll_s=1, answer_timeout_s=5
            )
            connector = ThreeCXConnector("cloud", settings, clock)
            assert isinstance(await fought(pbx, connector, heard), Denied)
            began, asked = loop.time(), pbx.received.count(TOKEN)
            while loop.time() < began + 50:
                assert isinstance(await ended(connector, heard), Denied)
                await asyncio.sleep(10)
            assert pbx.received.count(TOKEN) == asked
            await asyncio.sleep(began + 61 - loop.time())
            assert isinstance(await fought(pbx, connector, heard), Denied)  # it is still there
            assert pbx.received.count(TOKEN) == asked + 1
            await asyncio.sleep(61)
            told = len(heard.events)
            async with serving(connector, heard):
                await heard.snapshots(told + 5)
            assert pbx.received.count(TOKEN) == asked + 2

    hurried.run(play())


async def test_a_token_that_is_refused_at_once_is_said(pbx, follower, heard):
    """Every answer is a 401, even to a token of this very moment: Denied, after one new token and no more."""
    pbx.faults.add(Trouble.UNAUTHORIZED, "/xapi/*")
    fault = await ended(follower(pbx), heard)
    assert isinstance(fault, Denied)
    assert "another program uses this Client ID, or its rights changed" in str(fault)
    assert pbx.received.count(TOKEN) == 2


async def test_a_token_that_ends_early_is_replaced(clock, follower, heard):
    """A token of 60 s, told as 60 of whatever: when it ends a new one is asked for, and nothing is missed."""
    async with SimulatedThreeCX(clock, odd_expiry=True) as pbx, serving(follower(pbx), heard):
        for number in (1, 2, 3):
            await heard.snapshots(len(heard.events) + 1)
            clock.at += 61_000
            await pbx.asked(TOKEN, number + 1)
        await heard.snapshots(len(heard.events) + 1)
    assert {event.missed for event in heard.events} == {0}


async def test_refused_credentials_are_shown_twice_and_no_more(pbx, follower, heard):
    """Two refusals alike, then the token is not asked for again: the 3CX never shuts this address out."""
    connector = follower(pbx, secret="mistyped")
    faults = [await ended(connector, heard) for _ in range(6)]
    assert all(isinstance(fault, Denied) for fault in faults)
    assert pbx.received == [TOKEN, TOKEN]
    assert not pbx.tokens.shut_out("127.0.0.1")
    assert "Integrations > API" in faults[0].hint
    assert "not asked again" in str(faults[2])
    assert str(faults[2]) == str(faults[5])
    assert "mistyped" not in "".join(str(fault) + fault.hint for fault in faults)


async def test_a_refused_user_is_shown_twice_and_no_more(pbx, follower, heard):
    """Likewise with a user's log-in."""
    connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="mistyped")
    for _ in range(5):
        assert isinstance(await ended(connector, heard), Denied)
    assert len(pbx.received) == 2


async def test_a_user_whose_password_changed_fails_three_times_and_no_more(clock, follower, heard):
    """A refused renewal is not tried again, and two refused log-ins are enough, for whatever reasons: no blacklist."""
    who = User("100", role="system_owners", password="only-for-simulations")
    async with SimulatedThreeCX(clock, users=(who,)) as pbx:
        connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="only-for-simulations")
        async with serving(connector, heard):
            await heard.snapshots(1)
        pbx.tokens.forget()
        pbx.faults.add(Trouble.UNAUTHORIZED, "/connect/token")
        asked = len(pbx.received)
        pbx.directory.users = (replace(who, password="another"),)
        assert "password" in str(await ended(connector, heard))
        pbx.directory.users = (replace(who, enabled=False),)
        assert "locked" in str(await ended(connector, heard))
        for _ in range(3):
            assert "not asked again" in str(await ended(connector, heard))
        assert [one for one in pbx.received[asked:] if one.startswith("POST")] == [TOKEN, LOGIN, LOGIN]


async def test_an_address_that_is_shut_out_is_told_where_to_look(pbx, follower, heard):
    """After somebody's four wrong secrets everything is dropped: Unreachable, and the hint names the blacklist."""
    for _ in range(4):
        pbx.tokens.wrong("127.0.0.1")
    fault = await ended(follower(pbx), heard)
    assert isinstance(fault, Unreachable)
    assert "IP Blacklist" in fault.hint
    assert fault.gap_cause is Cause.PBX_UNREACHABLE


@pytest.mark.parametrize(
    ("client", "kind", "words"),
    [
        (Client(role="users"), Denied, "Role System Admin"),
        (Client(department=""), Denied, "Department a real one such as DEFAULT"),
        (Client(role="group_owners"), Denied, "Role System Admin"),
        (Client(role="receptionists"), Denied, "Role System Admin"),
        (Client(xapi=False), Forbidden, "3CX Configuration API Access"),
    ],
    ids=["users", "system wide", "one department", "receptionist", "unticked"],
)
async def test_a_client_that_lacks_something_is_told_what(clock, follower, heard, client, kind, words):
    """Role, department and the tick are told apart, in the Admin Console's words; nothing is told as zero."""
    async with SimulatedThreeCX(clock, clients=(client,)) as pbx:
        fault = await ended(follower(pbx, client), heard)
    assert isinstance(fault, kind)
    assert words in fault.hint
    assert heard.events == []


async def test_console_restrictions_are_named(pbx, follower, heard):
    """A good role and a 403 everywhere: console restrictions, the tick or the licence."""
    pbx.console = True
    fault = await ended(follower(pbx), heard)
    assert isinstance(fault, Forbidden)
    assert "Console Restrictions" in fault.hint


async def test_no_v20_is_said(pbx, follower, heard):
    """A 404 to the token, or to the XAPI itself: no V20."""
    for path in ("/connect/token", "*/defs"):
        pbx.faults.clear()
        pbx.faults.add(Trouble.MISSING, path)
        fault = await ended(follower(pbx), heard)
        assert isinstance(fault, Foreign)
        assert "V20" in str(fault)
    pbx.faults.clear()
    pbx.me.version = "18.0.9.939"
    assert "V20" in str(await ended(follower(pbx), heard))


async def test_trunks_that_are_not_shown_are_not_none(pbx, follower, heard):
    """The 3CX has trunks and shows this account none: Denied, for which calls are external can't be told."""
    pbx.faults.add(Trouble.EMPTY, "*/trunks")
    fault = await ended(follower(pbx), heard)
    assert isinstance(fault, Denied)
    assert "5 trunks" in str(fault)
    assert heard.events == []
    assert ("Trunks", False, True) in (await follower(pbx).probe()).rights


async def test_a_3cx_without_trunks_is_followed(clock, follower, heard):
    """A 3CX that has none has no external call: that is a zero."""
    async with SimulatedThreeCX(clock, trunks=()) as pbx, serving(follower(pbx), heard):
        begin(pbx.exchange, "internal", ring_s=1, talk_s=600)
        (snapshot,) = await heard.snapshots(1)
    assert snapshot.legs == ()


@pytest.mark.parametrize("trouble", [Trouble.EMPTY, Trouble.FAILED, Trouble.TRUNCATED, Trouble.HANG])
async def test_a_directory_that_fails_later_leaves_the_last_one(pbx, follower, heard, trouble):
    """Trunks that can't be read again stay the trunks that they were, and polls go on meanwhile."""
    begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
    async with serving(follower(pbx, trunks_every_s=0.1), heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(trouble, "*/trunks")
        asked = sum(one.endswith("/Trunks") for one in pbx.received)
        await pbx.asked("GET */Trunks", asked + 1)
        await heard.snapshots(len(heard.events) + 3)
        assert not task.done()
    assert all(len(event.legs) == 1 and event.legs[0].listed for event in heard.events)


async def test_a_right_to_the_directory_that_is_taken_away_is_denied(pbx, follower, heard):
    """A 403 to the trunks later ends the link: what is external would no longer be known."""
    async with serving(follower(pbx, trunks_every_s=0.1), heard) as task:
        await heard.snapshots(1)
        pbx.faults.add(Trouble.FORBIDDEN, "*/trunks")
        assert isinstance(await asyncio.wait_for(task, 10), Forbidden)


async def test_a_list_that_moved_between_its_pages_is_not_taken_for_whole(clock, follower, heard):
    """A user who went while the list was read moves another out of sight: Garbled, no list; the next reading is whole."""
    users = tuple(User(str(number)) for number in range(1000, 1250))
    async with SimulatedThreeCX(clock, users=users) as pbx:
        connector = follower(pbx)
        async with serving(connector, heard):
            await heard.snapshots(1)
            pbx.faults.add(Trouble.SHIFTED, "*/users", times=3)
            with pytest.raises(Garbled):
                await connector.read_extensions()
            pbx.faults.clear()
            assert len((await connector.read_extensions()).extensions) == 250


async def test_calls_that_end_between_two_pages_hide_no_other(clock, follower, heard):
    """Active calls are read by their ids: whatever moves meanwhile, no leg is missed."""
    async with SimulatedThreeCX(clock) as pbx:
        for _ in range(250):
            begin(pbx.exchange, "inbound", at=clock.at, ring_s=600, talk_s=3600)
        pbx.faults.add(Trouble.SHIFTED, CALLS)
        async with serving(follower(pbx), heard):
            (snapshot,) = await heard.snapshots(1)
    assert len(snapshot.legs) == 250


async def test_a_clock_that_goes_back_is_a_failed_poll(pbx, follower, heard):
    """Answers older than the last are counted as failed, until the link is lost; the next one takes the clock as it is."""
    begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
    connector = follower(pbx)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        pbx.exchange.ahead_ms = -300_000
        fault = await asyncio.wait_for(task, 10)
    told = len(heard.events)
    assert isinstance(fault, Garbled)
    assert fault.gap_cause is Cause.POLL_FAILED
    async with serving(connector, heard):
        await heard.snapshots(told + 1)
    assert heard.events[told].missed > 1
    assert abs(heard.events[told].ahead_ms + 300_000) < 50


async def test_a_restart_is_another_run(pbx, follower, heard, clock):
    """A call whose id was given before, long ago, proves a restart; the run keeps its new name over reconnects."""
    short = [begin(pbx.exchange, "inbound", ring_s=1, talk_s=1) for _ in range(5)]
    begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
    clock.at += 10_000
    connector = follower(pbx)
    async with serving(connector, heard):
        await heard.snapshots(1)
        await heard.until(lambda events: [leg.call for leg in events[-1].legs] == ["6"])
        first = heard.events[-1].booted
        pbx.restart()
        begin(pbx.exchange, "inbound", ring_s=60, talk_s=3600)
        await heard.until(lambda events: [leg.call for leg in events[-1].legs] == ["1"])
        second = heard.events[-1].booted
    told = len(heard.events)
    async with serving(connector, heard):
        await heard.snapshots(told + 2)
    assert len(short) == 5
    assert first != second
    assert {event.booted for event in heard.events[told:]} == {second}
    assert pbx.received.count(TOKEN) == 2


# --- TLS ---------------------------------------------------------------------------------------


def certificate(folder, *names):
    """Write a certificate for these names that signs itself, and its key, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pbx")])
    day = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    signed = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), day, day.replace(year=2099)
        )
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "pbx.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(pem))
    return path, hashlib.sha256(signed.public_bytes(serialization.Encoding.DER)).digest()


def shown(path):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(path)
    return theirs


async def test_tls_is_spoken_and_checked(clock, follower, heard, tmp_path):
    """Its own authority or the pinned certificate lets it in; nothing else does, and each is told apart."""
    path, pinned = certificate(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    ours = ssl.create_default_context(cafile=str(path))
    async with SimulatedThreeCX(clock, tls=shown(path)) as pbx:
        for number, trust in enumerate(({"tls": ours}, {"fingerprint": pinned}), 1):
            async with serving(follower(pbx, **trust), heard):
                await heard.snapshots(number)
        asked = len(pbx.received)
        unknown = await ended(follower(pbx), heard)
        other = await ended(follower(pbx, fingerprint=bytes(32)), heard)
        assert len(pbx.received) == asked  # no token, no key left the machine
    assert isinstance(unknown, Unreachable)
    assert "authority" in str(unknown)
    assert "ca_file" in unknown.hint
    assert isinstance(other, Unreachable)
    assert "fingerprint" in other.hint


async def test_a_certificate_for_another_name_is_told_apart(clock, follower, heard, tmp_path):
    """The right authority and the wrong name: the hint says to write the FQDN."""
    path, _ = certificate(tmp_path, x509.DNSName("pbx.example.com"))
    async with SimulatedThreeCX(clock, tls=shown(path)) as pbx:
        fault = await ended(follower(pbx, tls=ssl.create_default_context(cafile=str(path))), heard)
    assert isinstance(fault, Unreachable)
    assert "FQDN" in fault.hint


async def test_plain_http_behind_https_is_told(pbx, follower, heard):
    """A port without TLS is Unreachable, and no key was sent."""
    fault = await ended(follower(pbx, url=pbx.url.replace("http", "https")), heard)
    assert isinstance(fault, Unreachable)
    assert pbx.received == []
