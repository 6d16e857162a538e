"""Enrolment: who may report, by which key, about whom.

The token is judged before anything else is said, and whatever is wrong gets the
same answer: a stranger learns nothing about who exists. A token is good once; the
same token, agent and key again get the same answer again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence

from meter import messages
from meter.messages import Enrolled, Enrolment, Invitation
from meter.model import Instant
from meter.signature import PrivateKey, Unverified
from provider.books import Books, Invited, KeyState, Known

_DAY_MS = 24 * 60 * 60 * 1000


async def invite(
    books: Books,
    *,
    agent: str,
    tenants: Sequence[str],
    url: str,
    receiver: PrivateKey,
    now: Instant,
    days: int = 7,
) -> Invitation:
    """Make an invitation and keep the hash of its token.

    Args:
        books: Where it is kept.
        agent: The agent that it is for; a known one gets a new key or other tenants by it.
        tenants: The ids that the agent may report, from its enrolment on.
        url: Where the agent reaches the receiver.
        receiver: The receiver's key, which the agent will pin.
        now: The present instant.
        days: How long it may wait to be used.

    Raises:
        Unverified: The url or the agent's id is none, so the line could not be read.
    """
    token = secrets.token_urlsafe(24)
    invitation = Invitation(url.rstrip("/"), receiver.public.thumbprint, token, agent)
    try:
        messages.read_invitation(invitation.line())
    except Unverified:
        raise Unverified("an agent's id is like ams-01, and the url https://… without blanks") from None
    await books.invite(_hash(token), Invited(agent, tuple(tenants), now + days * _DAY_MS))
    return invitation


async def enrol(token: str, books: Books, *, audience: str, receiver: PrivateKey, now: Instant) -> str | None:
    """Return the body of the 201 that a request gets, or None for the 403.

    Args:
        token: The request, a JWS by the new key.
        books: What is known.
        audience: What the request must be meant for.
        receiver: The receiver's key.
        now: The present instant.
    """
    try:
        asks = messages.read_enrolment(token)
    except Unverified:
        return None
    if asks.audience != audience:
        return None

    def rule(invited: Invited | None, known: Known | None) -> str | None:
        return _admit(asks, invited, known, receiver, now)

    return await books.enrol(_hash(asks.token), asks.key, now, rule)


def _admit(
    asks: Enrolment, invited: Invited | None, known: Known | None, receiver: PrivateKey, now: Instant
) -> str | None:
    """Return the answer to a request whose signer holds the key that it names, or None."""
    if invited is None or invited.agent != asks.agent:
        return None
    if known is not None and (known.agent != asks.agent or known.state_at(now) is not KeyState.ACTIVE):
        return None
    if invited.used_by is not None:
        return invited.answer if invited.used_by == asks.key.thumbprint else None
    if now >= invited.expires_at:
        return None
    word = messages.seal_enrolled(
        Enrolled(asks.agent, asks.key.thumbprint, asks.audience, invited.tenants, now), receiver
    )
    return json.dumps({"key": receiver.public.jwk, "proof": word})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
