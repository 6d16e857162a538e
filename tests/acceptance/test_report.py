"""Reports as people meet them: in a real Chromium, on narrow and wide screens, in the light and in the dark."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from delivery.reporting.html import report_html
from delivery.reporting.mail import SIGNED, report_mail, statement_mail, stem
from delivery.reporting.pdf import pdf
from delivery.reporting.statement import statement_html
from tests.acceptance.browser import Tab, browser, need_chromium
from tests.unit.delivery.reporting.month import BRAND, month

#: Contrast of every text with what is behind it, as WCAG 2.2 reckons it; those below 4.5 are returned.
_FAINT = """(() => {
  const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const found = numbers(getComputedStyle(e).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found; } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !e.getClientRects().length || e.closest('noscript, script')) continue;
    const style = getComputedStyle(e);
    const ink = light(numbers(e.closest('svg') ? style.fill : style.color)), page = light(behind(e));
    const contrast = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    if (contrast < 4.5) faint.push(`${node.textContent.trim()}: ${contrast.toFixed(2)}`);
  }
  return faint;
})()"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def _chromium() -> None:
    need_chromium()


def pages(language: str = "nl", **brand: str) -> dict[str, str]:
    """Give a report and a statement, by name."""
    report = month(language, brand=dataclasses.replace(BRAND, **brand))
    statement = statement_html(
        report.tenants[1],
        period=report.period,
        language=language,
        brand=report.brand,
        made_at=report.made_at,
    )
    return {"report": report_html(report), "statement": statement}


async def opened(tab: Tab, folder: Path, html: str) -> None:
    file = folder / "page.html"
    await asyncio.to_thread(file.write_text, html, encoding="utf-8")
    await tab.open(file.as_uri())


@pytest.mark.parametrize("name", ["report", "statement"])
async def test_it_keeps_to_its_own_policy_and_fetches_nothing(tmp_path: Path, name: str) -> None:
    """The page asks for itself and nothing else, and the browser has nothing to complain of."""
    async with browser(tmp_path) as tab:
        await opened(tab, tmp_path, pages()[name])
        assert tab.complaints == []
        assert [url for url in tab.asked if not url.startswith(("data:", "about:"))] == [
            (tmp_path / "page.html").as_uri()
        ]
        ink = await tab.run("getComputedStyle(document.querySelector('h1')).fontSize")
        assert ink == "28px"  # the one style sheet is the one that the policy names


@pytest.mark.parametrize("colour", ["#0b7285", "#ffe066", "#ffffff", "#000000", "#c92a2a"])
async def test_every_text_can_be_read(tmp_path: Path, colour: str) -> None:
    """Whatever colour a brand has, in both schemes each text has a contrast of 4.5 or more."""
    async with browser(tmp_path) as tab:
        for html in pages(colour=colour).values():
            for dark in (False, True):
                await tab.look(width=1280, dark=dark)
                await opened(tab, tmp_path, html)
                assert await tab.run(_FAINT) == []


@pytest.mark.parametrize("language", ["nl", "en", "it", "de"])
async def test_it_fits_a_phone(tmp_path: Path, language: str) -> None:
    """At 390 and at 320 pixels nothing is wider than the screen but tables, which can be scrolled."""
    async with browser(tmp_path) as tab:
        for html in pages(language).values():
            for width in (390, 320):
                await tab.look(width=width)
                await opened(tab, tmp_path, html)
                assert await tab.run("document.documentElement.scrollWidth") <= width


async def test_a_screen_reader_is_told_the_figures(tmp_path: Path) -> None:
    """Drawings have their figures in words, tables their names, and what is missing comes before all else."""
    async with browser(tmp_path) as tab:
        await opened(tab, tmp_path, pages("en")["report"])
        tree = await tab.tree()
    names = {
        role: [one["name"] for one in tree if one["role"] == role] for role in ("image", "region", "heading")
    }
    assert "17 of 16" in names["image"]
    assert any(name.startswith("Hotel De Vuurtoren, highest of each day: 1: ") for name in names["image"])
    assert "All tenants" in names["region"]
    assert names["heading"][:2] == ["Usage in November 2026", "Changed since revision 1"]
    said = [one["name"] for one in tree if one["role"] == "StaticText"]
    assert said.index("Not complete: 2 of 12 tenants have no final.") < said.index("All together")


@pytest.mark.skipif("PBX_METER_SCREENSHOTS" not in os.environ, reason="PBX_METER_SCREENSHOTS names no folder")
async def test_screenshots(tmp_path: Path) -> None:
    """The pictures in docs/ are these pages': PBX_METER_SCREENSHOTS=docs makes them anew."""
    folder = Path(os.environ["PBX_METER_SCREENSHOTS"])
    shots = [
        ("report-wide-light", "report", "en", 1280, False),
        ("report-wide-dark", "report", "en", 1280, True),
        ("report-narrow-light", "report", "nl", 390, False),
        ("report-statement-narrow-dark", "statement", "de", 390, True),
    ]
    async with browser(tmp_path) as tab:
        for file, name, language, width, dark in shots:
            await tab.look(width=width, dark=dark)
            await opened(tab, tmp_path, pages(language)[name])
            await kept(await tab.shot(), folder / f"{file}.png")
        for name, page in mails().items():
            await tab.look(width=640)
            await opened(tab, tmp_path, page)
            await kept(await tab.shot(), folder / f"{name}.png")
    document = pypdfium2.PdfDocument(pdf(pages("en")["report"]))
    for at in range(3):
        buffer = io.BytesIO()
        document[at].render(scale=1.2).to_pil().save(buffer, "PNG")
        await kept(buffer.getvalue(), folder / f"report-page-{at + 1}.png")


async def kept(picture: bytes, file: Path) -> None:
    """Keep a picture small: its upper part, in 256 colours, which are enough for what is drawn here."""
    small = io.BytesIO()
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    image = whole.crop((0, 0, whole.width, min(whole.height, 2600)))
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    await asyncio.to_thread(file.write_bytes, small.getvalue())


def mails() -> dict[str, str]:
    """Give the HTML of a report's mail and of a statement's, by name."""
    report = month("nl")
    ends = {"sender": "verbruik@noorderlicht.example", "recipient": "boekhouding@beltoren.example"}
    files = [
        (f"{stem(report)}.{ending}", "application/octet-stream", b"") for ending in ("pdf", "xlsx", "csv")
    ]
    both = {
        "report-mail": report_mail(report, **ends, attachments=files),
        "report-statement-mail": statement_mail(
            report.tenants[0],
            period=report.period,
            language="en",
            brand=report.brand,
            made_at=report.made_at,
            **ends,
            attachments=[("vuurtoren-2026-11.jws", SIGNED, b"")],
        ),
    }
    return {name: mail.get_body(("html",)).get_content() for name, mail in both.items()}  # type: ignore[union-attr]
