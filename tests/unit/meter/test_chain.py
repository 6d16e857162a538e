"""What a file of records proves, and what gives a forged one away."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest

from meter import signature
from meter.chain import examine
from meter.schema import canonical_bytes

_spec = util.spec_from_file_location("book", Path(__file__).parents[2] / "golden" / "book.py")
book_module = util.module_from_spec(_spec)
_spec.loader.exec_module(book_module)

KEY = signature.new_key()


def Book(chain: str = "c-1", continues: dict | None = None):  # noqa: N802  # reads as the class it makes
    return book_module.Book(KEY, chain, continues)


def problems(tokens: list[str]) -> str:
    verdict = examine(tokens, [KEY.public])
    assert not verdict.good
    assert verdict.lines[0].startswith("NOT PROVED")
    return "\n".join(verdict.problems)


def test_a_whole_chain_is_proved():
    """A chain as it was sealed is proved, and the words promise tamper-evident and no more."""
    verdict = examine(Book().sealed("acme", "globex", "acme"), [KEY.public])

    assert verdict.good
    assert verdict.records == 3
    assert "tamper-evident, no more" in verdict.lines[0]
    assert any("numbers 1 to 3 are complete" in sentence for sentence in verdict.proved)
    assert any("fed it the truth" in line for line in verdict.lines)


def test_one_record_is_proved_alone():
    """One record out of the middle proves itself and its number, no completeness."""
    verdict = examine([Book().sealed("acme", "globex", "acme")[1]], [KEY.public])

    assert verdict.good
    assert "chain c-1: this is number 2" in verdict.proved
    assert not any("complete" in sentence for sentence in verdict.proved)


def test_a_tenant_checks_his_own_chain_alone():
    """One tenant's records, without the others', are proved complete by their own numbers."""
    book = Book()
    book.sealed("acme", "globex", "acme", "globex", "acme")

    verdict = examine(book.tenants["acme"], [KEY.public])

    assert verdict.good
    assert any("tenant acme: numbers 1 to 3 are complete" in sentence for sentence in verdict.proved)
    assert not any(sentence.startswith("chain") for sentence in verdict.proved)


def test_a_tenant_sees_that_one_is_missing():
    """A record taken out of a tenant's own chain is named."""
    book = Book()
    book.sealed("acme", "globex", "acme", "acme")
    del book.tenants["acme"][1]

    assert "tenant acme: number 2 is missing" in problems(book.tenants["acme"])


def test_a_hole_is_named():
    """Records taken out of an agent's chain are named."""
    tokens = Book().sealed("acme", "globex", "acme", "globex", "acme")

    assert "chain c-1: numbers 2 to 3 are missing" in problems([tokens[0], *tokens[3:]])


def test_the_same_line_twice_counts_once():
    """A repetition is no fork, and empty lines are nothing."""
    tokens = Book().sealed("acme", "globex")

    verdict = examine([tokens[0], "", tokens[0] + "\n", tokens[1]], [KEY.public])

    assert verdict.good
    assert verdict.records == 2


def test_a_fork_is_named():
    """Two records with one number are a fork, although each signature is good."""
    one, two = Book(), Book()
    one.sealed("acme", "acme")
    two.sealed("acme")
    two.seal(edit=lambda record: record.update(time="2026-11-05T00:00:00.000Z"))

    assert "a fork" in problems([*one.tokens, two.tokens[1]])


def test_another_record_before_is_named():
    """A record that was made after another one than the file shows gives it away."""
    one, two = Book(), Book()
    one.seal()
    two.seal(edit=lambda record: record.update(time="2026-11-05T00:00:00.000Z"))
    two.seal()

    assert "number 2 names another record before it" in problems([one.tokens[0], two.tokens[1]])


def test_a_broken_tenant_link_is_named():
    """The tenant's own links are checked even where the agent's are good."""
    book = Book()
    book.sealed("acme")
    book.seal(edit=lambda record: record["data"].update(tenant_previous_sha256="0" * 64))

    assert "tenant acme: number 2 names another" in problems(book.tokens)


def test_a_stranger_is_named():
    """A record by another key is not proved."""
    book = Book()
    book.key = signature.new_key()

    assert "line 1: signed by a key that is not known" in problems(book.sealed("acme"))


@pytest.mark.parametrize("line", ["nonsense", "a.b.c", "é", "\x00", "{}"])
def test_any_text_gives_a_verdict(line):
    """Whatever stands in the file, the answer is a verdict."""
    assert "line 1" in problems([line])


def test_an_empty_file_proves_nothing():
    """No record is not a good chain."""
    assert "there is no record" in problems(["", " \n"])


def test_a_change_of_key_is_followed():
    """After a key change the new key is known without being given."""
    book = Book()
    new = signature.new_key()
    book.sealed("acme")
    book.change_key(new)
    book.sealed("acme", "globex")

    verdict = examine(book.tokens, [KEY.public])

    assert verdict.good, verdict.lines
    assert any("handed over" in sentence for sentence in verdict.proved)


def test_the_old_key_signs_nothing_after_a_change():
    """A record that the old key signed after it had handed over is named."""
    book = Book()
    book.sealed("acme")
    book.change_key(signature.new_key())
    book.key = KEY
    book.sealed("acme")

    assert "number 3 is signed by a key out of its time" in problems(book.tokens)


def test_a_change_without_the_new_keys_consent_is_named():
    """A key change whose proof the new key did not make for this very place leads nowhere."""
    book, other = Book(), Book()
    new = signature.new_key()
    book.sealed("acme")
    other.sealed("acme", "acme")
    proof = json.loads(signature.verify(other.change_key(new), [KEY.public], signature.TYP_RECORD))["data"][
        "proof"
    ]
    record = json.loads(signature.verify(book.change_key(new), [KEY.public], signature.TYP_RECORD))
    record["data"]["proof"] = proof
    book.tokens[-1] = signature.sign(canonical_bytes(record), KEY, signature.TYP_RECORD)

    assert "proof is for another change" in problems(book.tokens)


def test_a_new_chain_continues_the_former():
    """A new chain that names the former's last record is proved with it; one that names another is not."""
    old = Book()
    old.sealed("acme", "acme")
    last = old.last()

    good = Book("c-2", last)
    assert examine([*old.tokens, *good.sealed("acme")], [KEY.public]).good

    wrong = Book("c-2", last | {"sha256": "0" * 64})
    assert "continues from another record" in problems([*old.tokens, *wrong.sealed("acme")])

    old.sealed("acme")
    assert "goes on after" in problems([*old.tokens, *good.tokens])
