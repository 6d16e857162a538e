"""The protocol with the provider, seen from the agent: what to say, and what each answer means.

Nothing is stored and nothing is tried again here. `judge` is the table of
spec/upstream.md, row for row; `compare` decides whether the agent may go on sealing.
agent.shipping drives this and remembers:

    await upstream.position(key)    -> Position | Judged     after every start, before sealing
    compare(position, …)            -> Standing              may it seal, and where to send from
    await upstream.post(jws)        -> Judged                then do what `Judged.step` says

A receipt counts only if the receiver's pinned key signed it and it names the very
record that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ssl import SSLContext
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from aiohttp import ClientSession

from delivery import http
from delivery.courier import TryAgain
from meter import messages, signature
from meter.messages import Enrolled, Invitation, Receipt
from meter.model import Instant
from meter.signature import PrivateKey, PublicKey, Unverified

#: What needs a person is asked again this slowly.
SLOWLY_S: Final = 600.0


class Step(StrEnum):
    """What the driver does next."""

    GO_ON = "go_on"  #: keep the receipt, send the next record
    SEND_FROM = "send_from"  #: send from `expected`; not held any more: as `stop_sealing`
    STOP_SEALING = "stop_sealing"  #: seal nothing more for this chain, send nothing, tell the operator
    RETRY = "retry"  #: the same record again, with growing waits
    RETRY_SLOWLY = "retry_slowly"  #: the same record again after `SLOWLY_S`, and tell the operator


class Verdict(StrEnum):
    """What the receiver said."""

    COUNTED = "counted"
    REFUSED = (
        "refused"  #: took its place in the chain, is not billed: seal what replaces it, tell the operator
    )
    SEQUENCE = "sequence"  #: another number comes next
    CONFLICT = "conflict"  #: it has another record of this id or number
    FORK = "fork"  #: it has another record before this one, or another chain
    KEY_TROUBLE = "key_trouble"  #: it does not know our key, or we don't know its
    NOT_UNDERSTOOD = "not_understood"  #: a bug, a wrong address, or somebody in between
    TRY_AGAIN = "try_again"  #: the network, or it is busy


STEPS: Final[Mapping[Verdict, Step]] = MappingProxyType(
    {
        Verdict.COUNTED: Step.GO_ON,
        Verdict.REFUSED: Step.GO_ON,
        Verdict.SEQUENCE: Step.SEND_FROM,
        Verdict.CONFLICT: Step.STOP_SEALING,
        Verdict.FORK: Step.STOP_SEALING,
        Verdict.KEY_TROUBLE: Step.RETRY_SLOWLY,
        Verdict.NOT_UNDERSTOOD: Step.RETRY_SLOWLY,
        Verdict.TRY_AGAIN: Step.RETRY,
    }
)

_CHAIN_NEW: Final = "look which machine reports as this agent; then `pbx-meter chain new`"
_KEY_HINT: Final = (
    "compare `pbx-meter keys show` with the provider's list of agents; enrol again if it was withdrawn"
)
_PIN_HINT: Final = (
    "ask the provider whether its key has changed; it takes a fresh invitation and `pbx-meter enrol`"
)
_ADDRESS_HINT: Final = "check [upstream] url, and whether a proxy stands in between"
_INVITATION_HINT: Final = (
    "ask the provider for a fresh invitation: a token is good once, for a time, for one agent"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer, understood.

    Attributes:
        verdict: Which row of the table.
        why: One sentence; no address beyond host and port.
        hint: What the operator can do; "" if nobody has to.
        receipt, receipt_jws: With `counted` and `refused`: what it says, and the bytes to keep.
        expected, last_sha256: With `sequence`: the number that comes next, and the hash before it.
        not_before_s: Wait at least so long; None: as the plan says.
    """

    verdict: Verdict
    why: str
    hint: str = ""
    receipt: Receipt | None = None
    receipt_jws: str | None = None
    expected: int | None = None
    last_sha256: str | None = None
    not_before_s: float | None = None

    @property
    def step(self) -> Step:
        """What to do next."""
        return STEPS[self.verdict]


@dataclass(frozen=True, slots=True)
class Position:
    """How far the receiver's books go. No chain: it has nothing of this agent."""

    chain: str | None
    sequence: int = 0
    sha256: str | None = None


class Standing(StrEnum):
    """How the agent's chain stands to the receiver's books."""

    AGREED = "agreed"  #: seal, and send from the number after the receiver's last
    AHEAD = "ahead"  #: the receiver has more than we: this is a restored copy. Seal nothing
    FORKED = "forked"  #: the receiver has other records or another chain. Seal nothing


def compare(
    position: Position,
    *,
    chain: str,
    last_sequence: int,
    continues: tuple[str, int, str] | None,
    sha256_at: Callable[[int], str | None],
) -> Standing:
    """Say whether the agent may go on sealing. Anything but `AGREED` ends with `pbx-meter chain new`.

    Args:
        position: The receiver's.
        chain: The agent's chain.
        last_sequence: The last number that is sealed in it, 0 for none.
        continues: What the chain's first record names: (chain, number, SHA-256) of the former.
        sha256_at: Gives the hash of an own record; hashes are kept for good. None: there is none.
    """
    if position.chain is None:
        return Standing.AGREED  # new here, or it lost its books: it says what it lacks when asked to take
    if position.chain != chain:
        follows = (position.chain, position.sequence, position.sha256) == continues
        return Standing.AGREED if follows else Standing.FORKED
    if position.sequence > last_sequence:
        return Standing.AHEAD
    return Standing.AGREED if sha256_at(position.sequence) == position.sha256 else Standing.FORKED


def judge(answer: http.Answer | TryAgain, token: str, receiver: PublicKey, *, where: str) -> Judged:
    """Say what the answer to a posted record means.

    Args:
        answer: What came back, or why nothing did.
        token: The record that was posted.
        receiver: The receiver's pinned key.
        where: Who answered, as it may be shown.
    """
    if isinstance(answer, TryAgain):
        return Judged(Verdict.TRY_AGAIN, answer.why, not_before_s=answer.not_before_s)
    match answer.status:
        case 200 | 201:
            return _receipt(answer.body, token, receiver, where)
        case 401:
            return _slowly(Verdict.KEY_TROUBLE, f"{where} does not know the key of this agent", _KEY_HINT)
        case 409:
            return _contradiction(_object(answer.body), where)
        case 413 | 422:
            why = f"{where} says that this is no record ({answer.status})"
            return _slowly(Verdict.NOT_UNDERSTOOD, why, _ADDRESS_HINT)
        case _:
            return _passing(answer, where)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The provider's receiver, asked over one session.

    Attributes:
        session: From `delivery.http.open_session`.
        url: The receiver's, as in the invitation: it is the audience of what is said to it.
        agent: This agent's id.
        receiver: The receiver's pinned key.
        now: The wall clock.
        tls: Trust for a private authority; None: the system's.
    """

    session: ClientSession = field(repr=False)
    url: str = field(repr=False)
    agent: str
    receiver: PublicKey
    now: Callable[[], Instant] = field(repr=False)
    tls: SSLContext | None = field(default=None, repr=False)

    async def post(self, token: str) -> Judged:
        """Post one record. Bounded in time; raises nothing but bugs and cancellation."""
        answer = await _post(self.session, f"{self.url}/v1/summaries", token, self.now, self.tls)
        return judge(answer, token, self.receiver, where=http.place(self.url))

    async def position(self, key: PrivateKey) -> Position | Judged:
        """Ask how far the receiver's books go; a clock that is off is replaced by the receiver's."""
        where, now = http.place(self.url), self.now()
        answer = await self._ask_position(key, now)
        if isinstance(answer, http.Answer) and answer.status == 401 and answer.date is not None:  # noqa: PLR2004  # HTTP
            off_ms = abs(answer.date - now)
            if off_ms > messages.SKEW_S * 1000:
                answer = await self._ask_position(key, answer.date)
        if not isinstance(answer, http.Answer) or answer.status != 200:  # noqa: PLR2004  # HTTP
            if isinstance(answer, http.Answer) and answer.status in (200, 201, 409):
                return _slowly(Verdict.NOT_UNDERSTOOD, f"{where} answered {answer.status}", _ADDRESS_HINT)
            return judge(answer, "", self.receiver, where=where)
        position = _position(_object(answer.body))
        return position or _slowly(
            Verdict.NOT_UNDERSTOOD, f"{where} gives no position that can be read", _ADDRESS_HINT
        )

    async def _ask_position(self, key: PrivateKey, now: Instant) -> http.Answer | TryAgain:
        bearer = messages.seal_bearer(self.agent, audience=self.url, now=now, key=key)
        return await http.exchange(
            self.session,
            f"{self.url}/v1/agents/{quote(self.agent)}/position",
            now=self.now,
            method="GET",
            headers={"Authorization": f"Bearer {bearer}"},
            tls=self.tls,
        )


async def enrol(
    session: ClientSession,
    invitation: Invitation,
    key: PrivateKey,
    *,
    now: Callable[[], Instant],
    tls: SSLContext | None = None,
) -> tuple[PublicKey, Enrolled] | Judged:
    """Make the receiver know this agent's key. The same invitation and key again is the same enrolment.

    Returns:
        The receiver's key, to be pinned, and its word; or why not. `refused`: the
        invitation is not good for this agent and key.
    """
    where = http.place(invitation.url)
    token = messages.seal_enrolment(invitation, key)
    answer = await _post(session, f"{invitation.url}/v1/agents", token, now, tls)
    if isinstance(answer, TryAgain):
        return Judged(Verdict.TRY_AGAIN, answer.why, not_before_s=answer.not_before_s)
    if answer.status == 403:  # noqa: PLR2004  # HTTP
        return Judged(Verdict.REFUSED, f"{where} refuses this invitation", _INVITATION_HINT)
    if answer.status != 201:  # noqa: PLR2004  # HTTP
        return _passing(answer, where)
    return _enrolled(_object(answer.body), invitation, key, where)


async def _post(
    session: ClientSession, url: str, token: str, now: Callable[[], Instant], tls: SSLContext | None
) -> http.Answer | TryAgain:
    return await http.exchange(
        session,
        url,
        now=now,
        body=token.encode(),
        headers={"Content-Type": "application/jose"},
        tls=tls,
    )


def _enrolled(
    says: dict[str, Any], invitation: Invitation, key: PrivateKey, where: str
) -> tuple[PublicKey, Enrolled] | Judged:
    """Believe an enrolment only if the key that the invitation names says so about us."""
    try:
        receiver = signature.public_key(says["key"] if isinstance(says.get("key"), dict) else {})
        if receiver.thumbprint != invitation.receiver:
            why = f"{where} has another key than the invitation names"
            return _slowly(Verdict.KEY_TROUBLE, why, _PIN_HINT)
        enrolled = messages.read_enrolled(str(says.get("proof")), receiver)
    except Unverified as error:
        return _slowly(Verdict.NOT_UNDERSTOOD, f"{where} gives no proof: {error}", _ADDRESS_HINT)
    about = (enrolled.agent, enrolled.key, enrolled.audience)
    if about != (invitation.agent, key.public.thumbprint, invitation.url):
        return _slowly(Verdict.NOT_UNDERSTOOD, f"{where} enrolled another agent or key", _ADDRESS_HINT)
    return receiver, enrolled


def _receipt(body: bytes | None, token: str, receiver: PublicKey, where: str) -> Judged:
    given = (body or b"").decode("ascii", "replace").strip()
    try:
        receipt = messages.read_receipt(given, receiver)
    except Unverified as error:
        return _slowly(
            Verdict.KEY_TROUBLE, f"{where} gives a receipt that proves nothing: {error}", _PIN_HINT
        )
    if receipt.sha256 != signature.sha256_hex(token):
        return _slowly(Verdict.NOT_UNDERSTOOD, f"{where} gives the receipt of another record", _ADDRESS_HINT)
    if receipt.status == "counted":
        return Judged(Verdict.COUNTED, f"{where} counted it", receipt=receipt, receipt_jws=given)
    return Judged(
        Verdict.REFUSED,
        f"{where} can't count it: {receipt.reason}",
        "mend the cause; a record that replaces it will be sealed",
        receipt=receipt,
        receipt_jws=given,
    )


def _contradiction(says: dict[str, Any], where: str) -> Judged:
    match says:
        case {"error": "sequence", "expected": int(expected), "last_sha256": str() | None as last}:
            why = f"{where} expects number {expected}"
            return Judged(Verdict.SEQUENCE, why, expected=expected, last_sha256=last)
        case {"error": "conflict"}:
            why = f"{where} has another record of this id or number"
            return Judged(Verdict.CONFLICT, why, _CHAIN_NEW)
        case {"error": "fork"}:
            why = f"{where} has another record before this one, or another chain"
            return Judged(Verdict.FORK, why, _CHAIN_NEW)
        case _:
            return _slowly(Verdict.NOT_UNDERSTOOD, f"{where} answered 409", _ADDRESS_HINT)


def _passing(answer: http.Answer, where: str) -> Judged:
    why = f"{where} answered {answer.status}"
    if answer.status in (408, 425, 429) or answer.status >= 500:  # noqa: PLR2004  # HTTP
        return Judged(Verdict.TRY_AGAIN, why, not_before_s=answer.retry_after_s)
    return _slowly(Verdict.NOT_UNDERSTOOD, why, _ADDRESS_HINT)


def _slowly(verdict: Verdict, why: str, hint: str) -> Judged:
    return Judged(verdict, why, hint, not_before_s=SLOWLY_S)


def _position(says: dict[str, Any]) -> Position | None:
    match says:
        case {"chain": None}:
            return Position(None)
        case {"chain": str(chain), "sequence": int(sequence), "sha256": str(sha256)}:
            return Position(chain, sequence, sha256)
        case _:
            return None


def _object(body: bytes | None) -> dict[str, Any]:
    """Return the JSON object of an answer; what is none is empty."""
    try:
        says = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return says if isinstance(says, dict) else {}
