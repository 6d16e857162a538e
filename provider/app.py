"""The receiver's doors: three calls over HTTP (spec/upstream.md), and what a stranger may cost.

A body is read up to its limit and within its time, its header first: what is not a
JWS of the right sort is refused before the rest is read. As many requests as
`AT_ONCE` are served; the next is told to come back. Behind a proxy or not, nothing
here trusts an address.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from meter import messages, signature
from meter.model import Instant
from meter.signature import PrivateKey, Unverified
from provider import enrolment
from provider.books import Books, KeyState
from provider.receiving import KEY_REFUSED, Reply, receive, refusal

MAX_RECORD_BODY: Final = signature.MAX_JWS_BYTES
#: A request to enrol has about 900 characters.
MAX_ENROLMENT_BODY: Final = 8 * 1024
#: With a mebibyte each this bounds what strangers can make us hold.
AT_ONCE: Final = 100
BODY_S: Final = 20.0
BUSY_S: Final = 2

_log = structlog.get_logger()
_Serve: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Receiver:
    """One receiver: its books, its key, and the name it is meant by.

    Attributes:
        books: Where everything is kept.
        key: Signs receipts; agents pin it.
        audience: Where agents reach it; what they say must be meant for it.
        now: The clock.
        at_once: How many requests are served at once.
        body_s: How long a body may take.
    """

    books: Books
    key: PrivateKey
    audience: str
    now: Callable[[], Instant]
    at_once: int = AT_ONCE
    body_s: float = BODY_S
    _busy: int = field(default=0, init=False)

    def app(self) -> web.Application:
        """Return the application to serve, with `auto_decompress` off."""
        app = web.Application(middlewares=[self._bounded])
        app.router.add_post("/v1/agents", self._enrol)
        app.router.add_post("/v1/summaries", self._summaries)
        app.router.add_get("/v1/agents/{agent}/position", self._position)
        return app

    async def _enrol(self, request: web.Request) -> web.StreamResponse:
        token = await self._body(request, signature.TYP_ENROLMENT, MAX_ENROLMENT_BODY)
        if isinstance(token, Reply):
            return _response(token)
        body = await enrolment.enrol(
            token, self.books, audience=self.audience, receiver=self.key, now=self.now()
        )
        _log.info("provider.enrolment", admitted=body is not None)
        return _response(refusal(403, "enrolment") if body is None else Reply(201, body), json_body=True)

    async def _summaries(self, request: web.Request) -> web.StreamResponse:
        token = await self._body(request, signature.TYP_RECORD, MAX_RECORD_BODY)
        if isinstance(token, str):
            reply = await receive(token, self.books, receiver=self.key, now=self.now())
            _log.info("provider.record", status=reply.status, sha256=signature.sha256_hex(token))
        else:
            reply = token
        return _response(reply)

    async def _position(self, request: web.Request) -> web.StreamResponse:
        agent = request.match_info["agent"]
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        try:
            kid = signature.read_header(bearer, signature.TYP_POSITION).kid
            known = await self.books.key(kid)
            good = known is not None and known.agent == agent
            good = good and known is not None and known.state_at(self.now()) is not KeyState.WITHDRAWN
            messages.check_bearer(
                bearer,
                [known.key] if known is not None and good else [],
                agent=agent,
                audience=self.audience,
                now=self.now(),
            )
        except Unverified:
            return _response(KEY_REFUSED)
        if scheme.lower() != "bearer":
            return _response(KEY_REFUSED)
        head = await self.books.head(agent)
        says = {
            "agent": agent,
            "chain": head.chain if head else None,
            "sequence": head.sequence if head else 0,
            "sha256": head.sha256 if head else None,
        }
        return _response(Reply(200, json.dumps(says)), json_body=True)

    async def _body(self, request: web.Request, typ: str, limit: int) -> str | Reply:
        """Return the JWS that a request carries, or why it is not read any further."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return refusal(422, "form", reason="a compressed body")
        if (request.content_length or 0) > limit:
            return refusal(413, "size")
        try:
            async with asyncio.timeout(self.body_s):
                return await _read(request, typ, limit)
        except TimeoutError:
            return refusal(408, "slow")
        except (web.RequestPayloadError, ConnectionError):
            return refusal(400, "cut")  # nobody is left to read it

    @web.middleware
    async def _bounded(self, request: web.Request, handler: _Serve) -> web.StreamResponse:
        """Serve only so many at once; an error of ours is logged once and answered as passing."""
        if self._busy >= self.at_once:
            busy = _response(refusal(503, "busy"))
            busy.headers["Retry-After"] = str(BUSY_S)
            return busy
        self._busy += 1
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001  # the agent must hear that it may come again, whatever broke
            _log.exception("provider.failed", call=request.method)
            return _response(refusal(500, "internal"))
        finally:
            self._busy -= 1


async def _read(request: web.Request, typ: str, limit: int) -> str | Reply:
    body = bytearray()
    header_seen = False
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            return refusal(413, "size")
        if not header_seen and (b"." in body or len(body) > signature.MAX_HEADER_BYTES):
            header_seen = True
            try:
                signature.header_of(body.partition(b".")[0].decode("latin-1"), typ)
            except Unverified as error:
                return refusal(422, "form", reason=str(error))
    # What is not ASCII becomes what no JWS holds.
    return body.decode("ascii", "replace").strip()


def _response(reply: Reply, *, json_body: bool = False) -> web.Response:
    receipt = reply.taken and not json_body
    response = web.Response(
        status=reply.status,
        text=reply.body,
        content_type="application/jose" if receipt else "application/json",
    )
    response.headers["Cache-Control"] = "no-store"
    if not reply.taken and reply.status != 409:  # noqa: PLR2004  # HTTP
        # The rest of a body that was not read is not waited for.
        response.force_close()
    return response
