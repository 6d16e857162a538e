"""One signed record comes in, by HTTP or from a file: the same tests in the same order.

Form, key and signature first, and nothing of the content before them; then the
place, then the books (`provider.judging`). The receipt is given only after the
transaction that it speaks of.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from meter import schema, signature
from meter.model import Instant
from meter.schema import Uncountable
from meter.signature import PrivateKey, Unverified
from provider.books import Again, Arrival, Books, Contradiction, KeyEnded, KeyState, Page, Ruling
from provider.judging import judge


@dataclass(frozen=True, slots=True)
class Reply:
    """What the agent is told.

    Attributes:
        status: As HTTP counts them: 200 and 201 carry a receipt, others an error as JSON.
        body: The receipt, or the JSON.
    """

    status: int
    body: str = field(repr=False)

    @property
    def taken(self) -> bool:
        """Whether the record is in the books now, counted or refused."""
        return self.status in (200, 201)


def refusal(status: int, error: str, **more: Any) -> Reply:
    """Return a reply that carries an error."""
    return Reply(status, json.dumps({"error": error, **more}))


#: Whatever is wrong with a key, a stranger is told the same.
KEY_REFUSED = refusal(401, "key")


async def receive(token: str, books: Books, *, receiver: PrivateKey, now: Instant) -> Reply:
    """Judge one record and keep what follows from it.

    Args:
        token: The compact JWS.
        books: Where it is kept.
        receiver: Signs the receipt.
        now: The present instant.
    """
    try:
        kid = signature.read_header(token, signature.TYP_RECORD).kid
    except Unverified as error:
        return refusal(422, "form", reason=str(error))
    known = await books.key(kid)
    good = known is not None and known.state_at(now) is not KeyState.WITHDRAWN
    trusted = [known.key] if known is not None and good else []
    try:
        payload = signature.verify(token, trusted, signature.TYP_RECORD)
    except Unverified:
        return KEY_REFUSED
    try:
        place = schema.place(payload)
    except Uncountable as error:
        return refusal(422, "place", reason=str(error))
    if known is None or place.agent != known.agent:
        return KEY_REFUSED  # a good key, of another agent than the record names
    record, reason = None, None
    try:
        record = schema.validate(payload)
    except Uncountable as error:
        reason = str(error)
    sha256 = signature.sha256_hex(token)
    arrival = Arrival(known.agent, kid, token, sha256, place, record, reason, now)

    def rule(page: Page) -> Ruling:
        return judge(arrival, page, receiver)

    return _reply(await books.take(arrival, rule))


def _reply(ruling: Ruling) -> Reply:
    if isinstance(ruling, KeyEnded):
        return KEY_REFUSED
    if isinstance(ruling, Contradiction):
        return refusal(409, ruling.error, expected=ruling.expected, last_sha256=ruling.last_sha256)
    return Reply(200 if isinstance(ruling, Again) else 201, ruling.receipt)
