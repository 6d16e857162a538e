"""The courier of webhooks, in the form of Standard Webhooks 1.0.0 with its asymmetric signature (`v1a`).

Three headers go with every attempt: `webhook-id` (the same over all attempts),
`webhook-timestamp` (of this attempt, whole seconds) and `webhook-signature`,
Ed25519 over `{id}.{timestamp}.{body}`. The receiver checks them with the agent's
public key, which Standard Webhooks writes as `whpk_` and its base64.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final
from urllib.parse import quote

import aiohttp

from delivery import http
from delivery.courier import Outcome, Parcel, Refused, TryAgain
from meter.model import Instant

_PUBLIC_KEY_BYTES: Final = 32


def webhook_id(parcel_id: str) -> str:
    """Return the `webhook-id` of a parcel: its id, safe in a header and without a full stop.

    A full stop in it would let one signed text be read as another (Standard
    Webhooks, "Signature scheme"). Different ids stay different.
    """
    return quote(parcel_id, safe="/").replace(".", "%2E")


def signed_headers(
    parcel_id: str, body: bytes, *, at: Instant, sign: Callable[[bytes], bytes]
) -> dict[str, str]:
    """Return the three headers of one attempt.

    Args:
        parcel_id: The parcel's id.
        body: The exact bytes that are sent.
        at: When this attempt is made.
        sign: Gives the raw Ed25519 signature, 64 bytes.
    """
    name, seconds = webhook_id(parcel_id), str(at // 1000)
    signature = sign(b".".join((name.encode(), seconds.encode(), body)))
    return {
        "webhook-id": name,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}",
    }


def public_key_line(raw: bytes) -> str:
    """Return a public key as Standard Webhooks shows it to receivers (`whpk_…`).

    Raises:
        ValueError: `raw` is not 32 bytes, so it is no raw Ed25519 key.
    """
    if len(raw) != _PUBLIC_KEY_BYTES:
        raise ValueError("a raw Ed25519 public key has 32 bytes")
    return f"whpk_{base64.b64encode(raw).decode()}"


@dataclass(frozen=True, slots=True)
class WebhookCourier:
    """Carries parcels of the lane `webhook`; a parcel's target is the name of a webhook.

    Attributes:
        session: From `delivery.http.open_session`; whoever opened it closes it.
        urls: The address of each configured webhook by its name.
        sign: Gives the raw Ed25519 signature of what it is given; the key stays with its owner.
        now: The clock.
        tls: Trust for private authorities; None: the system's.
        timeout_s: The bound of one attempt.
    """

    session: aiohttp.ClientSession
    urls: Mapping[str, str] = field(repr=False)
    sign: Callable[[bytes], bytes] = field(repr=False)
    now: Callable[[], Instant] = field(repr=False)
    tls: SSLContext | None = None
    timeout_s: float = http.TIMEOUT_S

    async def carry(self, parcel: Parcel) -> Outcome:
        """Post one parcel. Any 2xx is `Delivered`; the answer's body means nothing."""
        url = self.urls.get(parcel.target)
        if url is None:
            return Refused(
                "no webhook of that name is configured any more", "configure it again, or drop the row"
            )
        headers = signed_headers(parcel.id, parcel.body, at=self.now(), sign=self.sign)
        answer = await http.exchange(
            self.session,
            url,
            now=self.now,
            body=parcel.body,
            headers={**headers, "Content-Type": "application/json"},
            tls=self.tls,
            timeout_s=self.timeout_s,
        )
        return answer if isinstance(answer, TryAgain) else http.outcome(answer, place=http.place(url))
