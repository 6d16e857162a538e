"""The mails as people meet them: in a real Chromium, on narrow and wide screens, in the light and in the dark."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from delivery.mail import Brand, notice_mail
from delivery.tidings import operator_mail
from delivery.wording import LANGUAGES
from meter.periods import MINUTE_MS
from meter.troubles import Case, Kind, Tidings, Trouble
from tests.acceptance.browser import browser, need_chromium
from tests.acceptance.contrast import FAINT
from tests.unit.delivery.conftest import AT, KINDS, OVER

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
BRAND = Brand(
    "Partner Telecom", "#1f4e79", "support@partner.example", "Partner Telecom, your telephony partner"
)
SENT = {"sender": "meter@partner.example", "recipient": "noc@partner.example"}
BEGUN = (
    Trouble(
        Kind.UNSEEN,
        "pbx1",
        AT - 6 * MINUTE_MS,
        "No connection to 127.0.0.1:5038: Connection refused.",
        "Does Asterisk run, with `enabled = yes` and this `port` and `bindaddr` in manager.conf?",
        ("pbx-meter check",),
        "link.down",
    ),
    Trouble(
        Kind.DISK,
        "",
        AT - 2 * MINUTE_MS,
        "the disk of /var/lib/pbx-meter has 112 MiB left",
        "",
        ("df -h /var/lib/pbx-meter", "df -i /var/lib/pbx-meter"),
        "disk.nearly_full",
    ),
)

pytestmark = pytest.mark.timeout(180)


def mails(language: str) -> dict[str, EmailMessage]:
    """Return each sort of mail that there is, by its name in docs/."""
    since = {"overruns": 4, "overruns_ms": 1_834_000}  # no less than the overrun that runs
    notices = {
        name: notice_mail(
            dataclasses.replace(OVER, **(KINDS[sort] | figures)),
            brand=BRAND,
            language=language,
            tz=AMSTERDAM,
            **SENT,
        )
        for name, sort, figures in (
            ("warning", "warning", {}),
            ("over", "again", since),
            ("recovered", "ended", since),
        )
    }
    begun = Tidings(AT, tuple((each, each.since or AT) for each in BEGUN), ())
    over = Tidings(AT, (), (Case(Kind.UNSEEN, "pbx1", AT - 85 * MINUTE_MS, AT, AT, AT - 5 * MINUTE_MS),))
    operators = {
        name: operator_mail(tidings, agent="ams-01", language=language, tz=AMSTERDAM, **SENT)
        for name, tidings in (("operator-begun", begun), ("operator-over", over))
    }
    return notices | operators


def written(folder: Path, mail: EmailMessage, name: str) -> str:
    """Write a mail's HTML part to a file; return its URL."""
    body = mail.get_body(("html",))
    assert body is not None
    file = folder / f"{name}.html"
    file.write_text(str(body.get_content()), "utf-8")
    return file.as_uri()


@pytest.fixture(autouse=True)
def _chromium() -> None:
    need_chromium()


async def test_every_mail_is_read_on_every_screen_and_in_every_language(tmp_path: Path) -> None:
    """From 320 pixels on nothing is cut off sideways, every text has the contrast that WCAG asks for, day and night; nothing is fetched."""
    async with browser(tmp_path) as tab:
        for code in LANGUAGES:
            for name, mail in mails(code).items():
                url = written(tmp_path, mail, f"{name}-{code}")
                for width, dark in ((320, True), (390, False), (1000, True), (1000, False)):
                    await tab.look(width=width, dark=dark)
                    await tab.open(url)
                    assert await tab.run("document.documentElement.scrollWidth") <= width, (name, code, width)
                    assert await tab.run(FAINT) == [], (name, code, width, dark)
        assert {address.startswith(("file:", "about:")) for address in tab.asked} == {True}


@pytest.mark.skipif("PBX_METER_SCREENSHOTS" not in os.environ, reason="PBX_METER_SCREENSHOTS names no folder")
async def test_screenshots(tmp_path: Path) -> None:
    """The pictures of mails in docs/ are these: PBX_METER_SCREENSHOTS=docs makes them anew."""
    folder = Path(os.environ["PBX_METER_SCREENSHOTS"])
    async with browser(tmp_path) as tab:
        for name, mail in mails("en").items():
            for screen, width in (("narrow", 390), ("wide", 1000)):
                await tab.look(width=width, height=200)
                await tab.open(written(tmp_path, mail, name))
                picture = await tab.shot()
                await asyncio.to_thread((folder / f"mail-{name}-{screen}.png").write_bytes, picture)
