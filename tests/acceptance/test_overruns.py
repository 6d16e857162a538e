"""Over capacity: the notice is a row at once, its mail and webhook leave at once, and nothing delays a level."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from meter.model import Instant
from tests.acceptance.around import Mail, until
from tests.acceptance.harness import Site, site
from tests.acceptance.truth import hang_up, ring, talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = 3
HOOK = '[[webhook]]\nid = "desk"\nurl = "http://127.0.0.1:HOOK/hook"\n'
CHANGES = [
    ("capacity = 16", f'capacity = {LINES}\nwarn_at = 100\nrepeat = "1s"'),
    ("[upstream]", f"{HOOK}\n[upstream]"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def busy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give a running agent whose tenant has three lines, two of them in use; no provider answers."""
    async with site(tmp_path_factory.mktemp("busy"), CHANGES) as it:
        await it.run()
        talk(it, count=LINES - 1)
        await it.level(LINES - 1)
        yield it


def notices(site: Site, kind: str = "over") -> list[dict]:
    rows = site.stored("SELECT notice FROM notices ORDER BY at, id")
    return [notice for (text,) in rows if (notice := json.loads(text))["kind"] == kind]


def message_id(notice_id: str, recipient: str = "noc@partner.example") -> str:
    """Return the one Message-ID that a notice to somebody has for ever."""
    digest = hashlib.sha256(f"{notice_id}\n{recipient}".encode()).hexdigest()[:24]
    return f"<{digest}@partner.example>"


def mails(site: Site, notice_id: str) -> list[Mail]:
    return [mail for mail in site.mailbox.mails if mail.message["Message-ID"] == message_id(notice_id)]


async def overrun(site: Site) -> tuple[Instant, Instant, dict, list]:
    """Go two lines over; return when that was, when its notice was a row, the notice, and the calls."""
    before = len(notices(site))
    over = ring(site, count=3)
    at = site.asterisk.exchange.lines[-2].start  # the first line too many
    (notice,) = await until(lambda: notices(site)[before:], within_s=5, what="a notice")
    return at, site.now(), notice, over


async def calm(site: Site, over: list) -> None:
    """Go back, and let the second pass after which a notice may come again."""
    hang_up(*over)
    await site.level(LINES - 1)
    told_at = max(notice["at"] for notice in notices(site))
    await until(lambda: site.now() > told_at + 1000)


async def test_an_overrun(busy):
    """A notice is a row within 1 s of the event, its mail is at the SMTP server within 2 s, and its webhook is signed."""
    at, row_at, notice, over = await overrun(busy)
    (mail,) = await until(lambda: mails(busy, notice["id"]), what="the mail")
    hook = await until(
        lambda: next((h for h in busy.hooks if json.loads(h.body)["data"]["id"] == notice["id"]), None)
    )
    print(
        f"\nnotice: row after {row_at - at} ms, mail after {mail.at - at} ms, webhook after {hook.at - at} ms"
    )

    assert row_at - at < 1000
    assert mail.at - at < 2000
    assert (notice["tenant"], notice["capacity"], notice["at"] - at < 200) == ("acme", LINES, True)
    assert LINES < notice["level"] <= LINES + 2
    assert (mail.message["To"], mail.message["Content-Language"]) == ("noc@partner.example", "nl")
    parts = {
        part.get_content_type(): part.get_content() for part in mail.message.walk() if not part.is_multipart()
    }
    assert set(parts) == {"text/plain", "text/html"}
    assert "ACME B.V." in parts["text/plain"]

    scheme, _, signed = hook.headers["webhook-signature"].partition(",")
    key = json.loads((busy.state / "signing-key.json").read_text())["x"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key + "="))
    content = f"{hook.headers['webhook-id']}.{hook.headers['webhook-timestamp']}.".encode() + hook.body
    public.verify(base64.b64decode(signed), content)
    assert scheme == "v1a"
    assert abs(int(hook.headers["webhook-timestamp"]) - at // 1000) < 5
    await calm(busy, over)


async def test_a_mail_server_with_moods(busy):
    """Whatever the mail server does, levels go on; a refused mail is parked and shown, the others arrive, once each by id."""
    # It is down: the mail waits, levels don't.
    await busy.mailbox.stop()
    at, row_at, put_off, over = await overrun(busy)
    assert row_at - at < 1000
    await busy.shows(lambda s: s["outbox"]["waiting"] >= 1, what="a mail that waits")
    began = time.monotonic()
    await calm(busy, over)
    await busy.mailbox.start()

    # It refuses for good: parked, shown, and said why.
    busy.mailbox.recipient = "550 5.1.1 no such mailbox"
    _, _, refused, over = await overrun(busy)
    await busy.shows(lambda s: s["outbox"]["parked"] == 1, what="a parked mail")
    assert mails(busy, refused["id"]) == []
    await calm(busy, over)
    listed = await busy.meter("outbox", "list")
    assert refused["id"] in listed.out
    assert "no such mailbox" in listed.out
    assert "-> check the address" in listed.out
    busy.mailbox.recipient = "250 OK"
    assert "1 rows wait again" in (await busy.meter("outbox", "retry")).out

    # It takes a mail and says nothing more; levels are shown as quickly as ever.
    busy.mailbox.open.clear()
    silent_at = busy.now()
    at, row_at, held, over = await overrun(busy)
    await until(lambda: mails(busy, held["id"]), what="the mail that it holds")
    assert row_at - at < 1000
    more = ring(busy, count=1)
    rang_at = busy.now()
    await busy.level(LINES + 3)
    print(f"\na level, with a mail server that says nothing: shown after {busy.now() - rang_at} ms")
    assert busy.now() - rang_at < 1000

    # The agent is killed before it heard that the mail was taken: it sends it again, and it is the same mail.
    await busy.kill()
    hang_up(*over, *more)
    busy.mailbox.open.set()
    await busy.run()
    await until(lambda: len(mails(busy, held["id"])) >= 2, what="the same mail again")
    await until(lambda: mails(busy, refused["id"]), what="the mail that was parked")
    await until(lambda: mails(busy, put_off["id"]), within_s=25, what="the mail that was put off")
    print(f"a mail that met a dead server arrived {time.monotonic() - began:.1f} s later")
    await until(
        lambda: not busy.stored("SELECT id FROM outbox WHERE state != 'delivered'"), what="an empty outbox"
    )

    told = {id_ for (id_,) in busy.stored("SELECT id FROM notices")}
    seen = Counter(mail.message["Message-ID"] for mail in busy.mailbox.mails)
    assert set(seen) == {message_id(notice) for notice in told}
    twice = [mail for mail in busy.mailbox.mails if seen[mail.message["Message-ID"]] > 1]
    assert message_id(held["id"]) in {mail.message["Message-ID"] for mail in twice}
    assert all(mail.at >= silent_at for mail in twice)
    assert len({bytes(mail.message) for mail in twice}) == len({mail.message["Message-ID"] for mail in twice})
    hooked = Counter(hook.headers["webhook-id"] for hook in busy.hooks)
    assert len(hooked) == len(told)
