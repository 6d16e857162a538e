"""The status page without a browser: what it says, to whom, and when it reads anything at all."""

from __future__ import annotations

import asyncio
import json
import re
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent import app, cli, showing
from agent.doors import open_page, open_socket
from agent.health import Health
from agent.page import serving
from agent.page.curve import draw
from agent.page.picture import picture
from agent.page.serving import is_ours
from agent.page.today import FRESH_MS, Today
from agent.page.words import NAMES, chosen, words
from agent.store.database import StoreError
from config.model import Config
from delivery.wording import LANGUAGES, wording
from meter.events import LegStarted, Sighting
from meter.fold import Figures
from meter.forecast import forecast
from meter.model import Cause, Direction
from meter.overruns import OverrunFigures
from meter.periods import DAY_MS, MINUTE_MS, Period
from tests.acceptance.around import free_port, until
from tests.unit.agent.conftest import Awake, Configure, HandClock, Office

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@dataclass
class Served:
    """An agent whose page is served, and somebody who reads it."""

    parts: app.Agent
    config: Config
    session: aiohttp.ClientSession
    url: str
    stuck: list[str] = field(default_factory=list)

    async def get(self, path: str = "/", **headers: str) -> tuple[int, str]:
        async with self.session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Callable[[], Any]]:
        """Watch the page; the given function waits for the next message's pieces."""
        async with self.session.get(f"{self.url}/events?lang=en") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"

            async def pieces() -> dict[str, str]:
                async with asyncio.timeout(20):
                    line = (await answer.content.readuntil(b"\n\n")).decode()
                found: dict[str, str] = json.loads(line.removeprefix("data: "))["pieces"]
                return found

            yield pieces


@pytest.fixture
def served(awake: Awake, configure: Configure) -> Callable[..., Any]:
    @asynccontextmanager
    async def serve(**given: Any) -> AsyncIterator[Served]:
        port = free_port()
        config = configure(rest=f'\n[page]\nlisten = "127.0.0.1:{port}"\n', **given)
        async with awake(config) as parts, aiohttp.ClientSession() as session:
            it = Served(parts, config, session, f"http://127.0.0.1:{port}")
            health = Health(
                parts.sampling,
                parts.links,
                parts.store,
                parts.clock,
                lambda: it.stuck[0] if it.stuck else None,
            )
            page = await open_page(config, parts.status, parts.glance, health, parts.clock)
            async with page, await open_socket(config.agent.socket, parts.glance.fresh):
                yield it

    return serve


# --- words ---------------------------------------------------------------------------------------


def forms(entry: object) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())  # type: ignore[attr-defined]


def placeholders(entry: object) -> set[str]:
    return {n for text in forms(entry) for _, n, _, _ in string.Formatter().parse(text) if n} - {"n"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_says_everything(code: str) -> None:
    """Each has the same keys as English, shows the same figures, and leaves no sentence in English."""
    here, english, mails = words(code).texts, words("en").texts, wording("en").texts

    assert set(here) == set(english)
    for key in set(english) - set(mails):
        for text, original in zip(forms(here[key]), forms(english[key]), strict=False):
            assert text.strip()
            if code != "en" and len(re.sub(r"\{.*?\}|\W", "", original)) > 12 and key != "page.small":
                assert text != original, key
        assert placeholders(here[key]) - {"month", "abbreviated"} == placeholders(english[key]) - {
            "month",
            "abbreviated",
        }, key


def test_the_pages_words_hide_none_of_the_mails() -> None:
    """Both catalogues are read as one, so no key stands in both."""
    assert {key: words("de").texts[key] for key in wording("de").texts} == dict(wording("de").texts)


@pytest.mark.parametrize(
    ("asked", "accepted", "code"),
    [
        ("it", "nl", "it"),
        (None, "nl-NL,nl;q=0.9,en;q=0.8", "nl"),
        (None, "fr-FR, de;q=0.5, it;q=0.7", "it"),
        (None, "", "en"),
        ("xx", "pt;q=x,DE", "de"),
        ("../en", ";;;,", "en"),
    ],
)
def test_a_reader_gets_a_language_of_his(asked: str | None, accepted: str, code: str) -> None:
    """What the address asks for, else what the browser prefers, else English."""
    assert chosen(asked, accepted) == code


# --- drawing and reckoning -------------------------------------------------------------------------


def test_a_gap_is_drawn_as_one_and_never_as_zero() -> None:
    """Minutes not observed break the line and have a mark of their own."""
    drawing = draw([(60, 0), (30, None), (10, 4)], 1440, None)

    assert drawing.gaps == ((60, 30),)
    assert drawing.line.count("M") == 2
    assert drawing.area == "M0 100V100.0H60V100ZM90 100V15.3H100V100Z"
    assert drawing.peak == (90, 15.3)


def test_what_is_above_the_capacity_is_drawn_apart() -> None:
    """Only minutes above it, and only their part above it."""
    drawing = draw([(5, 16), (5, 20), (5, 3)], 1440, 16)

    assert drawing.capacity == 32.2
    assert drawing.over == "M5 32.2V15.3H10V32.2Z"
    assert draw([(5, 16)], 1440, 16).over == ""


def figures(observed_ms: int, elapsed_ms: int, over: OverrunFigures | None) -> Figures:
    period = Period("2026-11", 0, 30 * DAY_MS)
    return Figures(period, elapsed_ms, observed_ms, {}, over, {}, ())


def test_a_forecast_grows_with_the_time_to_come() -> None:
    """A third of the period with three overruns makes nine; the peak is still to come with two thirds' chance."""
    likely = forecast(figures(10 * DAY_MS, 10 * DAY_MS, OverrunFigures(3, 60_000, ())))

    assert likely is not None
    assert (likely.overruns, likely.over_ms, likely.rise_percent) == (9, 180_000, 66)


def test_a_forecast_that_would_be_guessing_is_not_made() -> None:
    """Under a tenth of the period observed, or without a capacity, nothing is said."""
    over = OverrunFigures(3, 60_000, ())
    assert forecast(figures(3 * DAY_MS - 1, 20 * DAY_MS, over)) is None
    assert forecast(figures(3 * DAY_MS, 20 * DAY_MS, over)) is not None
    assert forecast(figures(20 * DAY_MS, 20 * DAY_MS, None)) is None


@given(st.integers(0, 30 * DAY_MS), st.integers(0, 30 * DAY_MS), st.integers(0, 500), st.integers(0, DAY_MS))
def test_a_forecast_never_falls_below_what_was_counted(a: int, b: int, count: int, ms: int) -> None:
    """Whatever was observed, the end of a period holds at least what it holds already."""
    likely = forecast(figures(min(a, b), max(a, b), OverrunFigures(count, ms, ())))
    if likely is not None:
        assert likely.overruns >= count
        assert likely.over_ms >= ms
        assert 0 <= likely.rise_percent <= 90


async def test_todays_curve_is_the_one_that_is_sealed(
    awake: Awake, office: Callable[..., Office], clock: HandClock
) -> None:
    """Folded piece by piece while somebody looks, it has the same minutes as the day folded whole."""
    async with awake() as parts:
        pbx, looks = office(parts), []

        def today() -> Today:
            return Today(parts.sampling.contracts, parts.closing._plan, parts.store, clock)

        watched = today()
        up: list[str] = []
        pbx.snapshot()
        for minute in range(40):
            up.append(pbx.call())
            if minute % 3 == 0:
                pbx.hang_up(up.pop(0))
            if minute == 20:
                parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
            if minute >= 25:
                pbx.snapshot(*up)
            await pbx.live(MINUTE_MS, every_ms=1_900)
            looks.append(await watched.read())
        whole = await today().read()

    assert looks[-1] == whole
    runs = whole["acme"]["runs"]
    assert runs[0] == [630 - 60 + 61, None]  # since midnight in Amsterdam until 10:31
    assert sum(count for count, _ in runs) == 632 + 40
    assert max(high for _, high in runs if high is not None) > 20
    assert FRESH_MS < MINUTE_MS


# --- what is read, and when ------------------------------------------------------------------------


async def test_nobodys_request_folds_while_nothing_moves(awake: Awake, office: Callable[..., Office]) -> None:
    """Many who look one after another share one reading; the next event makes a new one."""
    async with awake() as parts:
        pbx, glance = office(parts), parts.glance
        pbx.snapshot()
        first = await glance.look()
        again = [await glance.look() for _ in range(50)]
        assert all(each is first for each in again)

        pbx.call()
        glance._moved.set()  # as the reader of the link does (agent.app)
        later = await glance.after(first.number)

    assert later.number == first.number + 1
    assert first.found["tenants"]["acme"]["levels"]["channels"]["now"] == 0
    assert later.found["tenants"]["acme"]["levels"]["channels"]["now"] == 1


async def test_a_link_that_tells_something_wakes_who_watches(awake: Awake, clock: HandClock) -> None:
    """The sink of a link marks that something moved, and so does its loss."""
    async with awake() as parts:
        (link,) = parts.links
        assert not parts.glance._moved.is_set()
        link._sink([LegStarted(clock.now(), Sighting("1", "1", "PJSIP/pbx1-kpn", Direction.IN))])
        assert parts.glance._moved.is_set()
        await parts.glance.look()
        link._end(Cause.LINK_LOST, clock.now())
        assert parts.glance._moved.is_set()


async def test_a_watcher_is_sent_what_changed_and_nothing_else(
    served: Callable[..., Any], office: Callable[..., Office]
) -> None:
    """First the whole page, then a call's own pieces, at once."""
    async with served() as it, it.events() as pieces:
        whole = await pieces()
        pbx = office(it.parts)
        pbx.snapshot()
        pbx.call()
        it.parts.glance._moved.set()
        changed = await pieces()

    assert {"clock", "pbxs", "outbox", "receipts", "t/acme/now", "t/acme/curve", "t/acme/figures"} <= set(
        whole
    )
    assert "?" in whole["t/acme/now"]
    assert re.search(r"<strong[^>]*>1</strong>", changed["t/acme/now"])
    assert changed.keys().isdisjoint({"outbox", "receipts", "troubles"})


async def test_too_many_watchers_are_turned_away(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who opens pages without end costs a bounded number of connections; who leaves makes room."""
    monkeypatch.setattr(serving, "MOST_WATCHERS", 1)
    monkeypatch.setattr("agent.page.glance.MOST_S", 0.2)
    async with served() as it:
        async with it.events() as pieces:
            await pieces()
            status, said = await it.get("/events")
            assert (status, said) == (503, "too many pages are open\n")
        for _ in range(100):
            async with it.session.get(f"{it.url}/events") as answer:
                if answer.status == 200:
                    break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("he left, and his place was never free again")


# --- at the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_nothing_can_be_changed(served: Callable[..., Any], method: str) -> None:
    """Whatever is not GET is refused."""
    async with served() as it, it.session.request(method, it.url) as answer:
        assert answer.status == 405


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8470", True),
        ("localhost:9000", True),  # through ssh -L
        ("LOCALHOST", True),
        ("[::1]:8470", True),
        ("192.0.2.7", True),
        ("meter.attacker.example:8470", False),
        ("localhost.attacker.example", False),
        ("127.0.0.1.nip.example:8470", False),
        ("[::1].attacker.example", False),
        ("", False),
    ],
)
async def test_a_name_that_dns_can_point_here_is_refused(
    served: Callable[..., Any], host: str, ours: bool
) -> None:
    """A page of somebody else's whose name was bound to this address reads nothing (DNS rebinding)."""
    assert is_ours(host) is ours
    if not host:
        return  # no client of ours sends none
    async with served() as it:
        for path in ("/",) if ours else ("/", "/metrics", "/healthz", "/events", "/nowhere"):
            status, said = await it.get(path, Host=host)
            assert status == (200 if ours else 421)
            assert ours or "acme" not in said


async def test_the_browser_is_told_to_load_nothing_else(served: Callable[..., Any]) -> None:
    """Every answer, refusals too, forbids foreign and inline content; the page itself has neither."""
    async with served() as it:
        for path, headers in (("/", {}), ("/nowhere", {}), ("/metrics", {}), ("/", {"Host": "evil.example"})):
            async with it.session.get(it.url + path, headers=headers) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"
        _, html = await it.get()
        style = (await it.get("/page.css"))[1]

    assert re.findall(r"style=|<style|\bon\w+=|<script>|javascript:", html) == []
    assert re.findall(r'(?:src|href|action)="(?!/|#)[^"]*"', html) == []
    assert "url(" not in style
    assert "@import" not in style


async def test_what_people_wrote_stays_text(served: Callable[..., Any]) -> None:
    """A tenant's name with markup in it is shown as it was written."""
    name = '<script>alert(1)</script> & "Söhne"'
    async with served(tenants=[f"id = \"acme\"\nname = '{name}'\ndefault = true\ncapacity = 2"]) as it:
        _, html = await it.get()

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;Söhne&#34;" in html


async def test_no_number_and_no_endpoint_is_shown(
    served: Callable[..., Any], office: Callable[..., Office], clock: HandClock
) -> None:
    """Legs whose endpoints hold telephone numbers are counted, and nothing of them is told."""
    async with served() as it:
        pbx = office(it.parts)
        pbx.snapshot()
        seen = Sighting("9.1", "9.1", "DAHDI/i1/0201234567-1", Direction.IN, dialled="+31201234567")
        pbx.tell(LegStarted(clock.now(), seen))
        pbx.call()
        texts = [(await it.get(path))[1] for path in ("/", "/metrics", "/healthz")]
        async with it.events() as pieces:
            texts += (await pieces()).values()

    assert "1 leg is up that no rule knows" in texts[0]
    for text in texts:
        assert "201234567" not in text
        assert "DAHDI" not in text
        assert "PJSIP" not in text


# --- health ------------------------------------------------------------------------------------------


async def test_health_is_said_only_while_all_is_well(
    served: Callable[..., Any], office: Callable[..., Office], clock: HandClock
) -> None:
    """A PBX never seen, or out of sight for a minute, a loop that stands, a disk that fails: 503, each with why."""
    async with served() as it:
        status, said = await it.get("/healthz")
        assert (status, said) == (503, "PBX pbx1 was never seen\n")

        pbx = office(it.parts)
        pbx.snapshot()
        assert await it.get("/healthz") == (200, "ok\n")

        it.parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
        await pbx.live(60_000)
        assert await it.get("/healthz") == (200, "ok\n")  # a reconnect is no illness
        await pbx.live(1_000)
        assert await it.get("/healthz") == (503, "PBX pbx1 was not seen for 61 s\n")
        pbx.snapshot()
        assert (await it.get("/healthz"))[0] == 200

        it.stuck.append("sampling")
        it.parts.sampling.disk = StoreError("the disk is full", hint="make room", damaged=False)
        status, said = await it.get("/healthz")
        assert status == 503
        assert said.splitlines() == ["the loop sampling does not turn", "the disk is full. make room"]
        assert "pbx_meter_unhealthy_reasons 2\n" in (await it.get("/metrics"))[1]


async def test_a_page_that_can_not_be_served_stops_nothing(
    awake: Awake, configure: Configure, served: Callable[..., Any]
) -> None:
    """Its address taken, the agent goes on without it and says so where it is asked."""
    async with served() as it:
        health = Health(it.parts.sampling, it.parts.links, it.parts.store, it.parts.clock, lambda: None)
        async with await open_page(it.config, it.parts.status, it.parts.glance, health, it.parts.clock):
            found = await it.parts.status.read(it.parts.clock.now())
    assert found["page"]["url"] == f"{it.url}/"
    assert found["page"]["trouble"].endswith("name another address, [page] listen")


async def test_a_page_that_is_switched_off_is_not_there(awake: Awake, configure: Configure) -> None:
    """With `enabled = false` nothing listens."""
    port = free_port()
    config = configure(rest=f'\n[page]\nenabled = false\nlisten = "127.0.0.1:{port}"\n')
    async with awake(config) as parts:
        health = Health(parts.sampling, parts.links, parts.store, parts.clock, lambda: None)
        async with await open_page(config, parts.status, parts.glance, health, parts.clock):
            with pytest.raises(OSError, match=r"refused|Connect"):
                await asyncio.open_connection("127.0.0.1", port)
            assert (await parts.glance.fresh())["page"] is None


# --- what is said ------------------------------------------------------------------------------------


async def test_the_page_says_unknown_and_never_zero(awake: Awake) -> None:
    """Before the first snapshot, levels, peaks, overruns, users and the curve are unknown in every language."""
    async with awake() as parts:
        found = await parts.glance.fresh()
    for code in NAMES:
        said = picture(found, words(code), AMSTERDAM)
        (acme,), (pbx,) = said.tenants, said.pbxs
        assert (acme.state, acme.level, acme.bar, acme.day.drawing) == ("unknown", "?", None, None)
        assert [(now, peak) for _, now, peak, _, _ in acme.levels] == [("?", "?")] * 3
        assert {what: figure for what, figure, _ in acme.facts}[words(code).say("figure.users")] == "?"
        assert acme.facts[0][1] == "?"
        assert pbx.notes == (words(code).say("pbx.gap_new"),)


async def test_a_level_that_is_only_told_afterwards_is_said_to_be(
    awake: Awake, office: Callable[..., Office]
) -> None:
    """A PBX that is seen, but tells of calls only when they have ended, is not said to be out of sight."""
    async with awake() as parts:
        office(parts).snapshot()
        found = await parts.glance.fresh()
    for level in found["tenants"]["acme"]["levels"].values():
        level["now"] = None  # as of call records alone (agent.status)
    (acme,) = picture(found, words("en"), AMSTERDAM).tenants

    assert (acme.state, acme.level) == ("later", "?")
    assert acme.said == "Told by call records after each call: not known now"


async def test_the_page_says_who_is_over(awake: Awake, office: Callable[..., Office]) -> None:
    """Three lines of two: the tenant is over, in words too, and part of the bar is beyond the capacity."""
    async with awake() as parts:
        pbx = office(parts)
        pbx.snapshot()
        for _ in range(3):
            pbx.call()
        await pbx.live(2 * MINUTE_MS)
        found = await parts.glance.fresh()
    (acme,) = picture(found, words("nl"), AMSTERDAM).tenants

    assert (acme.level, acme.state, acme.said) == ("3", "over", "Boven de capaciteit")
    assert acme.counts == "lijnen nu in gebruik"
    assert acme.bar is not None
    assert (acme.bar.within, acme.bar.over) == (70, 30)
    assert acme.levels[0] == ("Lijnen in gebruik", "3", "3", "12-11 10:31", True)
    assert acme.facts[0][:2] == ("Overschrijdingen", "1 keer")
    assert acme.day.label.startswith("Hoogste stand vandaag: 3 om 10:31; capaciteit 2.")
    assert acme.day.hours[10] == ("10:00", "3", "3")


async def test_the_terminal_shows_the_same(served: Callable[..., Any], office: Callable[..., Office]) -> None:
    """Today's curve, the PBX's method and coverage and where the page is are in `pbx-meter status`, within 80 columns."""
    async with served() as it:
        pbx = office(it.parts)
        pbx.snapshot()
        for _ in range(3):
            pbx.call()
        await pbx.live(2 * MINUTE_MS)
        found = await it.parts.glance.fresh()
    found["tenants"]["acme"]["forecast"] = {"overruns": 9, "over_ms": 180_000, "rise_percent": 66}
    found["receipts"] = [{"id": "acme/2026-11/interim/1", "status": "counted"}]
    console = Console(width=80, highlight=False)
    with console.capture() as shown:
        console.print(showing.status(found))
    said = shown.get()

    assert "·" * 31 + "█" in said
    assert "at most 3" in said
    assert "watched by events" in said
    assert "forecast: 9 overruns, 3 min 0 s in all, if the rest is like what was observed" in said
    assert f"page: {it.url}/" in said
    assert "acme/2026-11/interim/1 counted" in said
    assert max(map(len, said.splitlines())) <= 80


async def test_status_can_be_watched(
    served: Callable[..., Any], office: Callable[..., Office], capsys: pytest.CaptureFixture[str]
) -> None:
    """`status --watch` tells again and again; where no terminal is, one JSON a line."""
    assert "--watch" in CliRunner().invoke(cli.main, ["status", "--help"]).output
    async with served() as it, asyncio.TaskGroup() as group:
        pbx = office(it.parts)
        pbx.snapshot()
        watching = group.create_task(cli._watch(it.config.agent.socket, as_json=False))
        lines: list[str] = []
        await until(lambda: lines.extend(capsys.readouterr().out.splitlines()) or lines, what="a line")
        pbx.call()
        await until(
            lambda: lines.extend(capsys.readouterr().out.splitlines()) or len(lines) > 1, what="another"
        )
        watching.cancel()

    levels = [json.loads(line)["tenants"]["acme"]["levels"]["channels"]["now"] for line in lines]
    assert (levels[0], levels[-1]) == (0, 1)
