"""A PBX owner without a provider: the month's statement comes by mail, with a record that anybody can check."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from agent.reporting import Reader, statements
from agent.store.records import Sealed
from delivery.reporting.usage import Brand
from meter import signature
from meter.chain import examine
from meter.model import Instant
from meter.periods import period_of
from meter.schema import UsageSummary, instant, validate
from tests.acceptance.around import until
from tests.acceptance.browser import browser, need_chromium
from tests.acceptance.contrast import FAINT
from tests.acceptance.harness import AS_TRIED, Site, site
from tests.acceptance.truth import hang_up, talk

REPORT = '[report]\nemail = ["owner@customer.example", "accounts@customer.example"]\n\n[smtp]'
GOLDEN = Path(__file__).parents[1] / "golden" / "chain.jws"


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Site]:
    """Give an agent with `[report]` and no provider, at the beginning of a period of 5 minutes; it does not run yet."""
    alone = (('[upstream]\nurl = "', '# no provider: "'), ('interim = "1s"', ""))
    async with site(tmp_path / "owner", [*AS_TRIED, *alone, ("[smtp]", REPORT)], ahead_ms=0) as it:
        it.begin_period()
        yield it


def arrived(it: Site) -> list[tuple[str, str]]:
    """Return (recipient, Message-ID) of each mail, in order."""
    return sorted((mail.message["To"], mail.message["Message-ID"]) for mail in it.mailbox.mails)


def record_in(mail: EmailMessage) -> bytes:
    (record,) = [
        part.get_content()
        for part in mail.iter_attachments()
        if part.get_content_type() == "application/jose"
    ]
    assert isinstance(record, bytes)
    return record


async def test_a_period_closes_and_its_statement_comes_once(owner: Site) -> None:
    """Each tenant's statement reaches each address once, though the agent is killed as it seals; `pbx-meter verify` proves the record in it."""
    await owner.run()
    calls = talk(owner, count=3)
    await owner.level(3)
    hang_up(*calls)
    await owner.level(0)
    period = period_of(owner.now(), "5min", None)
    owner.mailbox.open.clear()  # the mail server takes a mail and says nothing more
    await owner.kill()
    owner.forward(period.end - owner.now() + 500)
    await owner.run(linked=False)
    sealed = "SELECT count(*) FROM records WHERE kind = 'final'"
    await until(lambda: owner.stored(sealed) == [(2,)], within_s=20, what="both finals")
    await owner.kill()
    assert owner.stored("SELECT count(*), count(body) FROM outbox") == [(4, 4)]  # none is settled yet
    owner.mailbox.mails.clear()
    owner.mailbox.open.set()

    await owner.run(linked=False)
    await until(
        lambda: owner.stored("SELECT count(*) FROM outbox WHERE state = 'delivered'") == [(4,)],
        within_s=30,
        what="all four",
    )
    await owner.kill()
    await owner.run()
    await owner.shows(lambda s: s["outbox"]["waiting"] == 0, what="an empty outbox")

    assert len(set(arrived(owner))) == len(arrived(owner)) == 4
    assert {to for to, _ in arrived(owner)} == {"owner@customer.example", "accounts@customer.example"}
    key = (await owner.meter("keys", "show")).out.splitlines()[0]
    records = {record_in(mail.message) for mail in owner.mailbox.mails}
    assert len(records) == 2
    assert all(examine([record.decode()], [signature.public_key(key)]).good for record in records)
    file = owner.folder / "record.jws"
    file.write_bytes(records.pop())
    verified = await owner.meter("verify", str(file), "--key", key)
    assert (verified.code, "PROVED" in verified.out) == (0, True), verified.out + verified.err


# --- how it looks -----------------------------------------------------------------------------


def bills() -> Iterator[tuple[Sealed, Instant]]:
    """Yield the golden chain's final and its correction, as they were sealed."""
    for token in GOLDEN.read_text("ascii").split():
        record = validate(signature.unverified_payload(token, signature.TYP_RECORD))
        if isinstance(record, UsageSummary) and record.data.kind in ("final", "correction"):
            data, at = record.data, instant(record.time)
            yield Sealed(
                1, data.sequence, record.id, data.kind, data.tenant.id, data.tenant_sequence, data.period.name,
                instant(data.period.start), data.revision, at, signature.sha256_hex(token), token,
            ), at  # fmt: skip


def mails(language: str) -> dict[str, EmailMessage]:
    """Return the mail of the golden final and that of its correction, by their names in docs/."""
    reader = Reader(language, Brand("Partner Telecom", reply_to="support@partner.example"))
    tell = statements(["owner@customer.example"], "meter@partner.example", lambda _: reader)
    found = {}
    for sealed, _ in bills():
        ((_, _, _, body),) = tell(sealed)
        mail = message_from_bytes(body, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        found["mail-statement" if sealed.kind == "final" else "mail-statement-corrected"] = mail
    return found


def written(folder: Path, mail: EmailMessage) -> str:
    body = mail.get_body(("html",))
    assert body is not None
    file = folder / "mail.html"
    file.write_text(str(body.get_content()), "utf-8")
    return file.as_uri()


@pytest.mark.timeout(180)
async def test_the_mail_is_read_on_every_screen(tmp_path: Path) -> None:
    """In each language nothing is cut off sideways from 320 pixels on, and every text has the contrast that WCAG asks for, day and night."""
    need_chromium()
    async with browser(tmp_path) as tab:
        for language in ("nl", "en", "it", "de"):
            for name, mail in mails(language).items():
                for width, dark in ((320, True), (390, False), (1000, True)):
                    await tab.look(width=width, dark=dark)
                    await tab.open(written(tmp_path, mail))
                    assert await tab.run("document.documentElement.scrollWidth") <= width, (name, language)
                    assert await tab.run(FAINT) == [], (name, language, dark)


@pytest.mark.skipif("PBX_METER_SCREENSHOTS" not in os.environ, reason="PBX_METER_SCREENSHOTS names no folder")
async def test_screenshots(tmp_path: Path) -> None:
    """The pictures of statements in docs/ are these: PBX_METER_SCREENSHOTS=docs makes them anew."""
    need_chromium()
    folder = Path(os.environ["PBX_METER_SCREENSHOTS"])
    async with browser(tmp_path) as tab:
        for name, mail in mails("en").items():
            for screen, width in (("narrow", 390), ("wide", 1000)):
                await tab.look(width=width, height=200)
                await tab.open(written(tmp_path, mail))
                picture = await tab.shot()
                await asyncio.to_thread((folder / f"{name}-{screen}.png").write_bytes, picture)
