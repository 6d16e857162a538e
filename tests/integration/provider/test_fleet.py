"""The fleet as the books know it, on both databases, from real signed records; and the mail that tells of it."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import text

from agent.upstream import Verdict
from delivery.courier import Delivered, Parcel
from delivery.email import MailCourier, MailServer, Security
from meter import signature
from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS, iso
from meter.statement import instant
from provider.books import KeyState
from provider.fleet.findings import Key, Kind, shown
from provider.fleet.looking import CONTRADICTED_MS, Limits, look
from provider.fleet.mailing import Reader, Watch, watch
from provider.fleet.sights import Sight
from provider.partners import Placement
from provider.serving import serving
from provider.storage.opening import open_storage

ROOT = Path(__file__).parents[3]
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
READER = Reader(("ops@provider.example",), "meter@provider.example", "en", AMSTERDAM, time(7))


def stating(
    as_of: int, *, peak: int = 5, unseen_ms: int = 0, cause: str = "pbx_unreachable", **changes: object
):
    """An honest interim of December: `[start, as_of)`, with one gap at its start, and whatever else is given."""

    def edit(record: dict) -> None:
        data = record["data"]
        start = instant("2026-11-30T23:00:00.000Z")
        record["id"] = record["id"].replace("2026-11", "2026-12")
        gap = {"pbx": "pbx1", "start": iso(start), "end": iso(start + unseen_ms), "cause": cause}
        seen_ms = as_of - start - unseen_ms
        level = data["levels"]["channels"] | {
            "peak": peak,
            "peak_at": iso(as_of - MINUTE_MS) if peak else None,
            "peak_ms": 1000,
            "peak_source": "seen",
            "time_at_level_ms": {"0": seen_ms},
        }
        data |= {
            "as_of": iso(as_of),
            "next_by": iso(as_of + HOUR_MS),
            "period": data["period"]
            | {"name": "2026-12", "start": iso(start), "end": "2026-12-31T23:00:00.000Z"},
            "levels": dict.fromkeys(("channels", "calls", "answered"), level),
            "coverage": {
                "expected_ms": as_of - start,
                "observed_ms": seen_ms,
                "gaps": {
                    "count": int(unseen_ms > 0),
                    "total_ms": unseen_ms,
                    "list": [gap] if unseen_ms else [],
                },
            },
        }
        for name, value in changes.items():
            data[name] = data[name] | value

    return edit


async def report(side, *, tenant: str = "acme", **figures) -> None:
    """Let an agent send its interim of this moment."""
    (answer,) = await side.post(side.book.seal(tenant, edit=stating(side.clock.at, **figures)))
    assert answer.verdict is Verdict.COUNTED, answer


async def sight(side) -> Sight:
    return {one.agent: one for one in await side.receiver.storage.fleet.sights(side.clock.at)}[side.id]


async def found(side) -> list[Key]:
    sights = await side.receiver.storage.fleet.sights(side.clock.at)
    return [finding.key for finding in shown(look(sights, Limits(), side.clock.at))]


async def test_what_the_books_say_of_an_agent(agent):
    """Enrolment, last word, key and the newest statement are read as they were taken."""
    enrolled_at = agent.clock.at
    await report(agent, peak=3)
    agent.clock.at += HOUR_MS
    await report(agent, peak=9, unseen_ms=HOUR_MS, unclassified={"legs": 4}, clock={"synchronised": False})
    seen = await sight(agent)
    (statement,) = seen.statements

    assert (seen.enrolled_at, seen.heard_at) == (enrolled_at, agent.clock.at)
    assert [(key.thumbprint, key.state, key.ends_at) for key in seen.keys] == [
        (agent.key.public.thumbprint, KeyState.ACTIVE, None)
    ]
    assert (seen.missing, seen.contradictions, seen.version) == ((), (), "0.1.0")
    assert (statement.tenant, statement.name, statement.interim) == ("acme", "ACME B.V.", True)
    assert (statement.as_of, statement.taken_at) == (agent.clock.at, agent.clock.at)
    assert statement.next_by == agent.clock.at + HOUR_MS
    assert (statement.peak, statement.capacity, statement.basis) == (9, 16, "channels")
    assert statement.unseen_ms == HOUR_MS
    assert (statement.synchronised, statement.unclassified) == (False, 4)


async def test_an_agent_that_said_nothing_yet(agent):
    """It is there from its enrolment on, and silent after three hours."""
    assert (await sight(agent)).heard_at is None
    assert await found(agent) == []
    agent.clock.at += 3 * HOUR_MS + 1
    assert await found(agent) == [Key(Kind.SILENT, "ams-01")]


async def test_time_before_the_installation_is_no_gap(agent):
    """Who was installed in the middle of the month is not named for the time before it."""
    await report(agent, unseen_ms=3 * DAY_MS, cause="not_installed")
    assert (await sight(agent)).statements[0].unseen_ms == 0
    assert await found(agent) == []
    await report(agent, unseen_ms=3 * DAY_MS)
    assert await found(agent) == [Key(Kind.COVERAGE, "ams-01", "acme")]


async def test_the_contract_decides(agent):
    """The capacity of the contract in force today is the one a peak is held against; without one the record's."""
    await report(agent, peak=17)
    assert await found(agent) == [Key(Kind.OVER, "ams-01", "acme")]

    partners = agent.receiver.storage.partners
    await partners.change(
        [],
        [
            Placement("ams-01", "acme", capacity=40),
            Placement("ams-01", "acme", since="2026-12-06", capacity=8),
        ],
        lambda *_: (),
    )
    assert await found(agent) == []
    agent.clock.at += DAY_MS
    await report(agent, peak=17)
    assert await found(agent) == [Key(Kind.OVER, "ams-01", "acme")]


async def test_an_agent_with_odd_words(agent, tmp_path, database):
    """A version and a time zone that nobody knows are shown as they are, and stop no look."""
    agent.book.seal(edit=stating(agent.clock.at, peak=20))
    odd = {"id": "ams-01", "version": "[/red] 0.1", "config_sha256": "0" * 64}
    december = {"name": "2026-12", "start": "2026-11-30T23:00:00.000Z", "end": "2026-12-31T23:00:00.000Z"}

    def edit(record: dict) -> None:
        stating(agent.clock.at + MINUTE_MS, peak=20)(record)
        record["data"] |= {"agent": odd, "period": december | {"timezone": "../etc/Nowhere"}}

    await agent.post(agent.book.tokens[0], agent.book.seal("globex", edit=edit))

    assert Key(Kind.OVER, "ams-01", "globex") in await found(agent)
    code, out = await run(tmp_path, database, "fleet", "--all")
    assert code == 1
    assert "[/red] 0.1" in out


async def test_contradictions_are_remembered(agent):
    """A fork and a conflict are counted in a row each, however many come; after a quiet week it is over."""
    await report(agent)
    first = agent.clock.at
    twin = agent.new_book()
    for _ in range(3):
        agent.clock.at += MINUTE_MS
        twin.tokens.clear()
        twin.tenants.clear()
        (answer,) = await agent.post(twin.seal("acme", edit=stating(agent.clock.at)))
        assert answer.verdict is Verdict.CONFLICT
    seen = await sight(agent)

    (one,) = seen.contradictions
    assert (one.error, one.count, one.first_at, one.last_at) == (
        "conflict",
        3,
        first + MINUTE_MS,
        agent.clock.at,
    )
    assert await found(agent) == [Key(Kind.CONTRADICTED, "ams-01")]
    last = agent.clock.at
    agent.clock.at = last + CONTRADICTED_MS + 1
    await report(agent)
    assert await found(agent) == []
    twin.tokens.clear()
    twin.tenants.clear()
    await agent.post(twin.seal("acme", edit=stating(agent.clock.at)))
    (one,) = (await sight(agent)).contradictions
    assert (one.count, one.first_at) == (1, agent.clock.at)


async def test_strangers_leave_no_trace(agent):
    """What is not signed by a key of the agent, or only begins elsewhere, is no contradiction of its."""
    await report(agent)
    forged = agent.new_book()
    forged.key = signature.new_key()
    (answer,) = await agent.post(forged.seal())
    assert answer.verdict is Verdict.KEY_TROUBLE
    agent.book.seal()
    (answer,) = await agent.post(agent.book.seal())  # number 3, after number 1
    assert answer.verdict is Verdict.SEQUENCE

    assert (await sight(agent)).contradictions == ()


async def test_holes(agent, tmp_path_factory, clock):
    """Numbers that never came are named until they come, and a rebuild knows them as well."""
    tokens = [agent.book.seal(edit=stating(clock.at + n * HOUR_MS)) for n in range(5)]
    async with serving(tmp_path_factory.mktemp("lost"), now=clock) as empty:
        agent.receiver = empty
        await agent.enrol()
        clock.at += 4 * HOUR_MS
        await agent.post(tokens[2], tokens[3])
        assert (await sight(agent)).missing == (("c-1", 1, 2),)
        assert Key(Kind.HOLE, "ams-01") in await found(agent)

        await agent.post(tokens[0], tokens[4])
        assert (await sight(agent)).missing == (("c-1", 2, 2),)
        await empty.books.rebuild()
        assert (await sight(agent)).missing == (("c-1", 2, 2),)
        await agent.post(tokens[1])
        assert (await sight(agent)).missing == ()
        assert await found(agent) == []


async def test_a_planned_withdrawal(agent):
    """A key with an end is named before it, good until it, and vouches for nothing from it on."""
    books, thumbprint = agent.receiver.books, agent.key.public.thumbprint
    await report(agent)
    ends_at = agent.clock.at + 20 * DAY_MS
    assert await books.withdraw("ams-01", at=ends_at) == [thumbprint]
    assert await found(agent) == []
    agent.clock.at = ends_at - 14 * DAY_MS
    await report(agent)
    assert await found(agent) == [Key(Kind.KEY_ENDS, "ams-01")]
    assert (await books.key(thumbprint)).state_at(ends_at - 1) is KeyState.ACTIVE

    agent.clock.at = ends_at - 1
    await report(agent)
    agent.clock.at = ends_at
    token = agent.book.seal(edit=stating(ends_at))
    assert [answer.verdict for answer in await agent.post(token)] == [Verdict.KEY_TROUBLE]
    assert not hasattr(await agent.upstream.position(agent.key), "sequence")
    assert await found(agent) == [Key(Kind.KEYLESS, "ams-01")]

    later = ends_at + DAY_MS
    assert await books.withdraw("ams-01", at=later) == [thumbprint]
    assert [answer.verdict for answer in await agent.post(token)] == [Verdict.COUNTED]


async def test_a_change_of_key_ends_the_worry(agent):
    """Once the new key has signed, the end of the old one concerns nobody."""
    await report(agent)
    await agent.receiver.books.withdraw("ams-01", at=agent.clock.at + DAY_MS)
    assert await found(agent) == [Key(Kind.KEY_ENDS, "ams-01")]

    await agent.post(agent.book.change_key(signature.new_key()))
    await report(agent)

    assert await found(agent) == []


class Mailbox:
    """A real SMTP server's only opinion: it takes everything."""

    def __init__(self) -> None:
        self.taken = []

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.taken.append(email.message_from_bytes(envelope.content, policy=email.policy.SMTP))
        return "250 2.0.0 OK"


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Mailbox, MailCourier]]:
    """A mail server on loopback, and the courier to it."""
    box, sessions, loop = Mailbox(), [], asyncio.get_running_loop()

    def protocol() -> SMTP:
        sessions.append(SMTP(box, loop=loop, hostname="mx.example"))
        return sessions[-1]

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield box, MailCourier(MailServer("127.0.0.1", port, READER.sender, Security.NONE), 10)
    server.close()
    for session in sessions:
        if session.transport is not None:
            session.transport.close()


async def carry(post, courier: MailCourier, now: int) -> None:
    for claimed in await post.claim(now):
        letter = claimed.letter
        outcome = await courier.carry(Parcel(letter.id, "mail", letter.target, letter.body))
        assert isinstance(outcome, Delivered), outcome
        await post.delivered(letter.id, now)


async def test_an_agent_falls_silent_and_comes_back(agent, sink):
    """Over a week of hours: one mail when it has fallen silent, one when it is back, and none else."""
    box, courier = sink
    storage, clock = agent.receiver.storage, agent.clock
    began = clock.at  # 11 o'clock in Amsterdam
    mails: list[tuple[int, str]] = []
    for hour in range(7 * 24):
        if not 30 <= hour < 70:
            await report(agent)
        await watch(storage.fleet, Limits(), READER, clock.at)
        await carry(storage.post, courier, clock.at)
        mails += [(hour, message["Subject"]) for message in box.taken[len(mails) :]]
        clock.at += HOUR_MS

    assert mails == [
        (44, "Agents: 1 thing needs a hand"),  # the seventh of December, 7 o'clock
        (92, "Agents: 1 is over"),  # the ninth: 12 hours after the seventieth are at 9 o'clock on the eighth
    ]
    first, second = (message.get_body(("plain",)).get_content() for message in box.taken)
    silent_since = began + 29 * HOUR_MS
    assert "Nothing has come for 15 hours; its interval is 1 hour." in first
    assert "pbx-meter status" in first
    assert "ams-01 (Silent, since 6 December, 16:00)" in second
    assert silent_since == instant("2026-12-06T15:00:00.000Z")
    assert "It sends again." in second
    assert (await storage.fleet.remembered()).kept == {}
    assert box.taken[0]["To"] == READER.addresses[0]


async def test_two_receivers_tell_once(agent, tmp_path, database):
    """Any number of receivers that share the books may look at the same moment: the operator gets one mail."""
    await report(agent)
    agent.clock.at += 5 * HOUR_MS
    storage = agent.receiver.storage
    await watch(storage.fleet, Limits(), READER, agent.clock.at)  # its first look: nothing is told yet
    agent.clock.at += DAY_MS
    async with open_storage(tmp_path, database) as other:
        looks = [
            watch(one.fleet, Limits(), READER, agent.clock.at) for one in (storage, other, storage, other)
        ]
        told = await asyncio.gather(*looks)

        assert sorted(told) == [False, False, False, True]
        (row,) = await other.post.letters()
    assert (row.kind, row.state) == ("fleet", "waiting")


async def test_a_turn_that_breaks_changes_nothing(agent):
    """If the letters can't be written, nothing is remembered as told."""
    await report(agent)
    agent.clock.at += 5 * HOUR_MS
    fleet = agent.receiver.storage.fleet
    await watch(fleet, Limits(), READER, agent.clock.at)
    before = await fleet.remembered()
    agent.clock.at += DAY_MS

    with pytest.raises(ValueError, match="plain addresses"):
        await watch(fleet, Limits(), replace(READER, sender="nobody"), agent.clock.at)

    assert await fleet.remembered() == before
    assert await watch(fleet, Limits(), READER, agent.clock.at)


async def run(data: Path, database: str | None, *words: str) -> tuple[int, str]:
    where = [] if database is None else ["--database", database]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from provider.cli import main; main()", "--data", str(data), *where, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()


async def test_the_command(agent, tmp_path, database):
    """`fleet` says what needs a hand and ends with 1; with nothing to say it ends with 0. `withdraw --at` plans an end."""
    # The command goes by the real clock: years after these records the agent is silent, and so is its tenant.
    await report(agent, peak=20)
    code, out = await run(tmp_path, database, "fleet", "--json", "--all")
    lines = [json.loads(line) for line in out.splitlines()]
    kinds = [line["kind"] for line in lines]
    over = lines[kinds.index("over")]

    assert code == 1
    assert kinds[-1] == "agent"
    assert over["says"] == "Peak of 20 lines with 16 agreed (125%). No call was blocked."
    assert (over["agent"], over["tenant"], over["name"]) == ("ams-01", "acme", "ACME B.V.")
    assert over["commands"]
    code, out = await run(tmp_path, database, "fleet")
    assert code == 1
    assert "Over capacity" in out
    assert "pbx-meter-provider summaries" in out

    code, out = await run(tmp_path, database, "withdraw", "ams-01", "--at", "2099-01-31")
    assert (code, "2099-01-31" in out) == (0, True)
    (key,) = (await sight(agent)).keys
    assert key.ends_at == instant("2099-01-31T00:00:00.000Z")
    code, out = await run(tmp_path, database, "withdraw", "ams-01", "--at", "soon")
    assert code == 2


async def test_the_command_with_nothing_to_say(tmp_path):
    """An empty fleet needs nothing."""
    code, out = await run(tmp_path, None, "fleet")

    assert (code, out) == (0, "nothing needs a hand; agents: 0\n")


async def test_looking_is_cheap_between_hours(agent):
    """Asked every minute for a day it looks once an hour and at the hour of the mail, and tells at that very minute."""

    class Counted:
        """The fleet, with an ear at `sights`."""

        looks: list[int] = []  # noqa: RUF012  # of this one test
        turn = agent.receiver.storage.fleet.turn

        async def sights(self, now: int):
            self.looks.append(now)
            return await agent.receiver.storage.fleet.sights(now)

    await report(agent)
    start = agent.clock.at
    reader = replace(READER, at=time(7, 20))
    fleet = Watch(Counted(), Limits(), reader)
    asked = [start + minute * MINUTE_MS for minute in range(24 * 60)]
    told = [at for at in asked if await fleet.look(at)]

    assert told == [instant("2026-12-06T06:20:00.000Z")]
    assert 24 <= len(Counted.looks) <= 26


async def test_the_audit_counts_a_chain(agent):
    """A chain that the books count wrongly is found by the audit, and put right by a rebuild."""
    await report(agent)
    storage = agent.receiver.storage
    public = agent.receiver.key.public
    assert (await storage.books.audit(public)).found == ()

    await storage.database.write(lambda connection: connection.execute(text("UPDATE chains SET held = 7")))
    (sentence,) = (await storage.books.audit(public)).found
    assert "the books count 7 records of it, 1 are there" in sentence
    await storage.books.rebuild()
    assert (await storage.books.audit(public)).found == ()
