"""A simulated 3CX that speaks the XAPI over HTTP: for tests, for the demo, and for trying an installation.

Tokens, roles, versions, limits and oddities are those that are known of the real one
(no live 3CX was at hand: what is inferred says so). It misbehaves on request (`faults`).
What it is asked is kept (`received`), what was true too (`exchange.legs`). Calls are
written down with `connectors.threecx.simulated.cycles`, or come from a scenario file or
an office's day; what is up is a function of the clock that was given.
"""

from __future__ import annotations

import asyncio
import ssl
from email.utils import formatdate
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from connectors.connector import Now
from connectors.threecx.simulated import cdr as cdr_output
from connectors.threecx.simulated import directory, door, states
from connectors.threecx.simulated.answers import FAILED, NOBODY, NOWHERE, REFUSED, Answer, Api
from connectors.threecx.simulated.calllog import CallLog
from connectors.threecx.simulated.directory import DEPARTMENTS, TRUNKS, USERS, Directory
from connectors.threecx.simulated.entities import Entities
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.faults import Fault, Faults, Trouble
from connectors.threecx.simulated.timeline import Call
from connectors.threecx.simulated.tokens import Client, Tokens
from meter.model import Instant

#: The client that the agent asks for, and one that may read the call log too.
ADMIN: Final = Client()
OWNER: Final = Client("901", role="system_owners")

_HEADERS: Final = {
    "Server": "nginx",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "0",
}
_HTML: Final = b"<html><head><title>%b</title></head><body><center><h1>%b</h1></center><hr><center>nginx</center></body></html>"


def _page(status: int, title: bytes) -> Answer:
    return Answer(status, _HTML % (title, title), "text/html")


#: Troubles that are an answer of their own.
_INSTEAD: Final = {
    Trouble.UNAUTHORIZED: NOBODY,
    Trouble.FORBIDDEN: REFUSED,
    Trouble.MISSING: NOWHERE,
    Trouble.FAILED: FAILED,
    Trouble.BAD_GATEWAY: _page(502, b"502 Bad Gateway"),
    Trouble.LATE_GATEWAY: _page(504, b"504 Gateway Time-out"),
}


class SimulatedThreeCX:
    """One 3CX on loopback. Use as an async context manager, or `start` and `stop`.

    Args:
        now: Reads the true clock; every instant of it comes from there.
        version: Its version; the third number is the update, 4 to 10.
        clients: Its API clients.
        users, trunks, departments, services: Who and what has a number.
        tls: What it shows its certificate with; None: plain HTTP.
        ahead_ms: How far its own clock is ahead.
        page_size: How many rows come without `$top`.
        odd_expiry: `expires_in` is 60, and seconds.
        token_life_s: How long a token lives; None: an hour.
        same_call_id: Whether the call log's CallId is the Id of ActiveCalls.
        licence: `enterprise`, `pro` or `free`: below the first the XAPI is shut.
        cdr: Where it writes call records: ("connect", host, port), ("file", path), or nowhere.

    Attributes:
        exchange: Its calls.
        faults: What is to go wrong.
        directory: Its users, trunks, departments; replace the tuples as you like.
        me: Version, licence and name; may be changed.
        tokens: Who may speak.
        log: The call log.
        records: The CDR output.
        console: Whether console restrictions shut the XAPI for everybody.
        received: "METHOD path" of each request, in order, without query and body.
        queries: The queries of the same requests.
        dropped: What would have changed something (`DropCall` above all): must stay empty.
        port: Where it listens, once it does.
    """

    def __init__(
        self,
        now: Now,
        *,
        version: str = "20.0.9.995",
        clients: tuple[Client, ...] = (ADMIN, OWNER),
        users: tuple[directory.User, ...] = USERS,
        trunks: tuple[directory.Trunk, ...] = TRUNKS,
        departments: tuple[directory.Department, ...] = DEPARTMENTS,
        services: tuple[directory.Service, ...] = directory.SERVICES,
        tls: ssl.SSLContext | None = None,
        ahead_ms: int = 0,
        page_size: int = 100,
        odd_expiry: bool = False,
        token_life_s: float | None = None,
        same_call_id: bool = True,
        licence: str = "enterprise",
        cdr: tuple[str, str, int] | tuple[str, Path] | None = None,
    ) -> None:
        self.clients = {client.client_id: client for client in clients}
        self.directory = Directory(users, trunks, departments, services)
        self.exchange = Exchange(now, self.directory, ahead_ms=ahead_ms)
        self.faults = Faults()
        self.me = states.Self(version, licence)
        self.tokens = Tokens(
            self.shown_now,
            issuer=self.me.fqdn,
            update=self.me.update,
            odd_expiry=odd_expiry,
            life_s=token_life_s,
        )
        self.log = CallLog(same_call_id=same_call_id)
        self.records = cdr_output.Output(cdr_output.target(cdr))
        self.console = False
        self.received: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.dropped: list[str] = []
        self.port = 0
        self._tls = tls
        self._api = Api(
            self.me,
            self.exchange,
            Entities(self.directory, clients, self.me.update),
            self.log,
            self.records.where,
            page_size,
        )
        self._door = door.Door(self.directory, self.clients, self.tokens)
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None
        self._arrival = asyncio.Event()
        self.exchange.on_end = self._ended

    @property
    def url(self) -> str:
        """Its root, for a connector."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def shown_now(self) -> Instant:
        """Read its own clock."""
        return self.exchange.now() + self.exchange.ahead_ms

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; return the port."""
        self._server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        await self.advance()
        return self.port

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.records.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def cut(self) -> None:
        """Cut every connection, unannounced."""
        if self._server is not None:
            for connection in list(self._server.connections):
                if connection.transport is not None:
                    connection.transport.abort()

    def restart(self) -> None:
        """Be killed and started again: calls, tokens and connections are gone, ids begin at 1."""
        self.cut()
        self.records.cut()
        self.exchange.restart()
        self.tokens.forget()

    async def advance(self) -> None:
        """Do what is due by now without being asked: end calls, write their records."""
        self.exchange.advance()
        await self.records.flush()

    async def asked(self, pattern: str, times: int = 1) -> None:
        """Wait until so many requests have arrived that meet a pattern (`GET */ActiveCalls`)."""
        while sum(fnmatchcase(one, pattern) for one in self.received) < times:
            self._arrival.clear()
            await self._arrival.wait()

    def _ended(self, call: Call) -> None:
        self.log.add(call)
        for _ in range(1 if self.faults.take("cdr", only=Trouble.TWICE) is None else 2):
            self.records.add(call)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.received.append(f"{request.method} {request.path}")
        self.queries.append(dict(request.query))
        self._arrival.set()
        if self.tokens.shut_out(request.remote or ""):
            return _cut(request)
        await self.advance()
        fault = self.faults.take(request.path)
        if fault is not None:
            spoiled = await self._spoiled(request, fault)
            if spoiled is not None:
                return spoiled
        trouble = None if fault is None else fault.trouble
        answer = await self._proper(request, fault)
        body = answer.body[: len(answer.body) // 2] if trouble is Trouble.TRUNCATED else answer.body
        return self._response(request, Answer(answer.status, body, answer.kind, answer.headers))

    async def _spoiled(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse | None:
        """Return what a fault makes of a request; None: the proper answer still follows."""
        if fault.trouble in _INSTEAD:
            return self._response(request, _INSTEAD[fault.trouble])
        match fault.trouble:
            case Trouble.TOO_MANY:
                wait = {} if fault.seconds is None else {"Retry-After": str(round(fault.seconds))}
                return self._response(request, Answer(429, headers=wait))
            case Trouble.CUT:
                return _cut(request)
            case Trouble.HANG:
                await asyncio.Event().wait()
            case Trouble.SLOW:
                await asyncio.sleep(fault.seconds or 0)
            case _:
                pass
        return None

    async def _proper(self, request: web.BaseRequest, fault: Fault | None) -> Answer:
        path = request.path.lower()
        address = request.remote or ""
        if path == "/connect/token" and request.method == "POST":
            form = await request.post()
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            return self._door.token(fields, request.cookies, address)
        if path == "/webclient/api/login/getaccesstoken" and request.method == "POST":
            return self._door.log_in(await request.text(), address)
        if path.startswith(("/xapi/v1/", "/callcontrol")):
            return self._guarded(request, fault)
        return NOWHERE

    def _guarded(self, request: web.BaseRequest, fault: Fault | None) -> Answer:
        """Answer what needs a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        bearer = self.tokens.bearer(token) if scheme.lower() == "bearer" else None
        if bearer is None:
            return NOBODY
        if request.method != "GET":
            self.dropped.append(f"{request.method} {request.path}")
            return Answer(204)
        if self.console or request.path.lower().startswith("/callcontrol"):
            return REFUSED
        return self._api.answer(request.path[len("/xapi/v1/") :], request.query, bearer, fault)

    def _response(self, request: web.BaseRequest, answer: Answer) -> web.Response:
        headers = {**_HEADERS, **answer.headers, "Date": formatdate(self.shown_now() / 1000, usegmt=True)}
        if answer.kind:
            headers["Content-Type"] = answer.kind
        if request.path.lower().startswith("/xapi/"):
            headers["X-3CX-Version"] = self.me.version
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        if answer.body:
            response.enable_chunked_encoding()
        return response


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody hears it
