"""Following a simulated 3CX on which all is well."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from connectors.errors import Denied, Unreachable
from connectors.threecx import calllog, directory
from connectors.threecx.calls import shown
from connectors.threecx.client import Client
from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.line import connected
from connectors.threecx.polling import Polling
from connectors.threecx.settings import Access, Cdr, Settings
from connectors.threecx.simulated.cycles import CYCLES, begin
from connectors.threecx.simulated.directory import TRUNKS, Trunk, User
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulated.timeline import Party, Phase, Status
from connectors.threecx.simulator import OWNER, SimulatedThreeCX
from connectors.threecx.token import Tokens
from meter.model import Direction
from tests.contract.conftest import Heard, serving
from tests.threecx import hurried

TOKEN = "POST /connect/token"


def differences(told, pbx):
    """Return the legs that were told and not true, and those that were true and not told, to a tenth of a second."""
    left = defaultdict(list)
    for leg in told:
        left[leg.endpoint, leg.direction, leg.start // 1000].append(leg)

    def alike(one, other):
        instants = zip((one.start, one.answer, one.end), (other.start, other.answer, other.end), strict=True)
        return all(
            at is told_at if at is None or told_at is None else abs(at - told_at) < 100
            for at, told_at in instants
        )

    missing = []
    for true in (leg for leg in pbx.exchange.legs if not leg.bridge):
        near = [
            left[f"3CX/{true.trunk}", true.direction, true.start // 1000 + second] for second in (-1, 0, 1)
        ]
        found = next(((some, leg) for some in near for leg in some if alike(true, leg)), None)
        if found is None:
            missing.append(true)
        else:
            found[0].remove(found[1])
    return [leg for some in left.values() for leg in some], missing


async def test_a_poll_is_one_snapshot(pbx, follower, heard, clock):
    """Each good poll is one polled snapshot, alone, with the legs that are up, when, and how far the 3CX's clock is off."""
    begin(pbx.exchange, "forward_to_mobile", ring_s=0.01, talk_s=3600, out="10001")
    begin(pbx.exchange, "internal", ring_s=0.01, talk_s=3600)
    begin(pbx.exchange, "bridge_in", ring_s=0.01, talk_s=3600)
    pbx.exchange.ahead_ms = 300_000
    clock.at += 1000
    connector = follower(pbx)
    async with serving(connector, heard):
        first, second = (await heard.snapshots(2))[:2]
    assert [len(batch) for batch in heard.batches] == [1] * len(heard.batches)
    assert {(leg.leg, leg.call, leg.endpoint, leg.direction) for leg in first.legs} == {
        ("1:from:10000", "1", "3CX/10000", Direction.IN),
        ("1:to:10001", "1", "3CX/10001", Direction.OUT),
    }
    assert all(leg.answered and leg.listed and leg.created is None for leg in first.legs)
    assert first.polled
    assert first.missed == 0
    assert abs(first.ahead_ms - 300_000) < 50
    assert first.requested_at <= first.at < second.requested_at
    assert first.booted == second.booted == ""
    assert connector.heard_at == heard.events[-1].at
    assert connector.beside == {"calls in all": 3, "bridges": 1}


async def test_nobody_calls_is_a_snapshot_without_legs(pbx, follower, heard):
    """An empty list is a true zero; the 3CX's clock is then told by the Date header, to the second."""
    pbx.exchange.ahead_ms = -60_000
    async with serving(follower(pbx), heard):
        (snapshot,) = await heard.snapshots(1)
    assert snapshot.legs == ()
    assert abs(snapshot.ahead_ms + 60_000) <= 600


@pytest.mark.parametrize("version", [f"20.0.{update}.995" for update in range(4, 11)])
async def test_every_update_of_v20_is_followed(clock, follower, heard, version):
    """From Update 4 to 10: what a version lacks is not asked for, its own count of users is told where it has one."""
    async with SimulatedThreeCX(clock, version=version) as pbx:
        connector = follower(pbx)
        async with serving(connector, heard):
            await heard.snapshots(1)
            users = await connector.read_extensions()
            probe = await connector.probe()
    assert probe.product == f"3CX {version}"
    assert (users.pbx_own_count is None) is (int(version.split(".")[2]) < 9)
    assert pbx.received.count(TOKEN) == 1


async def test_the_users_are_read_page_by_page(clock, follower, heard):
    """Users come by the hundred, without hot-desk ones, with their departments, and without any secret."""
    users = [User(str(number), department="GRP0001") for number in range(1000, 1250)] + [
        User("HD1"),
        User("99"),
    ]
    async with SimulatedThreeCX(clock, users=tuple(users), page_size=50) as pbx:
        connector = follower(pbx)
        async with serving(connector, heard):
            await heard.snapshots(1)
            asked = len(pbx.received)
            found = await connector.read_extensions()
    assert found.source == "xapi"
    assert len(found.extensions) == 251
    assert found.pbx_own_count == 251
    assert {(one.number, one.endpoint) for one in found.extensions} >= {
        ("99", "3CX/99"),
        ("1249", "3CX/1249"),
    }
    assert {one.departments for one in found.extensions} == {("Sales", "GRP0001"), ("DEFAULT", "GRP0000")}
    assert pbx.received[asked:].count("GET /xapi/v1/Users") == 3


async def test_no_secret_is_ever_asked_for(pbx, follower, heard):
    """Every question for users, trunks, groups, peers and status names its fields, and none of them is a secret."""
    connector = follower(pbx, OWNER)
    async with serving(connector, heard):
        await heard.snapshots(2)
        await connector.read_extensions()
        await connector.probe()
        await connector.read_calls(None)
    selected = Counter()
    for request, query in zip(pbx.received, pbx.queries, strict=True):
        kind = request.rpartition("/")[2].partition("(")[0]
        if kind in {"Users", "Trunks", "Groups", "Peers", "SystemStatus", "Defs"}:
            selected[kind] += 1
            assert query["$select"]
            assert not set(query["$select"].split(",")) & {
                *(
                    "AuthID",
                    "AuthPassword",
                    "AccessPassword",
                    "DeskphonePassword",
                    "VMPIN",
                    "SIPID",
                    "LicenseKey",
                ),
                *("FirstName", "LastName", "DisplayName", "EmailAddress", "Mobile"),
            }
            assert int(query.get("$top", "1")) <= 100
    assert len(selected) == 6
    assert "simulated-secret" not in json.dumps(pbx.queries)


async def test_more_calls_than_a_page(clock, follower, heard):
    """250 calls come in three pages, some of them listed twice: each leg once."""
    async with SimulatedThreeCX(clock) as pbx:
        for place in range(250):
            begin(
                pbx.exchange, "doubled" if place % 3 == 0 else "inbound", at=clock.at, ring_s=60, talk_s=3600
            )
        clock.at += 40_000
        async with serving(follower(pbx), heard):
            (snapshot,) = await heard.snapshots(1)
    assert len(snapshot.legs) == 250
    assert len({leg.leg for leg in snapshot.legs}) == 250


async def test_a_new_trunk_is_looked_up_at_once(pbx, follower, heard, clock):
    """A number that nobody knows makes the trunks be read again, at most once a minute; then it is unclassified."""
    async with serving(follower(pbx), heard):
        await heard.snapshots(1)
        pbx.directory.trunks = (*TRUNKS, Trunk("10300", "New line"))
        begin(pbx.exchange, "inbound", trunk="10300", ring_s=60, talk_s=60)
        await heard.until(lambda events: events[-1].legs)
        (leg,) = heard.events[-1].legs
        assert leg.listed
        assert leg.leg == "1:from:10300"
        before = pbx.received.count("GET /xapi/v1/Trunks")
        stray = Phase(
            clock(), Party("10999", name="Stray", number="0555"), pbx.exchange.party("100"), Status.TALKING
        )
        pbx.exchange.plan([stray], None)
        await heard.until(lambda events: len(events[-1].legs) == 2)
        told = len(heard.events)
        await heard.until(lambda events: len(events) > told + 1)
        assert pbx.received.count("GET /xapi/v1/Trunks") == before
    stray = next(leg for leg in heard.events[-1].legs if not leg.listed)
    assert (stray.leg, stray.endpoint) == ("2:from:?", "3CX/10999")


async def test_every_poll_shows_what_is_true(clock):
    """Through every cycle, poll after poll: the legs that are shown are those that truly are up, answered as they truly are."""
    chance = random.Random(4)
    async with SimulatedThreeCX(clock) as pbx:
        settings = Settings(url=pbx.url, username=OWNER.client_id, secret=OWNER.secret)
        for cycle in [*CYCLES] * 3:
            begin(
                pbx.exchange,
                cycle,
                at=clock.at + chance.randrange(60_000),
                trunk=chance.choice(["10000", "10001", "10020"]),
                out=chance.choice(["10001", "10020"]),
                ring_s=chance.uniform(1, 20),
                talk_s=chance.uniform(1, 60),
            )
        seen = 0
        async with connected(settings, clock) as line:
            client = Client(line, Tokens(settings), Access.XAPI)
            known, polling = await directory.read(client), Polling(client)
            for _ in range(300):
                clock.at += 500
                poll = await polling.poll()
                legs = {leg.leg: leg.answered for leg in shown(poll.calls, known, bridges=False).legs}
                truth = [leg for leg in pbx.exchange.legs if not leg.bridge]
                edges = {at for leg in truth for at in (leg.start, leg.answer, leg.end) if at is not None}
                if any(abs(poll.came_at - at) < 50 for at in edges):
                    continue  # something happened as it was asked
                up = {
                    f"{leg.call}:{'from' if leg.direction is Direction.IN else 'to'}:{leg.trunk}": leg
                    for leg in truth
                    if leg.end is None
                }
                assert legs.keys() == up.keys()
                assert all(legs[name] or leg.answer is None for name, leg in up.items())
                seen += len(legs)
    assert seen > 1_000


async def test_departments_are_told_with_the_legs(pbx, follower, heard, clock):
    """A leg tells the department of the extension, else of the queue, else of its trunk."""
    begin(pbx.exchange, "inbound", extension="201", ring_s=1, talk_s=3600)
    begin(pbx.exchange, "queue", via="8203", ring_s=100, talk_s=60)
    begin(pbx.exchange, "unrouted", trunk="10200", ring_s=3600)
    begin(pbx.exchange, "inbound", trunk="10001", extension="10016", ring_s=1, talk_s=3600)
    clock.at += 30_000
    async with serving(follower(pbx), heard):
        (snapshot,) = await heard.snapshots(1)
    sales, default = ("Sales", "GRP0001"), ("DEFAULT", "GRP0000")
    assert [(leg.departments, leg.provisional) for leg in snapshot.legs] == [
        (sales, False),
        (sales, False),
        (sales, True),
        (default, False),
    ]


async def test_the_call_log_tells_what_was_true(pbx, follower, heard, clock):
    """Every cycle's trunk legs are told by the call log as they truly were, to a second, on our clock.

    The stretch ends a quarter of a minute ago: rows are written at a call's end, or a little later.
    """
    pbx.exchange.ahead_ms = 300_000
    for cycle in CYCLES:
        begin(pbx.exchange, cycle, ring_s=3, talk_s=30)
    connector = follower(pbx, OWNER)
    async with serving(connector, heard):
        await heard.snapshots(1)
        clock.at += 120_000
        begin(pbx.exchange, "internal", talk_s=3600)
        told = len(heard.events)
        await heard.until(lambda events: len(events) > told + 1)
        found = await connector.read_calls(clock.at - 600_000, soon=True)

    assert found.source == "call_log"
    assert differences(found.legs, pbx) == ([], [])
    assert found.start < found.end <= clock.at - 15_000


async def test_the_call_log_makes_a_day_whole(clock, follower, heard):
    """Of 2,000 calls over a day, most too short for any poll, the call log tells every trunk leg as it truly was."""
    chance, began_at, day_ms = random.Random(20), clock.at, 24 * 3_600_000
    async with SimulatedThreeCX(clock, token_life_s=10_000_000, ahead_ms=-90_000) as pbx:
        for _ in range(2_000):
            begin(
                pbx.exchange,
                chance.choice(list(CYCLES)),
                at=began_at + chance.randrange(day_ms),
                trunk=chance.choice(["10000", "10001", "10020", "10200"]),
                out=chance.choice(["10001", "10020"]),
                extension=chance.choice(["100", "201", "10016"]),
                other=chance.choice(["101", "301"]),
                ring_s=chance.uniform(0.1, 20),
                talk_s=chance.choice([None, 0.5, 30, 300, 3600]),
            )
        clock.at += day_ms + 7_200_000
        begin(
            pbx.exchange, "internal", talk_s=3600
        )  # while somebody talks the 3CX tells the time to a millisecond
        connector, until, legs = follower(pbx, OWNER), began_at, {}
        async with serving(connector, heard):
            await heard.snapshots(1)
            while (found := await connector.read_calls(until, soon=True)) is not None and found.end > until:
                assert found.start == until
                until = found.end
                for leg in found.legs:  # what was told before is the same leg, to the clocks' difference
                    assert abs(legs.setdefault(leg.leg, leg).start - leg.start) < 100
                if until > began_at + day_ms + 7_000_000:
                    break
    assert differences(legs.values(), pbx) == ([], [])
    assert len(legs) > 1_500


async def test_the_call_log_keeps_its_pace(pbx, follower, heard, clock):
    """It is read once in `log_every_s`, sooner if a period waits, and each call is told once."""
    connector = follower(pbx, OWNER)
    async with serving(connector, heard):
        await heard.snapshots(1)
        first = await connector.read_calls(clock.at - 4_000_000)
        assert await connector.read_calls(first.end) is None
        call = begin(pbx.exchange, "inbound", ring_s=1, talk_s=600)
        clock.at += 3_601_000
        second = await connector.read_calls(first.end)
        assert (second.start, len(second.legs)) == (first.end, 1)
        assert call.end < second.end
        clock.at += 60_000
        assert await connector.read_calls(second.end) is None
        third = await connector.read_calls(second.end, soon=True)
        assert (third.start, third.legs) == (second.end, ())


async def test_a_call_that_is_up_is_told_when_it_is_over(pbx, follower, heard, clock):
    """A call that lasts through a reading is told by the next one, from its beginning on."""
    connector = follower(pbx, OWNER)
    async with serving(connector, heard):
        await heard.snapshots(1)
        begin(pbx.exchange, "inbound", ring_s=5, talk_s=7100)
        clock.at += 10_000
        await heard.until(lambda events: events[-1].legs)
        began_at = heard.events[-1].at
        clock.at += 3_600_000
        first = await connector.read_calls(clock.at - 4_000_000)
        assert first.legs == ()
        clock.at += 3_590_000
        await heard.until(lambda events: not events[-1].legs)
        second = await connector.read_calls(first.end, soon=True)
    (leg,) = second.legs
    assert leg.start < began_at
    assert leg.end - leg.start == 7_105_000


async def test_a_call_that_ends_as_the_log_is_read_is_told_by_the_next_reading(pbx, follower, heard, clock):
    """A long call that ended within the last seconds is not told yet; the next reading reaches back to its beginning."""
    connector = follower(pbx, OWNER)
    async with serving(connector, heard):
        await heard.snapshots(1)
        call = begin(pbx.exchange, "inbound", ring_s=5, talk_s=7200)
        clock.at += 10_000
        await heard.until(lambda events: events[-1].legs)
        clock.at += 3_500_000
        call.hang_up()
        await heard.until(lambda events: not events[-1].legs)
        first = await connector.read_calls(clock.at - 60_000, soon=True)
        assert first.legs == ()
        clock.at += 60_000
        second = await connector.read_calls(first.end, soon=True)
    assert len(second.legs) == 1


async def test_rows_that_are_written_late_are_told_all_the_same(pbx, follower, heard, clock):
    """The log writes its rows two minutes late: the next reading tells them, though their stretch was told before."""
    connector = follower(pbx, OWNER)
    pbx.faults.add(Trouble.LATE_ROWS, "*calllog*", seconds=120)
    async with serving(connector, heard):
        await heard.snapshots(1)
        first = await connector.read_calls(clock.at - 60_000, soon=True)
        begin(pbx.exchange, "inbound", ring_s=0.1, talk_s=1)
        clock.at += 60_000
        second = await connector.read_calls(first.end, soon=True)
        assert second.legs == ()
        clock.at += 120_000
        third = await connector.read_calls(second.end, soon=True)
    (leg,) = third.legs
    assert leg.end < third.start


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_call_that_is_written_piece_by_piece_is_told_whole(pbx, follower, heard, clock, interrupted):
    """Rows of a call that is still up are no call yet, even if it began while nobody was connected, or a poll lacked it."""
    connector = follower(pbx, OWNER)
    pbx.faults.add(Trouble.PIECEMEAL, "*calllog*")
    async with serving(connector, heard):
        await heard.snapshots(2)
        if not interrupted:
            begin(pbx.exchange, "queue", ring_s=30, talk_s=900)
            await heard.until(lambda events: events[-1].legs)
            clock.at += 90_000
            await heard.snapshots(len(heard.events) + 2)
            pbx.faults.add(Trouble.LACKING, "*/activecalls", times=1)
            await heard.until(lambda events: not events[-1].legs)
    if interrupted:
        clock.at += 120_000
        begin(pbx.exchange, "queue", ring_s=30, talk_s=900)
    clock.at += 300_000
    told = len(heard.events)
    async with serving(connector, heard):
        await heard.until(lambda events: len(events) > told and events[-1].legs)
        assert (await rows_of(connector)) > 0
        first = await connector.read_calls(clock.at - 400_000, soon=True)
        assert first.legs == ()
        assert first.end > clock.at - 20_000
        clock.at += 900_000
        await heard.until(lambda events: not events[-1].legs)
        second = await connector.read_calls(first.end, soon=True)
    assert differences(second.legs, pbx) == ([], [])
    assert len(second.legs) == 1


async def rows_of(connector):
    """Return how many rows the call log has of the last hour."""
    now = connector._now()
    return len(await calllog.read(connector._client, now - 3_600_000, now, 0))


async def test_a_day_is_told_in_pieces(pbx, follower, heard, clock):
    """At first use a day is looked back on, two hours at a time, each call told once."""
    for _ in range(4):
        begin(pbx.exchange, "inbound", ring_s=1, talk_s=60)
        clock.at += 5 * 3_600_000
    connector, ends, legs = follower(pbx, OWNER), [], []
    async with serving(connector, heard):
        await heard.snapshots(1)
        found = await connector.read_calls(None)
        while found is not None:
            ends.append(found.end)
            legs += found.legs
            found = await connector.read_calls(found.end)
    assert len(ends) == 9
    assert (
        len({leg.call for leg in legs}) == len(legs) == 3
    )  # the oldest ended before the stretch that is promised


async def test_a_role_without_the_call_log_is_remembered(pbx, follower, heard):
    """A System Admin may not read the call log: it is asked for once, and there is nothing to tell."""
    connector = follower(pbx)
    async with serving(connector, heard):
        await heard.snapshots(1)
        assert await connector.read_calls(None) is None
        assert await connector.read_calls(None, soon=True) is None
        assert sum("ReportCallLogData" in one for one in pbx.received) == 1
        probe = await connector.probe()
    assert ("call log", False, False) in probe.rights


async def test_cdr_output_stands_in_for_the_call_log(clock, follower, heard, tmp_path):
    """Where the role may not read the call log, the CDR output tells the calls."""
    file = tmp_path / "cdr.log"
    file.touch()
    async with SimulatedThreeCX(clock, cdr=("file", file)) as pbx:
        connector = follower(pbx, cdr=Cdr(file=file))
        async with serving(connector, heard):
            await heard.snapshots(1)
            async with asyncio.timeout(5):
                while not connector._intake.connected:
                    await heard.snapshots(len(heard.events) + 1)
            begin(pbx.exchange, "inbound", ring_s=2, talk_s=10)
            clock.at += 20_000
            await pbx.advance()
            told = None
            async with asyncio.timeout(10):
                while told is None or not told.legs:
                    clock.at += 10_000
                    await heard.snapshots(len(heard.events) + 1)
                    told = await connector.read_calls(None) or told
    assert told.source == "cdr"
    assert [leg.endpoint for leg in told.legs] == ["3CX/10000"]
    assert told.legs[0].claims.departments == ("DEFAULT", "GRP0000")


async def test_the_records_times_are_by_our_clock(clock, follower, heard, tmp_path):
    """The CDR output of a 3CX whose clock is a minute ahead tells when its calls truly were, to two seconds."""
    file = tmp_path / "cdr.log"
    file.touch()
    async with SimulatedThreeCX(clock, cdr=("file", file), ahead_ms=60_400) as pbx:
        connector = follower(pbx, cdr=Cdr(file=file))
        async with serving(connector, heard):
            await heard.snapshots(1)
            async with asyncio.timeout(5):
                while not connector._intake.connected:
                    await heard.snapshots(len(heard.events) + 1)
            begin(pbx.exchange, "inbound", ring_s=2, talk_s=10)
            clock.at += 20_000
            await pbx.advance()
            told = None
            async with asyncio.timeout(10):
                while told is None or not told.legs:
                    clock.at += 2_000
                    await heard.snapshots(len(heard.events) + 1)
                    told = await connector.read_calls(None) or told
        (leg,), (true,) = told.legs, pbx.exchange.legs
    assert abs(leg.start - true.start) < 2_000
    assert abs(leg.answer - true.answer) < 2_000
    assert abs(leg.end - true.end) < 2_000
    assert leg.end < told.end <= clock.at


async def test_a_small_tremble_of_the_clock_moves_no_record(pbx, follower):
    """What the 3CX's clock is ahead counts in whole seconds, and stays as it is until it is another second."""
    connector, found = follower(pbx), []
    for ahead_ms in (400, 999, 1_400, 1_600, 500, 300, -800, -30_200):
        connector._ahead_ms = ahead_ms
        found.append(connector._records_ahead_ms())
    assert found == [0, 0, 1_000, 1_000, 1_000, 1_000, -1_000, -30_000]


def test_cdr_output_takes_over_while_the_call_log_is_shut(tmp_path):
    """The right to the call log is taken away amid a session: CDR tells the calls, until the log may be read again.

    No call is told by both.
    """
    file = tmp_path / "cdr.log"
    file.touch()

    async def play():
        loop, heard, told = asyncio.get_running_loop(), Heard(), []

        def now():
            return 1_793_923_200_000 + round(loop.time() * 1000)

        async with SimulatedThreeCX(now, cdr=("file", file), token_life_s=1_000_000) as pbx:
            connector = ThreeCXConnector(
                "cloud",
                Settings(
                    url=pbx.url,
                    username=OWNER.client_id,
                    secret=OWNER.secret,
                    cdr=Cdr(file=file),
                    poll_s=5,
                    trunks_every_s=100_000,
                ),
                now,
            )
            since = None

            async def call():
                nonlocal since
                begin(pbx.exchange, "inbound", ring_s=2, talk_s=10)
                for _ in range(6):
                    await asyncio.sleep(30)
                    while (found := await connector.read_calls(since, soon=True)) is not None:
                        if since is not None and found.end <= since + 1_000:
                            break
                        told.extend((found.source, leg.call) for leg in found.legs)
                        since = found.end

            async with serving(connector, heard):
                await heard.snapshots(1)
                await call()
                pbx.faults.add(Trouble.FORBIDDEN, "*calllog*")
                await asyncio.sleep(10)
                assert await connector.read_calls(since, soon=True) is None
                await asyncio.sleep(10)
                asked = sum("CallLog" in one for one in pbx.received)
                await call()
                assert sum("CallLog" in one for one in pbx.received) == asked
                pbx.faults.clear()
                await asyncio.sleep(3300)
                await call()
                await asyncio.sleep(400)
                await call()
            assert not connector._intake.connected
        return told

    told = hurried.run(play())
    assert [source for source, _ in dict.fromkeys(told)] == ["call_log", "cdr", "cdr", "call_log"]


async def test_a_probe_looks_around(pbx, follower, clock):
    """`probe` tells product, rights, endpoints, trunks without bridges and the legs that are up, and leaves."""
    begin(pbx.exchange, "forward_to_mobile", ring_s=1, talk_s=3600)
    clock.at += 2_000
    connector = follower(pbx, OWNER)
    probe = await connector.probe()
    assert probe.product == "3CX 20.0.9.995"
    assert probe.rights == (
        *((what, True, True) for what in ("ActiveCalls", "Trunks", "Users", "Groups", "SystemStatus")),
        ("call log", True, False),
    )
    assert set(probe.trunk_hints) == {"3CX/10000", "3CX/10001", "3CX/10020", "3CX/10200"}
    assert {"3CX/10002", "3CX/100", "3CX/8003"} < set(probe.endpoints)
    assert probe.up == 2
    assert connector.heard_at is None
    assert not any("HD" in endpoint for endpoint in probe.endpoints)


async def test_a_probe_beside_a_served_link_disturbs_nothing(pbx, follower, heard):
    """Following, probing and reading together ask for one token: a second one would void the first."""
    connector = follower(pbx, OWNER)
    async with serving(connector, heard) as task:
        await heard.snapshots(1)
        await asyncio.gather(
            *(connector.probe() for _ in range(3)), connector.read_extensions(), connector.read_calls(None)
        )
        await heard.snapshots(len(heard.events) + 1)
        assert not task.done()
    assert pbx.received.count(TOKEN) == 1


async def test_questions_at_once_ask_for_one_token(pbx, follower):
    """However many begin without a token, one is asked for."""
    connector = follower(pbx)
    await asyncio.gather(*(connector.probe() for _ in range(5)))
    assert pbx.received.count(TOKEN) == 1


async def test_a_token_outlives_the_connection(pbx, follower, heard):
    """A connection after another goes on with the token that there is."""
    connector = follower(pbx)
    for number in (1, 2, 3):
        async with serving(connector, heard):
            await heard.snapshots(number)
    assert pbx.received.count(TOKEN) == 1


async def test_polls_never_overlap(pbx, follower, heard):
    """While an answer is awaited nothing more is asked; a slow one makes the next one late, and both are good."""
    pbx.faults.add("slow", "*/activecalls", times=2, seconds=0.5)
    connector = follower(pbx, poll_s=0.2)
    async with serving(connector, heard) as task:
        await pbx.asked("GET */ActiveCalls")
        await heard.snapshots(2)
        assert pbx.received.count("GET /xapi/v1/ActiveCalls") in {2, 3}
        assert not task.done()
    assert {event.missed for event in heard.events} == {0}


async def test_a_user_may_stand_in_for_a_client(pbx, follower, heard):
    """With `user_login` a user is logged in once; a token that ends is renewed by the log-in's cookie."""
    connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="only-for-simulations")
    async with serving(connector, heard):
        await heard.snapshots(1)
        pbx.tokens.forget()
        await heard.snapshots(len(heard.events) + 2)
    posts = [one for one in pbx.received if one.startswith("POST")]
    assert posts == ["POST /webclient/api/Login/GetAccessToken", TOKEN]


async def test_a_user_works_on_every_edition(clock, follower, heard):
    """Without an Enterprise licence the client is refused, and the user's log-in works."""
    async with SimulatedThreeCX(clock, licence="pro") as pbx:
        async with serving(follower(pbx), heard) as task:
            fault = await asyncio.wait_for(task, 5)
        assert isinstance(fault, Denied)
        assert "Enterprise" in fault.hint
        connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="only-for-simulations")
        async with serving(connector, heard):
            await heard.snapshots(1)


async def test_a_cookie_that_is_refused_is_a_new_log_in(pbx, follower, heard):
    """Where the renewing token is no longer known, the user is logged in again."""
    connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="only-for-simulations")
    async with serving(connector, heard):
        await heard.snapshots(1)
        pbx.tokens.forget()
        pbx.tokens._refreshes.clear()
        await heard.snapshots(len(heard.events) + 2)
    posts = [one for one in pbx.received if one.startswith("POST")]
    assert posts == [
        "POST /webclient/api/Login/GetAccessToken",
        TOKEN,
        "POST /webclient/api/Login/GetAccessToken",
    ]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"two_factor": True}, "2FA"),
        ({"enabled": False}, "locked"),
        ({"password": "another"}, "password"),
        ({"role": "managers"}, "department"),
    ],
)
async def test_a_user_who_can_t_be_let_in_is_told_apart(clock, follower, heard, user, words):
    """Second factor, a locked account, a wrong password, a low role: each is Denied in its own words, and no secret."""
    who = replace(User("100", role="system_owners", password="only-for-simulations"), **user)
    async with SimulatedThreeCX(clock, users=(who,)) as pbx:
        connector = follower(pbx, access=Access.USER_LOGIN, username="100", secret="only-for-simulations")
        async with serving(connector, heard) as task:
            fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Denied)
    assert words in str(fault)
    assert "only-for-simulations" not in str(fault) + fault.hint + repr(connector)


async def test_without_a_connection_nothing_is_read(pbx, follower):
    """Extensions and calls need the connection that `serve` holds."""
    connector = follower(pbx)
    with pytest.raises(Unreachable):
        await connector.read_extensions()
    with pytest.raises(Unreachable):
        await connector.read_calls(None)
