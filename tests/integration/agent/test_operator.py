"""What needs a hand reaches the operator's mailbox: a real agent, its PBX and its provider, time moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent import app, running, troubles
from agent.reading import RETRY_MS
from agent.store import outbox
from config.model import Config
from connectors.asterisk.simulated import answers
from connectors.asterisk.simulator import LEAST, SimulatedAsterisk
from meter.periods import HOUR_MS, MINUTE_MS
from tests.acceptance.around import Mailbox, until
from tests.integration.agent.conftest import Agency, Provide, rows
from tests.unit.agent.conftest import HandClock

WriteConfig = Callable[..., Config]
OPERATOR = """
[smtp]
host = "127.0.0.1"
port = {port}
sender = "meter@partner.example"

[operator]
email = ["noc@partner.example"]
unreachable_after = "2m"
"""


@pytest.fixture
async def mailbox(clock: HandClock) -> AsyncIterator[Mailbox]:
    it = Mailbox(clock.now)
    await it.start()
    yield it
    await it.stop()


@pytest.fixture
async def pbx(clock: HandClock) -> AsyncIterator[SimulatedAsterisk]:
    it = SimulatedAsterisk(clock.now)
    await it.start()
    yield it
    await it.stop()


@asynccontextmanager
async def turning(config: Config, clock: HandClock) -> AsyncIterator[app.Agent]:
    """Let a whole agent turn; it is stopped at the end of the block."""
    up = asyncio.get_running_loop().create_future()

    def started(parts: app.Agent) -> None:
        parts.troubles._synchronised = lambda: True
        up.set_result(parts)

    async with asyncio.TaskGroup() as group:
        agent = group.create_task(running.run(config, clock, look_every_s=0.02, started=started))
        yield await up
        agent.cancel()


async def passes(parts: app.Agent, clock: HandClock, ms: int) -> None:
    """Let time pass while everything turns, with a look at the troubles in every step."""
    for _ in range(ms // 2_000):
        clock.advance(2_000)
        await parts.troubles.look()


async def arrives(mailbox: Mailbox, clock: HandClock, count: int, *, within_ms: int) -> EmailMessage:
    """Let time pass until so many mails have come, and return the last. A longer step would be a stall, and a gap."""
    end = clock.boot() + within_ms

    def come() -> bool:
        if len(mailbox.mails) >= count:
            return True
        if clock.boot() < end:
            clock.advance(2_000)
        return False

    await until(come, within_s=20, what=f"mail {count}, of {[m.message['subject'] for m in mailbox.mails]}")
    return mailbox.mails[count - 1].message


def said(mail: EmailMessage, subtype: str = "plain") -> str:
    body = mail.get_body((subtype,))
    assert body is not None
    return " ".join(str(body.get_content()).split())


async def test_a_pbx_that_goes_and_comes_back(
    clock: HandClock, mailbox: Mailbox, pbx: SimulatedAsterisk, write_config: WriteConfig
) -> None:
    """One mail after the minutes that are configured, none after restarts, and one when it is followed again."""
    config, port = write_config(port=pbx.port, rest=OPERATOR.format(port=mailbox.port)), pbx.port
    async with turning(config, clock) as parts:
        await until(lambda: parts.links[0].up)
        await passes(parts, clock, MINUTE_MS)
        await pbx.stop()
        gone_at = clock.now()
        mail = await arrives(mailbox, clock, 1, within_ms=10 * MINUTE_MS)
        assert clock.now() - gone_at >= 2 * MINUTE_MS
        await passes(parts, clock, 5 * MINUTE_MS)

    assert mail["subject"] == "ams-01: PBX pbx1 can't be followed"
    assert (mail["to"], mail["from"]) == ("noc@partner.example", "pbx-meter <meter@partner.example>")
    for part in ("plain", "html"):
        for words in (
            "pbx-meter check",
            "RUNBOOK.md, link.down",
            "12 November, 10:3",
            "by itself",
            f":{port}",
        ):
            assert words in said(mail, part), words
        assert "only-for-simulations" not in said(mail, part)

    async with turning(config, clock) as parts:
        await until(lambda: parts.links[0].trouble)
        await passes(parts, clock, 5 * MINUTE_MS)
    assert len(mailbox.mails) == 1

    async with turning(config, clock) as parts:
        await passes(parts, clock, MINUTE_MS)
        await pbx.start(port=port)
        over = await arrives(mailbox, clock, 2, within_ms=20 * MINUTE_MS)
        assert parts.links[0].up
        await passes(parts, clock, 5 * MINUTE_MS)

    assert over["subject"] == "ams-01: PBX pbx1 is followed again"
    assert "Nothing has to be done" in said(over)
    assert len(mailbox.mails) == 2


async def test_a_refused_login(
    clock: HandClock, mailbox: Mailbox, pbx: SimulatedAsterisk, write_config: WriteConfig
) -> None:
    """It is not called a PBX that can't be reached; it tells whose account it is, and no secret; mended, it is over."""
    accounts, pbx.accounts = pbx.accounts, {}
    config = write_config(port=pbx.port, rest=OPERATOR.format(port=mailbox.port))
    async with turning(config, clock):
        mail = await arrives(mailbox, clock, 1, within_ms=10 * MINUTE_MS)
        pbx.accounts = accounts
        over = await arrives(mailbox, clock, 2, within_ms=60 * MINUTE_MS)

    assert mail["subject"] == "ams-01: PBX pbx1 refuses the agent's login"
    assert "the agent's account there" in said(mail)
    assert LEAST.secret not in mail.as_string()
    assert over["subject"] == "ams-01: PBX pbx1 lets the agent in again"


async def test_several_at_once_and_a_mail_server_that_is_down(
    clock: HandClock,
    mailbox: Mailbox,
    pbx: SimulatedAsterisk,
    write_config: WriteConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk and a refused login are one mail, which waits for its server; the status says what it can at once."""
    monkeypatch.setattr(troubles, "LEAST_ROOM_BYTES", 1 << 62)
    pbx.accounts = {}
    await mailbox.stop()
    async with turning(write_config(port=pbx.port, rest=OPERATOR.format(port=mailbox.port)), clock) as parts:
        await until(lambda: parts.links[0].trouble)
        await passes(parts, clock, 2 * MINUTE_MS)
        status = await parts.status.read(clock.now())
        await mailbox.start()
        clock.advance(HOUR_MS)  # its next try
        parts.lanes[0].bell.ring()
        mail = await arrives(mailbox, clock, 1, within_ms=0)
        await passes(parts, clock, 5 * MINUTE_MS)

    assert [line for line in status["trouble"] if "MiB left. Type: df -h" in line]
    assert status["outbox"]["waiting"] == 1
    assert mail["subject"] == "ams-01: PBX pbx1 refuses the agent's login, and 1 more"
    assert "The disk is nearly full" in said(mail)
    assert len(mailbox.mails) == 1


# --- the provider, the outbox, the users: looked at by hand -----------------------------------


Operated = Callable[..., Any]


@pytest.fixture
def operated(running: Provide, write_config: WriteConfig) -> Operated:
    """Let an agent ship; its operator's mails stay in the outbox."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Agency]:
        async with running(rest=OPERATOR.format(port=9)) as it:
            it.parts.troubles._synchronised = lambda: True
            it.office.snapshot()
            yield it

    return run


def mails(state: Path) -> list[EmailMessage]:
    """Return the mails that wait in an agent's outbox, in order."""
    bodies = rows(state / "meter.db", "SELECT body FROM outbox WHERE lane = 'mail' ORDER BY row")
    return [message_from_bytes(body, policy=policy.default) for (body,) in bodies]


async def look(it: Agency, minutes: int) -> list[str]:
    """Let minutes pass and look in each; return the subjects that wait in the outbox."""
    for _ in range(minutes * 4):
        it.clock.advance(MINUTE_MS // 4)
        it.parts.sampling.mind_time()
        it.office.snapshot()
        await it.parts.troubles.look()
    return [mail["subject"] for mail in mails(it.state)]


async def test_a_provider_that_refuses(operated: Operated, provide: Provide) -> None:
    """401 is told, a receiver that is away is neither a trouble nor the end of one, a mended one is."""
    async with provide() as provider, operated() as it:
        await it.enrol(provider)
        await it.hour()
        await it.arrive()
        it.door.mood = lambda _: web.Response(status=503)
        await it.hour()
        await it.says("upstream")
        assert await look(it, 10) == []

        it.door.mood = lambda _: web.Response(status=401)
        for _ in range(20):
            it.clock.advance(MINUTE_MS)
            it.ring()
            await asyncio.sleep(0.01)
        await it.says("does not know the key")
        assert await look(it, 3) == ["ams-01: The provider refuses the records"]
        mail = mails(it.state)[0]
        assert "RUNBOOK.md, upstream.trouble" in said(mail)
        assert "pbx-meter keys show" in said(mail)

        it.door.mood = lambda _: None
        await it.arrive()
        assert await look(it, 5) == [
            "ams-01: The provider refuses the records",
            "ams-01: The provider takes the records again",
        ]


async def test_interims_that_are_refused_each_hour_are_one_trouble(
    operated: Operated, provide: Provide
) -> None:
    """A tenant that the provider does not know is told once, however many records it can't count; then it is made up for."""
    async with provide() as provider, operated() as it:
        await it.enrol(provider, tenants=("another",))
        for _ in range(4):
            await it.hour()
            await it.arrive()
            told = await look(it, 3)
        assert told == ["ams-01: The provider can't count acme/2026-11/interim"]
        assert "tenant not enrolled" in said(mails(it.state)[0])
        await it.enrol(provider)
        await it.hour()
        await it.arrive()
        assert (await look(it, 5))[1:] == ["ams-01: acme/2026-11/interim has been made up for"]


async def test_a_halted_chain_and_a_parked_row(operated: Operated, provide: Provide) -> None:
    """Both are told in one mail, each with what to type, and not again by the next start."""
    async with provide() as provider:
        async with operated() as it:
            await it.enrol(provider)
            await it.hour()
            await it.arrive()
            it.door.mood = lambda _: web.json_response({"error": "conflict"}, status=409)
            await it.hour()
            await it.says("chain new")
            await it.parts.store.write(
                lambda db: (
                    outbox.enqueue(db, [("n/1", "webhook", "partner", b"{}")], it.clock.now()),
                    outbox.park(
                        db, outbox.due(db, "webhook", it.clock.now(), 1)[0].row, it.clock.now(), "410", "-"
                    ),
                )
            )
            told = await look(it, 3)
        assert told == ["ams-01: The provider refuses the records, and 1 more"]
        mail = said(mails(it.state)[0])
        for words in ("chain.halted", "pbx-meter chain new", "parcel.parked", "pbx-meter outbox retry"):
            assert words in mail
        async with operated() as it:
            assert await look(it, 10) == told


async def test_users_that_can_not_be_read(
    clock: HandClock,
    mailbox: Mailbox,
    pbx: SimulatedAsterisk,
    write_config: WriteConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list that fails is told after two of its intervals, and its end when it can be read."""
    for action in ("DeviceStateList", "SIPpeers", "IAXpeerlist"):
        monkeypatch.setitem(answers.RIGHTS, action, frozenset({"nobody"}))
    config = write_config(port=pbx.port, rest=OPERATOR.format(port=mailbox.port))
    pbxs = tuple(p.model_copy(update={"extensions_every": p.extensions_every / 72}) for p in config.pbx)
    config = config.model_copy(update={"pbx": pbxs})
    async with turning(config, clock) as parts:
        await until(lambda: parts.reading.unread)
        since = clock.now()
        mail = await arrives(mailbox, clock, 1, within_ms=HOUR_MS)
        assert clock.now() - since > 2 * 5 * MINUTE_MS
        monkeypatch.undo()
        over = await arrives(mailbox, clock, 2, within_ms=4 * RETRY_MS)
    assert mail["subject"] == "ams-01: The users of PBX pbx1 can't be read"
    assert over["subject"] == "ams-01: The users of PBX pbx1 can be read again"
