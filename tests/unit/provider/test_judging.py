"""The order of the tests that a record meets, row by row, without a server."""

from __future__ import annotations

from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest

from meter import messages, schema, signature
from provider.books import Again, Arrival, Contradiction, Head, KeyEnded, KeyState, Page, Taken
from provider.judging import judge

_spec = util.spec_from_file_location("book", Path(__file__).parents[2] / "golden" / "book.py")
book_module = util.module_from_spec(_spec)
_spec.loader.exec_module(book_module)

KEY, RECEIVER = signature.new_key(), signature.new_key()
EMPTY = Page(frozenset({"acme", "globex"}), KeyState.ACTIVE, rejoining=True)


def arrival(token: str, key: signature.PrivateKey = KEY) -> Arrival:
    payload = signature.verify(token, [key.public], signature.TYP_RECORD)
    try:
        record, reason = schema.validate(payload), None
    except schema.Uncountable as error:
        record, reason = None, str(error)
    return Arrival(
        agent="ams-01",
        kid=key.public.thumbprint,
        token=token,
        sha256=signature.sha256_hex(token),
        place=schema.place(payload),
        record=record,
        reason=reason,
        at=1_000,
    )


@pytest.fixture
def book():
    return book_module.Book(KEY)


def page(book, taken: int) -> Page:
    """The books when they hold the first `taken` records of a chain."""
    sha256 = signature.sha256_hex(book.tokens[taken - 1])
    return replace(EMPTY, rejoining=False, head=Head("c-1", taken, sha256), last=taken)


def test_the_next_record_is_counted(book):
    """A record that follows is counted, and the receipt says so of this very record."""
    book.sealed("acme", "globex")
    second = arrival(book.tokens[1])

    ruling = judge(second, replace(page(book, 1), before=signature.sha256_hex(book.tokens[0])), RECEIVER)

    assert isinstance(ruling, Taken)
    receipt = messages.read_receipt(ruling.receipt, RECEIVER.public)
    assert (receipt.status, receipt.reason, receipt.sha256, receipt.taken_at) == (
        "counted",
        None,
        second.sha256,
        1_000,
    )
    assert (receipt.agent, receipt.chain, receipt.sequence) == ("ams-01", "c-1", 2)


def test_the_same_bytes_get_the_receipt_of_then(book):
    """A repetition is answered before its number or key is looked at, unless the key is withdrawn."""
    again = arrival(book.seal())
    known = replace(page(book, 1), receipt="then", occupied=True, key=KeyState.SUPERSEDED)

    assert judge(again, known, RECEIVER) == Again("then")
    assert judge(again, replace(known, key=KeyState.WITHDRAWN), RECEIVER) == KeyEnded()


def test_a_conflict_is_said_before_a_wrong_number(book):
    """The same id or number with other bytes is a conflict, whatever else is wrong with it."""
    book.sealed("acme", "acme", "acme")

    ruling = judge(arrival(book.tokens[2]), replace(page(book, 1), occupied=True, before="0" * 64), RECEIVER)

    assert ruling == Contradiction("conflict", 2, signature.sha256_hex(book.tokens[0]))


def test_a_number_too_far_is_told_what_comes_next(book):
    """A record ahead of its turn learns the number that is expected."""
    book.sealed("acme", "acme", "acme")

    ruling = judge(arrival(book.tokens[2]), page(book, 1), RECEIVER)

    assert ruling == Contradiction("sequence", 2, signature.sha256_hex(book.tokens[0]))


def test_another_record_before_is_a_fork(book):
    """The next number after another record than ours is a fork."""
    book.sealed("acme", "acme")

    assert judge(arrival(book.tokens[1]), replace(page(book, 1), before="0" * 64), RECEIVER).error == "fork"


def test_uncountable_content_takes_its_place(book):
    """Content that can't be counted is taken, refused, with a reason in the receipt."""
    wrong = [
        book.seal("stranger"),
        book.seal(edit=lambda record: record["data"].update(definition="pbx-meter/9")),
        book.seal(edit=lambda record: record.update(type="pbx-meter.later.v1")),
    ]
    reasons = ["tenant not enrolled", "definition", "unknown kind"]

    for token, reason in zip(wrong, reasons, strict=True):
        ruling = judge(arrival(token), EMPTY, RECEIVER)
        receipt = messages.read_receipt(ruling.receipt, RECEIVER.public)

        assert reason in ruling.reason
        assert (receipt.status, receipt.reason) == ("refused", ruling.reason)


def test_a_superseded_key_signs_nothing_new(book):
    """An older key's next record is a key problem; a record that comes late and fits is taken."""
    book.sealed("acme", "acme", "acme")
    old = replace(page(book, 2), key=KeyState.SUPERSEDED)

    assert judge(arrival(book.tokens[2]), old, RECEIVER) == KeyEnded()

    late = replace(page(book, 3), key=KeyState.SUPERSEDED, after=signature.sha256_hex(book.tokens[1]))
    assert isinstance(judge(arrival(book.tokens[1]), late, RECEIVER), Taken)


def test_a_late_record_must_fit_its_neighbours(book):
    """A missing record that comes later is taken only between the neighbours that name it."""
    book.sealed("acme", "acme", "acme")
    fits = replace(
        page(book, 3), before=signature.sha256_hex(book.tokens[0]), after=signature.sha256_hex(book.tokens[1])
    )

    assert isinstance(judge(arrival(book.tokens[1]), fits, RECEIVER), Taken)
    assert judge(arrival(book.tokens[1]), replace(fits, after="0" * 64), RECEIVER).error == "fork"
    assert judge(arrival(book.tokens[1]), replace(fits, before="0" * 64), RECEIVER).error == "fork"


def test_a_new_chain_must_name_where_the_former_ended(book):
    """A new chain is taken if its first record names our last one; else it is a fork."""
    book.sealed("acme", "acme")
    ours = replace(page(book, 2), last=None)

    good = book_module.Book(KEY, "c-2", book.last())
    good.sealed("acme", "acme")
    assert isinstance(judge(arrival(good.tokens[0]), ours, RECEIVER), Taken)
    assert judge(arrival(good.tokens[1]), ours, RECEIVER) == Contradiction("sequence", 1, None)

    for continues in (None, book.last() | {"sequence": 1}, book.last() | {"sha256": "0" * 64}):
        wrong = book_module.Book(KEY, "c-2", continues)
        assert judge(arrival(wrong.seal()), ours, RECEIVER).error == "fork"


def test_an_ended_chain_does_not_go_on(book):
    """Once a new chain has taken over, the next number of the old one is a fork: a copy is running."""
    book.sealed("acme", "acme")

    ruling = judge(
        arrival(book.tokens[1]),
        replace(EMPTY, rejoining=False, head=Head("c-2", 5, "a" * 64), last=1),
        RECEIVER,
    )

    assert ruling.error == "fork"


def test_books_that_were_lost_start_in_the_middle(book):
    """After a fresh token a chain is taken from any number on, and from any chain."""
    book.sealed("acme", "acme", "acme")

    assert isinstance(judge(arrival(book.tokens[2]), EMPTY, RECEIVER), Taken)
    assert isinstance(judge(arrival(book.tokens[2]), replace(page(book, 1), rejoining=True), RECEIVER), Taken)
    assert isinstance(
        judge(arrival(book.tokens[2]), replace(page(book, 1), rejoining=True, last=None), RECEIVER), Taken
    )


def test_revisions_never_branch(book):
    """One final counts per period, and a correction must replace the newest revision or one that was refused."""
    final = book.seal(kind="final")
    counted = replace(EMPTY, newest=1, newest_sha256=signature.sha256_hex(final))
    follows, branches = arrival(book.correct(final, 2)), arrival(book.correct("another", 3))

    assert judge(arrival(final), EMPTY, RECEIVER).reason is None
    assert (
        "counted already" in judge(arrival(final), replace(counted, revision_counted=True), RECEIVER).reason
    )
    assert judge(follows, counted, RECEIVER).reason is None
    assert "another revision" in judge(branches, counted, RECEIVER).reason
    assert judge(branches, replace(counted, replaces_refused=True), RECEIVER).reason is None
    assert judge(branches, EMPTY, RECEIVER).reason is None


def test_a_key_change_brings_in_the_new_key(book):
    """A good key change names the key to know; one by another signer, or to a known key, is refused."""
    new = signature.new_key()
    book.seal()
    change = arrival(book.change_key(new))

    assert judge(change, EMPTY, RECEIVER).new_key == new.public
    assert judge(replace(change, kid="x" * 43), EMPTY, RECEIVER).new_key is None
    assert "known already" in judge(change, replace(EMPTY, new_key_known=True), RECEIVER).reason
