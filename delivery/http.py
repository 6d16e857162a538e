"""HTTP, as everything that leaves by it uses it: one exchange, and what its end means for a webhook.

- Certificates are always checked; plain HTTP leaves only towards this machine.
- Redirects are not followed, cookies not kept, bodies not unpacked, and every
  exchange is bounded in time and in bytes.
- An address may hold a password or a token anywhere in it, so nothing but its
  host and port is ever shown.
"""

from __future__ import annotations

import email.utils
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from delivery.courier import Delivered, Outcome, Refused, TryAgain
from meter.model import Instant

#: Standard Webhooks 1.0.0, "Request timeouts": 15 to 30 s.
TIMEOUT_S: Final = 20.0
#: Far more than a receipt or an error message needs.
LONGEST_ANSWER_BYTES: Final = 64 * 1024

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: 4xx answers that pass with time: too slow, too early (RFC 8470), too many.
_PASSING: Final = frozenset({408, 425, 429})
_HINTS: Final = {
    401: "check that the receiver has this agent's public key",
    403: "check that the receiver has this agent's public key and lets this machine in",
    404: "check the address of the webhook",
    405: "check the address of the webhook: nothing takes a POST there",
    410: "the receiver wants no more of these: remove the webhook, or give its new address",
    413: "the receiver takes less than a few kilobytes: raise its limit",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        body: The whole body; None if it was longer than allowed.
        retry_after_s: How long the other side asks to wait, >= 0; None if it does not ask.
        date: The other side's clock (`Date`), to the second; None if it does not say.
    """

    status: int
    body: bytes | None = field(default=None, repr=False)
    retry_after_s: float | None = None
    date: Instant | None = None


def outcome(answer: Answer, *, place: str) -> Outcome:
    """Say what an answer means for a webhook (Standard Webhooks 1.0.0, "Delivery success and failure").

    | status | outcome |
    |---|---|
    | 2xx | delivered |
    | 408, 425, 429, 5xx, and what HTTP does not define | try again, not before `Retry-After` |
    | 3xx, 410 and the rest of 4xx | refused: it would be answered so every time |

    Network trouble never gets here: `exchange` answers it with `TryAgain`.

    Args:
        answer: What came back.
        place: Who answered, as `place` shows it.
    """
    status = answer.status
    why = f"{place} answered {status}"
    if status in range(200, 300):
        return Delivered()
    if status in _PASSING or status not in range(300, 500):
        return TryAgain(why, answer.retry_after_s)
    if status in range(300, 400):
        return Refused(why, "redirects are not followed: configure the address that it moved to")
    return Refused(why, _HINTS.get(status, "ask whoever runs the receiver why it refuses this"))


def place(url: str) -> str:
    """Return the host and port of an address: all of it that may be shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host:
        return "an address that can't be read"
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def retry_after_s(value: str | None, *, now: Instant) -> float | None:
    """Read a `Retry-After` header, seconds or date (RFC 9110, section 10.2.3).

    Args:
        value: The header, or None.
        now: The present instant, by the clock of whoever wrote the header if that is known.

    Returns:
        Seconds to wait, 0 for a date that has passed; None without a header that can be read.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,12}", value):
        return float(value)
    until = _instant(value)
    return None if until is None else max(0, until - now) / 1000


def open_session() -> aiohttp.ClientSession:
    """Return a session for `exchange`; whoever opens it closes it."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a few bytes can unpack to any number of them
        headers={"Accept-Encoding": "identity", "User-Agent": "pbx-meter"},
    )


async def exchange(
    session: aiohttp.ClientSession,
    url: str,
    *,
    now: Callable[[], Instant],
    method: str = "POST",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    tls: SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
    limit_bytes: int = LONGEST_ANSWER_BYTES,
) -> Answer | TryAgain:
    """Ask once and return the answer, whatever its status.

    Args:
        session: From `open_session`.
        url: Where to; never shown beyond `place`.
        now: The clock, for a `Retry-After` that is a date.
        method: `POST` or `GET`.
        body: What to send.
        headers: Headers of this exchange.
        tls: Trust for a private authority; None: the system's. Always checked.
        timeout_s: For the whole exchange, from resolving the name to the last byte.
        limit_bytes: A longer body is cut off and given as None.

    Returns:
        The answer, or `TryAgain` if there is none: the network, the certificate or the
        configured address is in the way, and mending that mends it.
    """
    where = place(url)
    if not _may_leave(url):
        return TryAgain(f"{where} has an address that is not used: only https, or http towards this machine")
    try:
        async with session.request(
            method,
            url,
            data=body,
            headers=headers,
            ssl=tls or True,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            content = await _read(response.content, limit_bytes)
            date = _instant(response.headers.get("Date"))
            asked = response.headers.get("Retry-After")
            # Both dates are the other side's: its own clock tells how far they are apart.
            wait_s = retry_after_s(asked, now=now() if date is None else date)
            return Answer(response.status, content, wait_s, date)
    except TimeoutError:
        return TryAgain(f"{where} did not answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError) as exc:
        return TryAgain(f"{where} {_trouble(exc)}")


async def _read(stream: aiohttp.StreamReader, limit_bytes: int) -> bytes | None:
    """Return the body, or None as soon as it is longer than the limit."""
    content = bytearray()
    async for chunk in stream.iter_any():
        content += chunk
        if len(content) > limit_bytes:
            return None
    return bytes(content)


def _instant(http_date: str | None) -> Instant | None:
    """Read an HTTP date; None if there is none or it can't be read."""
    if http_date is None:
        return None
    try:
        at = email.utils.parsedate_to_datetime(http_date)
    except ValueError:
        return None
    # RFC 9110, section 5.6.7: an HTTP date is UTC, whether it says so or not.
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def _may_leave(url: str) -> bool:
    """Whether anything may be sent there: over TLS, or not beyond this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme != "http":
        return parts.scheme == "https" and bool(host)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trouble(exc: aiohttp.ClientError | OSError) -> str:
    """Say what is wrong without the text of the error, which may hold the whole address."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(exc.certificate_error, "verify_message", "")
            return f"shows a certificate that is not trusted ({reason or 'unknown reason'})"
        case aiohttp.ClientConnectorDNSError():
            return "can't be found: its name does not resolve"
        case aiohttp.ClientSSLError():
            return "can't be reached over TLS"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number > 0:
            return f"can't be reached ({os.strerror(number)})"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
            return "cut the connection before its answer was complete"
        case _:
            return f"could not be asked ({type(exc).__name__})"
