"""The status page, `/metrics` and `/healthz` over HTTP. Everything is GET; nothing can be changed here.

Rules of this file:
- it answers to addresses and to `localhost`, never to a name that somebody else's DNS could point
  here (DNS rebinding);
- the page loads nothing from anywhere else, and the browser is told to hold it to that;
- a reader who is slow, or one of too many, costs his own connection and nobody's metering.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from aiohttp import web

from agent import metrics
from agent.page import rendering
from agent.page.glance import Glance, Reading
from agent.page.picture import Picture, picture
from agent.page.rendering import Pieces
from agent.page.words import chosen, words
from agent.store.database import StoreError

log = structlog.get_logger(__name__)

#: How many may watch at once.
MOST_WATCHERS: Final = 32

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ASSETS: Final = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A reading in one language."""

    number: int
    picture: Picture
    pieces: Pieces


class Page:
    """What is answered.

    Args:
        glance: What the agent says of itself.
        unwell: Why the agent is not well; empty: it is.
        measured: The metrics, made from what the agent says and from how many reasons it is unwell.
        tz: The agent's time zone.
        run: Which run of the agent this is.
    """

    def __init__(
        self,
        glance: Glance,
        unwell: Callable[[], Awaitable[list[str]]],
        measured: Callable[[dict[str, Any], int], str],
        tz: ZoneInfo,
        run: str,
    ) -> None:
        self._glance = glance
        self._unwell = unwell
        self._measured = measured
        self._tz = tz
        self._run = run
        self._rendered: dict[str, Rendered] = {}
        self._watchers = 0

    def application(self) -> web.Application:
        """Return what serves it."""
        app = web.Application(middlewares=[_ours])
        app.on_response_prepare.append(_guard)
        routes = {
            "/": self._page,
            "/events": self._events,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
        }
        for path, answer in routes.items():
            app.router.add_get(path, answer, allow_head=False)
        for name, kind in _ASSETS.items():
            app.router.add_get(f"/{name}", _asset(name, kind), allow_head=False)
        return app

    async def _page(self, request: web.Request) -> web.Response:
        language = _language(request)
        reading = await self._glance.look()
        shown = await self._render(reading, language)
        agent = reading.found["agent"]
        html = rendering.page(
            shown.picture,
            shown.pieces,
            words(language),
            agent=agent["id"],
            version=agent["version"],
            run=self._run,
        )
        return web.Response(text=html, content_type="text/html", headers={"Vary": "Accept-Language"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send the pieces that changed, for as long as somebody watches."""
        if self._watchers >= MOST_WATCHERS:
            return web.Response(status=503, text="too many pages are open\n", headers={"Retry-After": "30"})
        language = _language(request)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._watchers += 1
        try:
            await stream.prepare(request)
            number, sent = 0, dict[str, str]()
            while True:
                shown = await self._render(await self._glance.after(number), language)
                new = {place: html for place, html in shown.pieces.items() if sent.get(place) != html}
                number, sent = shown.number, dict(shown.pieces)
                said = json.dumps({"run": self._run, "pieces": new}, separators=(",", ":"))
                await stream.write(f"data: {said}\n\n".encode())
        except (ConnectionError, StoreError):
            return stream  # he left, or the disk did: the browser asks again
        finally:
            self._watchers -= 1

    async def _render(self, reading: Reading, language: str) -> Rendered:
        """Return a reading in a language, rendered once for everybody who reads it."""
        shown = self._rendered.get(language)
        if shown is None or shown.number != reading.number:
            # In a thread: with a hundred tenants it takes its time, and the event loop has calls to count.
            shown = await asyncio.to_thread(self._rendering, reading, language)
            self._rendered[language] = shown
        return shown

    def _rendering(self, reading: Reading, language: str) -> Rendered:
        said = picture(reading.found, words(language), self._tz)
        return Rendered(reading.number, said, rendering.pieces(said, words(language)))

    async def _metrics(self, _: web.Request) -> web.Response:
        reading = await self._glance.look()
        text = self._measured(reading.found, len(await self._unwell()))
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _healthz(self, _: web.Request) -> web.Response:
        why = await self._unwell()
        return web.Response(status=503 if why else 200, text="".join(f"{line}\n" for line in why or ["ok"]))


async def serve(page: Page, listen: str) -> web.AppRunner:
    """Answer at `address:port`. The caller cleans the runner up.

    Raises:
        OSError: It can't listen there.
    """
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(page.application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError:
        await runner.cleanup()
        raise
    if not _is_loopback(host):
        log.warning(
            "page.open", listen=listen, hint="whoever reaches it may read it; behind a firewall, or ssh -L"
        )
    return runner


# --- at the door -------------------------------------------------------------------------------


@web.middleware
async def _ours(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse who calls us by another name; a database that can't be read is said, not thrown."""
    if not is_ours(request.headers.get("Host", "")):
        return web.Response(
            status=421, text="ask by address: http://127.0.0.1:8470/, or http://localhost:8470/\n"
        )
    try:
        return await handler(request)
    except StoreError as error:
        return web.Response(status=503, text=f"{error}\n{error.hint}\n")


def is_ours(host: str) -> bool:
    """Return whether a Host header names an address or `localhost`: no DNS can point either elsewhere."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::[0-9]+)?", host)
    name = (found[1] or found[2]) if found else ""
    try:
        return name.lower() == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


async def _guard(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _asset(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    content = resources.files("agent.page").joinpath("assets", name).read_bytes()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


def _language(request: web.Request) -> str:
    return chosen(request.query.get("lang"), request.headers.get("Accept-Language", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
