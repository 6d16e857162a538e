"""The only door to a 3CX: what can be said to it at all.

Rules of this file:
- it alone imports aiohttp, and it can say three things: read one of `Resource`, ask
  for a token, log a user in. No path comes from outside, so `DropCall` and its kin
  can't be expressed;
- certificates are always checked, by an authority or against one fingerprint;
- no redirect is followed and no cookie kept: a token goes nowhere but to the 3CX.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from connectors.connector import Now
from connectors.errors import ConnectorError
from connectors.threecx import trouble
from connectors.threecx.instants import dated, written
from connectors.threecx.settings import Settings
from meter.model import Instant

#: The largest answer that is read: a page of 500 rows has a few hundred KiB.
_LARGEST_BYTES: Final = 16 * 1024 * 1024

_REFRESH: Final = "RefreshTokenCookie"


class Resource(StrEnum):
    """Everything that is ever read."""

    DEFS = "Defs"
    SYSTEM_STATUS = "SystemStatus"
    ACTIVE_CALLS = "ActiveCalls"
    TRUNKS = "Trunks"
    GROUPS = "Groups"
    USERS = "Users"
    PEERS = "Peers"
    CALL_LOG = "ReportCallLogData/Pbx.GetCallLogData"


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer.

    Attributes:
        status: Of HTTP.
        body: As it came.
        asked_at, came_at: When the question left and the answer was complete, by our clock.
        date: The 3CX's own clock, in whole seconds; None: it doesn't say.
        version: The 3CX's (`20.0.9.995`); "" if it doesn't say.
        retry_after_s: How long it wants to be left alone; None: it doesn't say.
        refresh: The log-in's cookie that renews a token; "" if there is none.
    """

    status: int
    body: bytes = field(repr=False)
    asked_at: Instant
    came_at: Instant
    date: Instant | None = None
    version: str = ""
    retry_after_s: float | None = None
    refresh: str = field(default="", repr=False)


class Line:
    """One session with a 3CX.

    Args:
        session: Where it goes through.
        base: Scheme and authority of the 3CX, nothing behind.
        now: Reads the clock.
    """

    def __init__(self, session: aiohttp.ClientSession, base: str, now: Now) -> None:
        self._session = session
        self._base = base
        self._now = now

    async def read(
        self,
        resource: Resource,
        query: Mapping[str, str],
        *,
        bearer: str,
        period: tuple[Instant, Instant] | None = None,
    ) -> Answer:
        """GET one resource.

        Args:
            resource: Which.
            query: OData's options; written behind the question mark, so they change no path.
            bearer: The token.
            period: First and last instant of the call log, by the 3CX's clock; with nothing else.

        Raises:
            Unreachable: No connection, or no complete answer in time. Whatever the answer's status is, it is returned.
            Garbled: What answers does not speak HTTP, or too much.
        """
        path = Resource(resource).value + (_arguments(*period) if period else "")
        # A space is %20: not every reader of OData takes "+" for one.
        asked = urlencode(query, quote_via=quote, safe="$,()'=")
        url = URL(f"{self._base}/xapi/v1/{path}?{asked}", encoded=True)
        asked_at = self._now()
        with _translated():
            async with self._session.get(
                url, headers={"Authorization": f"Bearer {bearer}"}, allow_redirects=False
            ) as response:
                return await self._answer(response, asked_at)

    async def ask_for_token(self, form: Mapping[str, str], *, refresh: str = "") -> Answer:
        """POST to the token's path, and no other. Raises as `read`."""
        headers = {"Cookie": f"{_REFRESH}={refresh}"} if refresh else {}
        asked_at = self._now()
        with _translated():
            async with self._session.post(
                URL(f"{self._base}/connect/token"), data=dict(form), headers=headers, allow_redirects=False
            ) as response:
                return await self._answer(response, asked_at)

    async def log_in(self, username: str, password: str) -> Answer:
        """POST to the web client's log-in, and no other path. Raises as `read`."""
        said = {"SecurityCode": "", "Username": username, "Password": password, "ReCaptchaResponse": None}
        asked_at = self._now()
        with _translated():
            async with self._session.post(
                URL(f"{self._base}/webclient/api/Login/GetAccessToken"), json=said, allow_redirects=False
            ) as response:
                return await self._answer(response, asked_at)

    async def _answer(self, response: aiohttp.ClientResponse, asked_at: Instant) -> Answer:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > _LARGEST_BYTES:
                raise trouble.garbled("anything: it is too long, and so")
        cookie = response.cookies.get(_REFRESH)
        wait = response.headers.get("Retry-After", "")
        return Answer(
            status=response.status,
            body=bytes(body),
            asked_at=asked_at,
            came_at=self._now(),
            date=dated(response.headers.get("Date")),
            version=response.headers.get("X-3CX-Version", ""),
            retry_after_s=float(wait) if wait.isascii() and wait.isdecimal() else None,
            refresh="" if cookie is None else cookie.value,
        )


@asynccontextmanager
async def connected(settings: Settings, now: Now) -> AsyncIterator[Line]:
    """Open a session for as long as the block lasts; connections are made as they are needed.

    Raises:
        Denied: The address is plain HTTP to another machine.
    """
    parts = urlsplit(settings.url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname or "")):
        raise trouble.insecure()
    checked: Any = settings.tls or True
    if settings.fingerprint is not None:
        checked = aiohttp.Fingerprint(settings.fingerprint)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=checked, limit=8),
        timeout=aiohttp.ClientTimeout(total=settings.answer_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Line(session, f"{parts.scheme}://{parts.netloc}", now)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _arguments(start: Instant, end: Instant) -> str:
    """Return the arguments of the call log's function: without any one of them it answers 404."""
    return (
        f"(periodFrom={written(start)},periodTo={written(end)},sourceType=0,sourceFilter='',destinationType=0,"
        "destinationFilter='',callsType=0,callTimeFilterType=0,callTimeFilterFrom='0:00:0',"
        "callTimeFilterTo='0:00:0',hidePcalls=true)"
    )


class _translated:  # noqa: N801 -- read as `with _translated():`
    """Lets aiohttp's errors out as the seam's."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError)):
            raise _named(error) from error
        if isinstance(error, RuntimeError):  # the session was closed meanwhile
            raise trouble.gone() from error


#: What each of aiohttp's errors says; the first that fits, as some are several.
_NAMES: Final[tuple[tuple[type[BaseException], Callable[[], ConnectorError]], ...]] = (
    (TimeoutError, trouble.silent),
    (aiohttp.ServerFingerprintMismatch, trouble.another_certificate),
    (aiohttp.ClientConnectorSSLError, trouble.no_tls),
    (aiohttp.ClientConnectorDNSError, trouble.nameless),
    (aiohttp.ClientConnectorError, trouble.nobody),
    (aiohttp.ClientConnectionError, trouble.dropped),
    (aiohttp.ClientPayloadError, trouble.dropped),
    (OSError, trouble.dropped),
)


def _named(error: BaseException) -> ConnectorError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return trouble.certificate(error.certificate_error)
    named = next((named for kind, named in _NAMES if isinstance(error, kind)), None)
    return trouble.garbled("anything") if named is None else named()
