"""Records and mail leave: a real receiver, a real SMTP conversation, in order, again and again until it is done."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from agent import desk, keys
from agent.store import ledger, outbox, records
from agent.upstream import Judged, enrol
from delivery import http
from meter import messages
from provider.serving import Serving, serving

MINUTE = 60_000
ACME = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }\ncapacity = 2'
GLOBEX = 'id = "globex"\nmatch = { trunks = ["PJSIP/pbx1-shared"] }'


def upstream(url: str) -> str:
    return f'\n[upstream]\nurl = "{url}"\ninterim = "1m"\n'


@pytest.fixture
async def receiver(tmp_path: Path, clock) -> AsyncIterator[Serving]:
    (tmp_path / "provider").mkdir()
    async with serving(tmp_path / "provider", now=clock.wall) as running:
        yield running


async def enrolled(parts, config, receiver: Serving, clock, *tenants: str) -> None:
    invitation = await receiver.invite("ams-01", tenants or ("acme", "globex"))
    async with http.open_session() as session:
        found = await enrol(session, invitation, keys.load(config.agent.state_dir), now=clock.wall)
    assert not isinstance(found, Judged), found
    await parts.store.write(lambda db: ledger.keep_fact(db, "receiver", found[0].json()))


async def sealed(parts) -> list[records.Sealed]:
    return await parts.store.read(lambda db: list(records.every(db)))


async def seal_some(parts, here, *, minutes: int = 3) -> None:
    """Live a few minutes with an interim each."""
    here.snapshot()
    for _ in range(minutes):
        await here.live(MINUTE)
        here.snapshot()
        await parts.sampling.commit()
        assert await parts.closing.seal_due()


async def until(so: Callable[[], Awaitable[bool]], clock=None, *, seconds: float = 15) -> None:
    """Wait until something is so; a hand clock runs on meanwhile if it is given."""
    async with asyncio.timeout(seconds):
        while not await so():
            if clock is not None:
                clock.advance(1_000)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def turning(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Let loops turn while the block lasts; a loop that fails fails the test."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]  # noqa: TID251 - the test's own tasks
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


async def books_equal(parts, receiver: Serving) -> None:
    """The provider's books hold the very bytes that were sealed, in order, and every receipt is kept."""
    mine = await sealed(parts)
    theirs = await receiver.books.records("ams-01")

    assert [row.token for row in theirs] == [record.jws for record in mine]
    for record in mine:
        receipt = messages.read_receipt(record.receipt, receiver.key.public)
        assert (receipt.sha256, receipt.sequence, receipt.status) == (
            record.sha256,
            record.sequence,
            record.status,
        )


async def test_records_arrive_in_order_with_receipts(awake, office, configure, clock, receiver) -> None:
    """Everything that was sealed arrives, byte for byte and in order, and each receipt is stored."""
    config = configure(tenants=[ACME, GLOBEX], rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
            await seal_some(parts, office(parts), minutes=1)
            parts.shipping.bell.ring()
            await until(lambda: all_receipted(parts))
        await books_equal(parts, receiver)
        assert parts.shipping.trouble is None


async def all_receipted(parts) -> bool:
    found = await sealed(parts)
    return bool(found) and all(record.receipt for record in found)


async def test_a_refused_record_takes_its_place(awake, office, configure, clock, receiver) -> None:
    """A record that can't be counted is kept as refused, with the reason, and the ones after it arrive."""
    config = configure(tenants=[GLOBEX, ACME], rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock, "acme")
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
        found = await sealed(parts)
        await books_equal(parts, receiver)

    assert {(record.tenant, record.status) for record in found} == {
        ("acme", "counted"),
        ("globex", "refused"),
    }
    assert all("globex" in record.why for record in found if record.status == "refused")


async def test_a_receiver_that_is_down_gets_it_later(tmp_path, awake, office, configure, clock) -> None:
    """With nobody there records wait, with growing waits; when the receiver is back everything arrives, once."""
    (tmp_path / "provider").mkdir()
    async with serving(tmp_path / "provider", now=clock.wall) as receiver:
        config = configure(rest=upstream(receiver.url))
        async with awake(config) as parts:
            await enrolled(parts, config, receiver, clock)
    async with awake(config) as parts:
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: tried(clock, 6), clock)
            assert parts.shipping.trouble
            assert not any(record.receipt for record in await sealed(parts))
            assert clock.slept[5] > 5 * clock.slept[0]
            async with serving(tmp_path / "provider", port=receiver.port, now=clock.wall) as back:
                await until(lambda: all_receipted(parts), clock)
                await books_equal(parts, back)


async def tried(clock, times: int) -> bool:
    return len(clock.slept) >= times


async def test_killed_before_the_receipt_was_stored(
    tmp_path, awake, office, configure, clock, receiver
) -> None:
    """A record that was taken but whose receipt was lost is sent again, recognised, and counted once."""
    config = configure(rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
        await parts.store.write(
            lambda db: db.execute("UPDATE records SET receipt = NULL, status = NULL WHERE sequence > 1")
        )
    async with awake(config) as parts:
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
        await books_equal(parts, receiver)


async def test_a_restored_copy_seals_nothing(tmp_path, awake, office, configure, clock, receiver) -> None:
    """A copy whose receiver is ahead halts before it seals, says what to type, and goes on in a new chain."""
    config = configure(rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
        await seal_some(parts, office(parts), minutes=1)
    shutil.copytree(config.agent.state_dir, tmp_path / "backup")
    async with awake(config) as parts:
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
    shutil.rmtree(config.agent.state_dir)
    shutil.copytree(tmp_path / "backup", config.agent.state_dir)
    clock.advance(10 * MINUTE)

    async with awake(config) as parts:
        parts.closing.position_known = False
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        before = len(await sealed(parts))
        assert await parts.closing.seal_due() == 0
        async with turning(parts.shipping.run):
            await until(lambda: is_halted(parts))
        assert await parts.closing.seal_due() == 0
        assert "pbx-meter chain new" in parts.closing.held
        assert "pbx-meter chain new" in parts.shipping.trouble
        assert len(await sealed(parts)) == before
        assert here.parts.sampling.observed("acme"), "metering goes on"

        await chain_new(parts, config, receiver, clock)
        parts.closing.position_known = True
        await seal_some(parts, here)
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
        found = await sealed(parts)
        assert found[0].sequence == 1
        assert all(record.status == "counted" for record in found)


async def is_halted(parts) -> bool:
    chain = await parts.store.read(records.chain)
    return chain is not None and chain.halted is not None


async def chain_new(parts, config, receiver: Serving, clock) -> None:
    """What `pbx-meter chain new` does."""
    at = await parts.shipping._enrolled()
    position = await at.position(keys.load(config.agent.state_dir))
    await parts.store.write(lambda db: desk.new_chain(db, position))


async def test_two_copies_conflict(tmp_path, awake, office, configure, clock, receiver) -> None:
    """Two running copies of one agent: the second one's record is a conflict; it halts with a hint and overwrites nothing."""
    config = configure(rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
        await seal_some(parts, office(parts), minutes=1)
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
    other = tmp_path / "other"
    shutil.copytree(config.agent.state_dir, other)
    copied = config.model_copy(update={"agent": config.agent.model_copy(update={"state_dir": other})})
    async with awake(config) as one, awake(copied) as two:
        async with turning(two.shipping.run):
            await until(lambda: compared(two))
            await seal_some(one, office(one), minutes=1)
            async with turning(one.shipping.run):
                await until(lambda: all_receipted(one))
            await seal_some(two, office(two), minutes=1)
            two.shipping.bell.ring()
            await until(lambda: is_halted(two))
        await books_equal(one, receiver)
        assert "chain new" in two.shipping.trouble
        clock.advance(MINUTE)
        assert await two.closing.seal_due() == 0


async def compared(parts) -> bool:
    parts.closing.position_known, known = parts.closing.position_known, parts.shipping._cursor is not None
    return known


async def test_a_copy_from_before_the_first_record(
    awake, office, configure, clock, receiver, tmp_path
) -> None:
    """A copy made after enrolment and before anything was sealed seals nothing either: the receiver has more."""
    config = configure(rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
    shutil.copytree(config.agent.state_dir, tmp_path / "backup")
    async with awake(config) as parts:
        await seal_some(parts, office(parts))
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
    shutil.rmtree(config.agent.state_dir)
    shutil.copytree(tmp_path / "backup", config.agent.state_dir)
    async with awake(config) as parts:
        parts.closing.position_known = False
        async with turning(parts.shipping.run):
            await until(lambda: is_halted(parts))
        parts.closing.position_known = True
        clock.advance(5 * MINUTE)
        assert await parts.closing.seal_due() == 0
        assert await sealed(parts) == []


async def test_what_a_former_chain_never_delivered(awake, office, configure, clock, receiver) -> None:
    """Finals that were sealed and never arrived are sealed again in the new chain: no period goes missing at the provider."""
    config = configure(period="5min", rest=upstream(receiver.url))
    async with awake(config) as parts:
        await enrolled(parts, config, receiver, clock)
        here = office(parts)
        await seal_some(parts, here, minutes=20)
        before = {record.period for record in await sealed(parts) if record.kind == "final"}
        assert before
        await parts.store.write(lambda db: records.halt(db, "a fork, say"))
        await chain_new(parts, config, receiver, clock)
        await seal_some(parts, here, minutes=1)
        async with turning(parts.shipping.run):
            await until(lambda: all_receipted(parts))
        rows = await receiver.books.summaries(agent="ams-01", tenant="acme")
        assert before <= {row.period for row in rows if row.state == "final"}


# --- mail ------------------------------------------------------------------------------------

MAIL = '\n[smtp]\nhost = "127.0.0.1"\nport = {port}\nsender = "meter@partner.example"\n'
ALERTED = ACME + '\nalerts = ["noc@partner.example"]'


class Sink:
    """Takes mail, after saying no as often as it was told to."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.mails: list[bytes] = []

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answers:
            return self.answers.pop(0)
        self.mails.append(envelope.content)
        return "250 taken"


@asynccontextmanager
async def smtp(*answers: str) -> AsyncIterator[tuple[Sink, int]]:
    """Serve SMTP in this loop."""
    sink, sessions = Sink(list(answers)), []

    def protocol() -> SMTP:
        sessions.append(SMTP(sink, loop=asyncio.get_running_loop(), hostname="mx.example"))
        return sessions[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield sink, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for session in sessions:
            if session.transport is not None:
                session.transport.close()
            if session._handler_coroutine is not None:
                await asyncio.wait([session._handler_coroutine], timeout=5)
        await server.wait_closed()


async def overrun(parts, here) -> None:
    here.snapshot()
    await here.live(1_000)
    for _ in range(3):
        here.call()
    await parts.sampling.commit()


async def rows(parts) -> dict[str, int]:
    return await parts.store.read(outbox.counts)


async def test_mail_leaves_after_the_row(awake, office, configure, clock) -> None:
    """Refused for now, a mail is tried again by its plan and arrives once; its row is settled."""
    async with smtp("451 come back") as (sink, port):
        config = configure(tenants=[ALERTED + "\nwarn_at = 100"], rest=MAIL.format(port=port))
        async with awake(config) as parts:
            await overrun(parts, office(parts))
            (lane,) = parts.lanes
            async with turning(lane.run):
                await until(lambda: no_rows_wait(parts, lane), clock)
            assert len(sink.mails) == 2  # a warning and that it is over
            assert await rows(parts) == {"waiting": 0, "parked": 0}


async def no_rows_wait(parts, lane) -> bool:
    lane.bell.ring()
    return (await rows(parts))["waiting"] == 0


async def test_a_mail_that_is_never_taken_is_parked(awake, office, configure, clock) -> None:
    """A permanent refusal parks the row with its reason and the next thing to type; others go on."""
    async with smtp("554 never") as (sink, port):
        config = configure(tenants=[ALERTED], rest=MAIL.format(port=port))
        async with awake(config) as parts:
            await overrun(parts, office(parts))
            (lane,) = parts.lanes
            async with turning(lane.run):
                await until(lambda: no_rows_wait(parts, lane), clock)
            (parked,) = await parts.store.read(outbox.parked)
            assert "554" in parked.why
            assert "pbx-meter outbox retry" in parked.hint
            assert "noc@partner.example" not in parked.why
            assert len(sink.mails) == 1
            await parts.store.write(lambda db: desk.retry_parked(db, clock.now()))
            async with turning(lane.run):
                await until(lambda: no_rows_wait(parts, lane), clock)
            assert len(sink.mails) == 2


async def test_a_server_that_never_answers_delays_no_commit(awake, office, configure, clock) -> None:
    """While a mail hangs in a server that says nothing, levels are taken and committed as ever."""
    holding = asyncio.Event()
    hanging: list[asyncio.StreamWriter] = []

    async def tar_pit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.append(writer)
        holding.set()

    server = await asyncio.start_server(tar_pit, "127.0.0.1", 0)
    try:
        config = configure(tenants=[ALERTED], rest=MAIL.format(port=server.sockets[0].getsockname()[1]))
        async with awake(config) as parts:
            here = office(parts)
            await overrun(parts, here)
            async with turning(parts.lanes[0].run):
                async with asyncio.timeout(10):
                    await holding.wait()
                began = asyncio.get_running_loop().time()
                for _ in range(20):
                    here.call()
                    await here.live(1_000)
                assert asyncio.get_running_loop().time() - began < 5
                legs = await parts.store.read(lambda db: ledger.legs(db, "acme", 0, 1 << 60))
                assert len(legs) == 23
    finally:
        server.close()
        for writer in hanging:
            writer.close()
        await server.wait_closed()
