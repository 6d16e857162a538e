"""A sealed final or correction becomes a mail per address, in the transaction that seals it."""

from __future__ import annotations

import asyncio
import sqlite3
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
import structlog

from agent import configured, correcting, desk, keys
from agent.correcting import Rules
from agent.reporting import statements
from agent.shipping import Lane
from agent.store import ledger, outbox, records
from agent.store.database import StoreError
from config.model import Config
from delivery.email import MailCourier
from meter import signature
from meter.chain import examine
from meter.periods import HOUR_MS
from tests.acceptance.around import Mailbox, until

MINUTE = 60_000
REST = """
[smtp]
host = "127.0.0.1"
port = {port}
sender = "meter@partner.example"

[report]
email = ["accounts@customer.example", "owner@customer.example"]

[[brand]]
id = "partner"
name = "Partner Telecom"
"""
WRONG = 'id = "acme"\nname = "ACME B.V."\nmatch = { trunks = ["PJSIP/pbx1-shared"] }\ncapacity = 2\nlanguage = "nl"'
RIGHT = WRONG.replace("shared", "kpn")


def waiting(parts) -> list[tuple]:
    """Return (id, lane, target, body) of every row of the outbox, as it is on disk."""
    with sqlite3.connect(parts.store.path) as db:
        return db.execute("SELECT id, lane, target, body FROM outbox ORDER BY row").fetchall()


def read(body: bytes) -> EmailMessage:
    mail = message_from_bytes(body, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def words(mail: EmailMessage) -> str:
    """Return the text part on one line."""
    part = mail.get_body(("plain",))
    assert part is not None
    return " ".join(part.get_content().split())


def attached(mail: EmailMessage) -> dict[str, tuple[str, bytes]]:
    """Return (media type, content) of each attachment by its file name."""
    found = {}
    for part in mail.iter_attachments():
        content = part.get_content()
        found[part.get_filename()] = (
            part.get_content_type(),
            content if isinstance(content, bytes) else content.encode(),
        )
    return found


def record_in(mail: EmailMessage) -> str:
    """Return the one signed record that is attached."""
    (jws,) = [content for kind, content in attached(mail).values() if kind == "application/jose"]
    return jws.decode("ascii").strip()


async def sealed_november(parts, office, clock) -> None:
    """Live through the end of November, with a call, and seal it."""
    here = office(parts)
    here.snapshot()
    await here.live(MINUTE)
    call = here.call()
    await here.live(2 * MINUTE)
    here.hang_up(call)
    await here.live(MINUTE)
    clock.advance(6 * HOUR_MS)
    here.snapshot()
    await here.live(MINUTE)
    await parts.closing.seal_due()


async def corrected(parts, config: Config, now: int):
    """Correct November as `pbx-meter correct` does."""
    plan = configured.plan_of(config)

    def work(db):
        key = bytes.fromhex(ledger.fact(db, "redaction_key"))
        rules = Rules(configured.tenancy(config, key), {p.name: p.trunks for p in config.pbx}, frozenset())
        period = desk.period_named(db, "acme", "2026-11")
        draft = correcting.draft(db, plan, "acme", period, rules, None)
        assert draft is not None
        return correcting.seal_draft(db, plan, config.agent.state_dir, draft, "the trunk was missing", now)

    return await parts.store.write(work)


@pytest.fixture
def config(configure):
    return configure(tenants=[WRONG], rest=REST.format(port=9))


async def test_a_final_becomes_a_mail_per_address(awake, office, clock, at, config) -> None:
    """A final and a mail to each address are there at once; the record in it is the sealed one, and the agent's key proves it."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        await sealed_november(parts, office, clock)
        final = (await parts.store.read(lambda db: [r for r in records.every(db) if r.kind == "final"]))[0]
        rows = waiting(parts)

    assert [(lane, target) for _, lane, target, _ in rows] == [
        ("mail", "accounts@customer.example"),
        ("mail", "owner@customer.example"),
    ]
    assert all("@" not in id_ and final.id in id_ for id_, *_ in rows)
    key = keys.load(config.agent.state_dir).public
    for _, _, target, body in rows:
        mail = read(body)
        assert mail["To"] == target
        assert mail["From"] == "Partner Telecom <meter@partner.example>"
        assert record_in(mail) == final.jws
        assert signature.verify(record_in(mail), [key], signature.TYP_RECORD)
        assert examine([record_in(mail)], [key]).good


async def test_the_statement_is_in_the_tenants_language_and_says_its_figures(
    awake, office, clock, at, config
) -> None:
    """The mail says whose month it is, the peak, the record and the key, in the tenant's language."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        await sealed_november(parts, office, clock)
        final = (await parts.store.read(lambda db: [r for r in records.every(db) if r.kind == "final"]))[0]
        mail = read(waiting(parts)[0][3])

    assert mail["Content-Language"] == "nl"
    assert "ACME B.V." in mail["Subject"]
    assert "november 2026" in mail["Subject"].lower()
    (page,) = [content.decode() for kind, content in attached(mail).values() if kind == "text/html"]
    assert final.sha256 in page
    assert keys.load(config.agent.state_dir).public.thumbprint in page


async def test_only_what_a_bill_is_made_from_is_mailed(awake, office, clock, at, configure) -> None:
    """Interims, minute-series and changes of key make no mail."""
    config = configure(tenants=[WRONG], rest=REST.format(port=9))
    clock.start_at(at("2026-11-12T20:00Z"))
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        clock.advance(26 * HOUR_MS)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()
        plan, state_dir = configured.plan_of(config), config.agent.state_dir
        await parts.store.write(lambda db: desk.change_key(db, plan, state_dir, clock.now()))
        kinds = await parts.store.read(lambda db: {r.kind for r in records.every(db)})

        assert kinds == {"interim", "minute-series", "key-change"}
        assert waiting(parts) == []


async def test_without_the_section_nobody_is_mailed(awake, office, clock, at, configure) -> None:
    """Without `[report]` a final makes no mail."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(configure(tenants=[WRONG])) as parts:
        await sealed_november(parts, office, clock)

        assert waiting(parts) == []


async def test_killed_and_started_again(awake, office, clock, at, config) -> None:
    """An agent that is killed after it sealed, and seals again what is due, mails nothing twice."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        await sealed_november(parts, office, clock)
        before = waiting(parts)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(30 * MINUTE)
        await parts.closing.seal_due()

        assert waiting(parts) == before


async def test_a_disk_that_fails_leaves_neither(awake, office, clock, at, config) -> None:
    """If the transaction that seals does not come to its end, there is no record and no mail of it."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        whole = parts.closing._seal

        def torn(db, due, said, now):
            whole(db, due, said, now)
            if due.kind == "final":
                assert outbox.counts(db)["waiting"] == 2
                raise sqlite3.OperationalError("disk I/O error")

        parts.closing._seal = torn
        with pytest.raises(StoreError, match="disk I/O"):
            await sealed_november(parts, office, clock)
        kinds = await parts.store.read(lambda db: {r.kind for r in records.every(db)})

        assert "final" not in kinds
        assert waiting(parts) == []


async def test_a_correction_says_what_it_replaces(awake, office, clock, at, configure, config) -> None:
    """A correction is mailed too, with its own record, and says which one it replaces and why; the row is in the same transaction, whoever seals."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        await sealed_november(parts, office, clock)
        right = configure(tenants=[RIGHT], rest=REST.format(port=9))
        sealed = await corrected(parts, right, clock.now())
        rows = waiting(parts)

    assert len(rows) == 4
    assert len({id_ for id_, *_ in rows}) == 4
    first, last = read(rows[0][3]), read(rows[2][3])
    assert record_in(last) == sealed.jws
    assert last["Message-ID"] != first["Message-ID"]
    assert "komt in de plaats van acme/2026-11/final/1" in words(last)
    assert "the trunk was missing" in words(last)
    assert "komt in de plaats" not in words(first)


async def test_what_cant_be_told_is_sealed_all_the_same(awake, office, clock, at, config) -> None:
    """A record whose mail can't be put into words is sealed, and the log says so."""
    clock.start_at(at("2026-11-30T20:00Z"))

    def reader(_: str):
        raise LookupError("no such language")

    with structlog.testing.capture_logs() as logged:
        async with awake(config) as parts:
            object.__setattr__(
                parts.closing._plan, "statements", statements(["a@b.example"], "m@b.example", reader)
            )
            await sealed_november(parts, office, clock)
            kinds = await parts.store.read(lambda db: {r.kind for r in records.every(db)})

    assert "final" in kinds
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["statement.not_composed"]


async def test_the_mails_arrive(awake, office, clock, at, configure) -> None:
    """The mail lane carries each mail to the server once, the record whole."""
    mailbox = Mailbox(clock.now)
    await mailbox.start()
    clock.start_at(at("2026-11-30T20:00Z"))
    config = configure(tenants=[WRONG], rest=REST.format(port=mailbox.port))
    server = configured.mail_server(config)
    assert server is not None
    async with awake(config) as parts:
        await sealed_november(parts, office, clock)
        lane = Lane("mail", MailCourier(server), parts.store, clock)
        turning = asyncio.get_running_loop().create_task(lane.run())
        try:
            await until(lambda: not any(row[3] for row in waiting(parts)), what="both mails")
        finally:
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
    await mailbox.stop()

    key = keys.load(config.agent.state_dir).public
    assert sorted(mail.message["To"] for mail in mailbox.mails) == [
        "accounts@customer.example", "owner@customer.example",
    ]  # fmt: skip
    for mail in mailbox.mails:
        assert examine([record_in(mail.message)], [key]).good
