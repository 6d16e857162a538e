"""The messages between agent and provider beside the record, written and read in one place.

Every message is a JWS of its own sort over a small JSON object. Here is the form of
each and the proof that its signer meant it; who may do what is judged by the
provider (provider.receiving, provider.enrolment) and the agent (agent.upstream).

The invitation is the line that an operator of the provider gives to an operator of
an agent:

    https://meter.provider.example#pme1.<thumbprint>.<token>.<agent id>

It says where the receiver is, by which key its words are known, the one-time token,
and for which agent it is. The part after `#` is secret until it has been used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from meter import periods, signature
from meter.canonical import canonical_bytes, exact
from meter.model import Instant
from meter.schema import instant
from meter.signature import PrivateKey, PublicKey, Unverified

#: A bearer is good for at most this long.
BEARER_S: Final = 300
#: How far the clocks of the two sides may be apart.
SKEW_S: Final = 60

_INVITATION: Final = re.compile(
    r"(?P<url>https?://[^\s#]+)#pme1\.(?P<receiver>[A-Za-z0-9_-]{43})\.(?P<token>[A-Za-z0-9_-]{22,128})"
    r"\.(?P<agent>[A-Za-z0-9][A-Za-z0-9._-]{0,63})"
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an agent needs to enrol.

    Attributes:
        url: Where the receiver is, without a slash at the end; also the audience of what is said to it.
        receiver: The thumbprint of the receiver's key.
        token: Good once, for one agent and one key.
        agent: The agent's id.
    """

    url: str
    receiver: str
    token: str = field(repr=False)
    agent: str

    def line(self) -> str:
        """Return the line to hand over."""
        return f"{self.url}#pme1.{self.receiver}.{self.token}.{self.agent}"


def read_invitation(line: str) -> Invitation:
    """Read the line that `Invitation.line` wrote.

    Raises:
        Unverified: It is not such a line, or not all of it.
    """
    match = _INVITATION.fullmatch(line.strip())
    if match is None:
        raise Unverified("not an invitation: it looks like https://…#pme1.… and is one line, copied whole")
    return Invitation(match["url"].rstrip("/"), match["receiver"], match["token"], match["agent"])


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An agent asks to be known by this key."""

    agent: str
    token: str = field(repr=False)
    audience: str
    key: PublicKey


def seal_enrolment(invitation: Invitation, key: PrivateKey) -> str:
    """Return the request to be enrolled by `key`, signed by it."""
    return _seal(
        {
            "agent": invitation.agent,
            "token": invitation.token,
            "audience": invitation.url,
            "key": key.public.jwk,
        },
        key,
        signature.TYP_ENROLMENT,
    )


def read_enrolment(token: str) -> Enrolment:
    """Return a request whose signer holds the key that it names.

    Raises:
        Unverified: It has another form, or another key signed it.
    """
    typ = signature.TYP_ENROLMENT
    named = _object(signature.unverified_payload(token, typ))
    if not isinstance(named.get("key"), dict):
        raise Unverified("it names no key")
    key = signature.public_key(named["key"])
    says = _object(signature.verify(token, [key], typ))
    return Enrolment(_text(says, "agent"), _text(says, "token"), _text(says, "audience"), key)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The receiver's word that it knows an agent by a key, and what the agent may report."""

    agent: str
    key: str  #: the thumbprint of the agent's key
    audience: str
    tenants: tuple[str, ...]
    at: Instant


def seal_enrolled(enrolled: Enrolled, receiver: PrivateKey) -> str:
    """Return the receiver's signed word."""
    return _seal(
        {
            "agent": enrolled.agent,
            "key": enrolled.key,
            "audience": enrolled.audience,
            "tenants": list(enrolled.tenants),
            "enrolled_at": periods.iso(enrolled.at),
        },
        receiver,
        signature.TYP_ENROLMENT_PROOF,
    )


def read_enrolled(token: str, receiver: PublicKey) -> Enrolled:
    """Read the receiver's word.

    Raises:
        Unverified: It has another form, or another key signed it.
    """
    says = _object(signature.verify(token, [receiver], signature.TYP_ENROLMENT_PROOF))
    tenants = says.get("tenants")
    if not isinstance(tenants, list) or not all(isinstance(tenant, str) for tenant in tenants):
        raise Unverified("it names no tenants")
    return Enrolled(
        agent=_text(says, "agent"),
        key=_text(says, "key"),
        audience=_text(says, "audience"),
        tenants=tuple(tenants),
        at=_instant(says, "enrolled_at"),
    )


def seal_bearer(agent: str, *, audience: str, now: Instant, key: PrivateKey) -> str:
    """Return what an agent shows to ask for its position, good for five minutes from `now`."""
    iat = now // 1000
    return _seal(
        {"sub": agent, "aud": audience, "iat": iat, "exp": iat + BEARER_S}, key, signature.TYP_POSITION
    )


def check_bearer(token: str, keys: Iterable[PublicKey], *, agent: str, audience: str, now: Instant) -> None:
    """Return if this bearer may see the position of this agent now.

    Raises:
        Unverified: Another key, agent or audience, not yet or no longer good, or good
            for more than five minutes.
    """
    says = _object(signature.verify(token, keys, signature.TYP_POSITION))
    iat, exp, now_s = _integer(says, "iat"), _integer(says, "exp"), now // 1000
    if _text(says, "sub") != agent or _text(says, "aud") != audience:
        raise Unverified("a bearer for another agent or receiver")
    if not 0 <= exp - iat <= BEARER_S:
        raise Unverified("a bearer is good for at most five minutes")
    if not iat - SKEW_S <= now_s < exp + SKEW_S:
        raise Unverified("a bearer that is not good now")


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receiver's word that it has a record, durably.

    Attributes:
        agent, chain, id, sequence, sha256: Which record.
        status: `counted`, or `refused`: it took its place in the chain and is not billed.
        reason: Why it was refused, else None.
        taken_at: When, by the receiver's clock.
    """

    agent: str
    chain: str
    id: str
    sequence: int
    sha256: str
    status: str
    reason: str | None
    taken_at: Instant


def seal_receipt(receipt: Receipt, receiver: PrivateKey) -> str:
    """Return the signed receipt."""
    return _seal(
        {
            "agent": receipt.agent,
            "chain": receipt.chain,
            "id": receipt.id,
            "sequence": receipt.sequence,
            "sha256": receipt.sha256,
            "status": receipt.status,
            "reason": receipt.reason,
            "taken_at": periods.iso(receipt.taken_at),
        },
        receiver,
        signature.TYP_RECEIPT,
    )


def read_receipt(token: str, receiver: PublicKey) -> Receipt:
    """Read a receipt.

    Raises:
        Unverified: It has another form, or another key signed it.
    """
    says = _object(signature.verify(token, [receiver], signature.TYP_RECEIPT))
    if says.get("status") not in ("counted", "refused"):
        raise Unverified("a receipt of unknown status")
    return Receipt(
        agent=_text(says, "agent"),
        chain=_text(says, "chain"),
        id=_text(says, "id"),
        sequence=_integer(says, "sequence"),
        sha256=_text(says, "sha256"),
        status=_text(says, "status"),
        reason=_text(says, "reason") if says.get("reason") is not None else None,
        taken_at=_instant(says, "taken_at"),
    )


def seal_key_proof(*, agent: str, chain: str, sequence: int, old: str, new: PrivateKey) -> str:
    """Return the new key's consent to follow the old one (its thumbprint) from this record on."""
    return _seal(_key_proof(agent, chain, sequence, old, new.public), new, signature.TYP_KEY_PROOF)


def check_key_proof(token: str, *, agent: str, chain: str, sequence: int, old: str, new: PublicKey) -> None:
    """Return if the holder of the new key consents to exactly this change.

    Raises:
        Unverified: It doesn't.
    """
    says = _object(signature.verify(token, [new], signature.TYP_KEY_PROOF))
    if says != _key_proof(agent, chain, sequence, old, new):
        raise Unverified("the new key's proof is for another change")


def _key_proof(agent: str, chain: str, sequence: int, old: str, new: PublicKey) -> dict[str, Any]:
    return {
        "agent": agent,
        "chain": chain,
        "sequence": sequence,
        "old_key": old,
        "new_key": new.thumbprint,
    }


def _seal(says: dict[str, Any], key: PrivateKey, typ: str) -> str:
    return signature.sign(canonical_bytes(says), key, typ)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        says = exact(payload)
    except ValueError as error:
        raise Unverified(f"its payload is unreadable: {error}") from None
    if not isinstance(says, dict):
        raise Unverified("its payload is not an object")
    return says


def _text(says: dict[str, Any], name: str) -> str:
    if not isinstance(says.get(name), str):
        raise Unverified(f"it has no {name}")
    return str(says[name])


def _integer(says: dict[str, Any], name: str) -> int:
    # bool is an int to Python and to nobody else.
    if type(says.get(name)) is not int:
        raise Unverified(f"it has no {name}")
    return int(says[name])


def _instant(says: dict[str, Any], name: str) -> Instant:
    try:
        return instant(_text(says, name))
    except ValueError:
        raise Unverified(f"its {name} is no instant") from None
