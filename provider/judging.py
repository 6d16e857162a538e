"""What becomes of a record whose signature is good: the order of the tests, pure.

spec/upstream.md, "Judging a record": the very same bytes; the same id or number
with other bytes; the next number; the hash before; the content. A record that
passes all but the last takes its place in the chain and is refused there.

A number below the last that never came (the books were lost, and the agent offers
what it still has) may come later: it must fit between its neighbours.
"""

from __future__ import annotations

from meter import chain, messages
from meter.messages import Receipt
from meter.schema import KeyChange, UsageSummary
from meter.signature import PrivateKey, PublicKey, Unverified
from provider.books import Again, Arrival, Contradiction, KeyEnded, KeyState, Page, Ruling, Taken


def judge(arrival: Arrival, page: Page, receiver: PrivateKey) -> Ruling:
    """Return what becomes of a record.

    Args:
        arrival: The record.
        page: What the books hold about it, read under the lock of its agent.
        receiver: Signs the receipt.
    """
    late = page.last is not None and arrival.place.sequence < page.last
    if page.key is KeyState.WITHDRAWN:
        return KeyEnded()
    if page.receipt is not None:
        return Again(page.receipt)
    if page.key is KeyState.SUPERSEDED and not late:
        return KeyEnded()
    if page.occupied:
        return _contradicts("conflict", page)
    error = _misplaced(arrival, page)
    if error is not None:
        return error
    reason, new_key = _uncountable(arrival, page)
    return Taken(_receipt(arrival, reason, receiver), reason, new_key)


def _misplaced(arrival: Arrival, page: Page) -> Contradiction | None:
    """Say why a record does not stand where it says, or None."""
    place, head = arrival.place, page.head
    if head is not None and page.last is None and not page.rejoining:
        if place.sequence != 1:
            return Contradiction("sequence", 1, None)
        if place.continues != (head.chain, head.sequence, head.sha256):
            return _contradicts("fork", page)
    if head is not None and page.last is not None and place.sequence > page.last:
        if place.chain != head.chain:
            return _contradicts("fork", page)  # that chain has ended; a copy of the agent goes on with it
        if place.sequence != head.sequence + 1 and not page.rejoining:
            return _contradicts("sequence", page)
    if page.before not in (None, place.previous_sha256) or page.after not in (None, arrival.sha256):
        return _contradicts("fork", page)
    return None


def _uncountable(arrival: Arrival, page: Page) -> tuple[str | None, PublicKey | None]:
    """Return why the content can't be counted, or None, and the key that a key change brings in."""
    record = arrival.record
    if record is None:
        return arrival.reason or "unreadable", None
    if isinstance(record, KeyChange):
        try:
            new_key = chain.key_changed_to(record, arrival.kid)
        except Unverified as error:
            return str(error), None
        return ("the new key is known already", None) if page.new_key_known else (None, new_key)
    if record.subject not in page.tenants:
        return f"tenant not enrolled: {record.subject}", None
    return (_branches(record, page) if isinstance(record, UsageSummary) else None), None


def _branches(record: UsageSummary, page: Page) -> str | None:
    """Revisions never branch: one final, and corrections that follow one another."""
    data = record.data
    if data.kind == "interim":
        return None
    if page.revision_counted:
        return f"revision {data.revision} of this period is counted already: correct the newest one"
    if data.replaces is None or data.revision < page.newest or page.newest == 0:
        return None  # a first statement, or an older one that comes late
    if data.replaces.sha256 == page.newest_sha256 or page.replaces_refused:
        return None
    return "it replaces another revision than the newest one"


def _contradicts(error: str, page: Page) -> Contradiction:
    head = page.head
    return Contradiction(error, head.sequence + 1, head.sha256) if head else Contradiction(error, 1, None)


def _receipt(arrival: Arrival, reason: str | None, receiver: PrivateKey) -> str:
    place = arrival.place
    receipt = Receipt(
        agent=arrival.agent,
        chain=place.chain,
        id=place.id,
        sequence=place.sequence,
        sha256=arrival.sha256,
        status="counted" if reason is None else "refused",
        reason=reason,
        taken_at=arrival.at,
    )
    return messages.seal_receipt(receipt, receiver)
