"""How the mail about the fleet looks in a real browser, narrow and wide, light and dark."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS
from provider.fleet.findings import Finding, Key, Kind
from provider.fleet.mailing import Reader, letters
from provider.fleet.telling import Kept, News
from tests.acceptance.browser import browser

#: 2026-11-22T06:00Z
NOW = 1_795_327_200_000
NEWS = News(
    (
        Finding(Key(Kind.CONTRADICTED, "utr-04"), "", NOW - 9 * HOUR_MS, 3, {"count": 3, "error": "fork"}),
        Finding(
            Key(Kind.SILENT, "ams-01"),
            "",
            NOW - 8 * HOUR_MS,
            2,
            {
                "silent_ms": 8 * HOUR_MS + 12 * MINUTE_MS,
                "interval_ms": HOUR_MS,
                "heard_at": NOW - 8 * HOUR_MS,
            },
        ),
        Finding(
            Key(Kind.SILENT, "bru-02"),
            "",
            NOW - 5 * HOUR_MS,
            1,
            {"silent_ms": 5 * HOUR_MS, "interval_ms": HOUR_MS, "heard_at": NOW - 5 * HOUR_MS},
        ),
        Finding(
            Key(Kind.OVER, "ams-01", "acme"),
            "ACME B.V.",
            None,
            125,
            {"peak": 20, "capacity": 16, "share": 125, "basis": "channels"},
        ),
        Finding(
            Key(Kind.COVERAGE, "mil-07", "hotel-aurora"),
            "Hotel Aurora",
            None,
            31,
            {"unseen_ms": 16 * HOUR_MS, "expected_ms": 21 * DAY_MS},
        ),
        Finding(
            Key(Kind.UNCLASSIFIED, "utr-04", "globex"), "Globex International N.V.", None, 12, {"legs": 12}
        ),
    ),
    ((Key(Kind.CLOCK, "gro-03"), Kept("", NOW - 3 * DAY_MS, NOW, NOW, NOW)),),
    2,
)


@pytest.mark.parametrize(
    ("name", "language", "width", "dark"),
    [
        ("wide", "en", 1000, False),
        ("narrow", "nl", 390, False),
        ("narrow-dark", "it", 390, True),
        ("wide-dark", "de", 1000, True),
    ],
)
async def test_the_mail_in_a_browser(tmp_path, name, language, width, dark):
    """No part of it is wider than the screen, and it asks for nothing. PBX_METER_SCREENSHOTS=docs makes the pictures."""
    reader = Reader(("ops@example.nl",), "meter@example.nl", language, ZoneInfo("Europe/Amsterdam"))
    (letter,) = letters(NEWS, reader, NOW)
    message = email.message_from_bytes(letter.body, policy=email.policy.SMTP)
    page = tmp_path / "mail.html"
    page.write_text(message.get_body(("html",)).get_content(), encoding="utf-8")

    async with browser(tmp_path) as tab:
        await tab.look(width=width, dark=dark)
        await tab.open(page.as_uri())
        wide = await tab.run("document.documentElement.scrollWidth")
        picture = await tab.shot()

    assert wide <= width
    assert (tab.asked, tab.complaints) == ([page.as_uri()], [])
    if "PBX_METER_SCREENSHOTS" in os.environ:
        file = Path(os.environ["PBX_METER_SCREENSHOTS"]) / f"fleet-mail-{name}.png"
        await asyncio.to_thread(file.write_bytes, picture)
