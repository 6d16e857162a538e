"""Whatever the bytes: a flipped one breaks the signature, and nothing but the documented errors comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter import signature
from meter.canonical import MAX_INTEGER, canonical_bytes, exact
from meter.chain import examine
from meter.schema import Uncountable, place, validate
from meter.signature import TYP_RECORD, Unverified

GOLDEN = Path(__file__).parents[1] / "golden"
KEY = signature.private_key((GOLDEN / "key.json").read_text())
TOKENS = (GOLDEN / "chain.jws").read_text().split()
FINAL = (GOLDEN / "final.json").read_bytes()

exact_values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(token=st.sampled_from(TOKENS), data=st.data())
def test_a_flipped_byte_breaks_the_signature(token, data):
    """Any byte of a record changed to any other: it does not verify."""
    at = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.characters(max_codepoint=255).filter(lambda each: each != token[at]))

    with pytest.raises(Unverified):
        signature.verify(token[:at] + byte + token[at + 1 :], [KEY.public], TYP_RECORD)


@settings(deadline=None)
@given(token=st.sampled_from(TOKENS), at=st.integers(0, 6000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_content_breaks_the_signature(token, at, bit):
    """Any single bit of the payload, well encoded again, does not verify either."""
    head, _, tail = token.split(".")
    payload = bytearray(signature.unverified_payload(token, TYP_RECORD))
    payload[at % len(payload)] ^= 1 << bit
    altered = signature.sign(bytes(payload), KEY, TYP_RECORD).split(".")[1]

    with pytest.raises(Unverified):
        signature.verify(f"{head}.{altered}.{tail}", [KEY.public], TYP_RECORD)


@settings(deadline=None)
@given(
    st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{86}", fullmatch=True)
)
def test_any_text_is_refused_alike(text):
    """Any text as a record gives `Unverified`, and a verdict instead of an error from a whole file."""
    with pytest.raises(Unverified):
        signature.verify(text, [KEY.public], TYP_RECORD)

    assert not examine([text], [KEY.public]).good


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_countable_or_not(payload):
    """Any bytes as a record's content give `Uncountable`, never another error."""
    for read in (validate, place):
        with pytest.raises(Uncountable):
            read(payload)


@settings(deadline=None)
@given(at=st.integers(0, len(FINAL) - 1), put=st.binary(max_size=3))
def test_a_record_with_a_wound_is_countable_or_not(at, put):
    """A real record with bytes put over it gives a record or `Uncountable`, never another error."""
    payload = FINAL[:at] + put + FINAL[at + len(put) :]

    for read in (validate, place):
        try:
            read(payload)
        except Uncountable:
            continue


@settings(deadline=None)
@given(path=st.lists(st.integers(0, 30), min_size=1, max_size=6), value=exact_values)
def test_a_record_with_a_foreign_value_is_countable_or_not(path, value):
    """A real record with any JSON value in any place gives a record or `Uncountable`, never another error."""
    record = json.loads(FINAL)
    holder = record
    for step in path:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if isinstance(holder[key], dict | list):
            holder = holder[key]
        else:
            holder[key] = value
            break

    for read in (validate, place):
        try:
            read(json.dumps(record).encode())
        except Uncountable:
            continue


@settings(deadline=None)
@given(exact_values)
def test_canonical_text_is_exact(value):
    """What is written canonically reads back the same, and is written the same again."""
    text = canonical_bytes(value)

    assert exact(text) == value
    assert canonical_bytes(exact(text)) == text


@settings(deadline=None)
@given(exact_values)
def test_one_value_one_text(value):
    """The order in which names were put in does not show: the same content has the same bytes."""

    def turned(each: object) -> object:
        if isinstance(each, dict):
            return {name: turned(each[name]) for name in reversed(each)}
        return [turned(inner) for inner in each] if isinstance(each, list) else each

    assert canonical_bytes(turned(value)) == canonical_bytes(value)
