"""Version 1 of the record, pinned: bytes that were signed once verify and mean the same for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meter import schema, signature
from meter.chain import examine

HERE = Path(__file__).parent
NAMES = ["interim", "minute-series", "final", "correction", "key-change"]


@pytest.fixture(scope="module")
def key() -> signature.PrivateKey:
    return signature.private_key((HERE / "key.json").read_text())


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    return dict(zip(NAMES, (HERE / "chain.jws").read_text().split(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_signed_to_the_same_bytes(name, key, tokens):
    """Each kind of record, sealed today, is byte for byte what it was when version 1 was pinned."""
    payload = schema.canonical_bytes(json.loads((HERE / f"{name}.json").read_text()))

    assert signature.sign(payload, key, signature.TYP_RECORD) == tokens[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_record_still_counts(name, key, tokens):
    """Each pinned record verifies and is valid."""
    record = schema.validate(signature.verify(tokens[name], [key.public], signature.TYP_RECORD))

    assert record.data.kind == name


def test_the_chain_proves_itself(key, tokens):
    """The pinned chain is whole, and the key change leads to the next key."""
    verdict = examine(tokens.values(), [key.public])
    next_key = signature.private_key((HERE / "next-key.json").read_text()).public.thumbprint

    assert verdict.good, verdict.lines
    assert any(next_key in sentence for sentence in verdict.proved)


def test_the_published_schema_is_the_code():
    """record.schema.json says what the code says.

    After an intended addition write it anew:
    python -c "from meter import schema; open('meter/record.schema.json', 'w').write(schema.published())"
    """
    published = Path(schema.__file__).with_name("record.schema.json").read_text()

    assert published == schema.published()
