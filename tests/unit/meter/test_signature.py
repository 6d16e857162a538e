"""Signatures take Ed25519 JWS of the right sort and nothing else."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from meter import signature
from meter.signature import TYP_RECEIPT, TYP_RECORD, Unverified

PAYLOAD = b'{"a":1}'


@pytest.fixture(scope="module")
def key() -> signature.PrivateKey:
    return signature.new_key()


def segment(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: object, key: signature.PrivateKey, payload: bytes = PAYLOAD) -> str:
    """A token with any header at all whose Ed25519 signature is good."""
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(signature.sign_bytes(signed.encode(), key))}"


def header(key: signature.PrivateKey, **changes: object) -> dict[str, object]:
    return {"alg": "EdDSA", "kid": key.public.thumbprint, "typ": TYP_RECORD} | changes


def test_what_was_signed_comes_back(key):
    """The exact bytes that were signed are what verifying returns, up to a record's greatest size."""
    for payload in (PAYLOAD, b"\x00\xff", b"x" * 256 * 1024):
        token = signature.sign(payload, key, TYP_RECORD)

        assert signature.verify(token, [key.public], TYP_RECORD) == payload


def test_time_tells_nobody_which_keys_exist(key):
    """A token by a key that nobody knows costs a verification as a wrong signature by a known key does."""
    honest = signature.sign(PAYLOAD, key, TYP_RECORD)
    stranger = signature.sign(PAYLOAD, signature.new_key(), TYP_RECORD)
    wrong = f"{honest.rpartition('.')[0]}.{stranger.rpartition('.')[2]}"

    fastest_ns = dict.fromkeys((stranger, wrong), 1 << 60)
    for token in (stranger, wrong) * 200:  # by turns: a busy machine is slow for both
        began = time.thread_time_ns()
        with suppress(Unverified):
            signature.verify(token, [key.public], TYP_RECORD)
        fastest_ns[token] = min(fastest_ns[token], time.thread_time_ns() - began)

    # Without the verification it is a seventh or less.
    assert fastest_ns[stranger] > fastest_ns[wrong] * 0.4


def test_signing_twice_gives_the_same(key):
    """Sealing the same bytes again gives the same JWS, so a repetition is recognised by its hash."""
    assert signature.sign(PAYLOAD, key, TYP_RECORD) == signature.sign(PAYLOAD, key, TYP_RECORD)


def test_both_names_of_the_algorithm_are_read(key):
    """EdDSA (RFC 8037) and Ed25519 (RFC 9864) name the same algorithm, and both are taken."""
    for alg in ("EdDSA", "Ed25519"):
        assert signature.verify(forged(header(key, alg=alg), key), [key.public], TYP_RECORD) == PAYLOAD


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": "Ed448"},
        {"alg": ["EdDSA"]},
        {"alg": None},
        {"typ": TYP_RECEIPT},
        {"typ": "JWT"},
        {"kid": "ams-01"},
        {"kid": 7},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"jwk": {"kty": "OKP"}},
        {"jku": "https://example.org/keys"},
        {"zip": "DEF"},
    ],
)
def test_any_other_header_is_refused(key, changes):
    """A good signature does not help a header with another algorithm, sort, key name or member."""
    with pytest.raises(Unverified):
        signature.verify(forged(header(key, **changes), key), [key.public], TYP_RECORD)


@pytest.mark.parametrize("member", ["alg", "kid", "typ"])
def test_a_header_that_lacks_a_member_is_refused(key, member):
    """alg, kid and typ are all required."""
    members = header(key)
    del members[member]

    with pytest.raises(Unverified):
        signature.verify(forged(members, key), [key.public], TYP_RECORD)


def test_the_public_key_is_no_shared_secret(key):
    """HS256 keyed with the public key, the classical confusion, is refused."""
    for secret in (key.public.raw, key.public.json().encode()):
        token = jws.serialize_compact(
            {"alg": "HS256", "kid": key.public.thumbprint, "typ": TYP_RECORD},
            PAYLOAD,
            OctKey.import_key({"kty": "oct", "k": segment(secret)}),
        )

        with pytest.raises(Unverified):
            signature.verify(token, [key.public], TYP_RECORD)


def test_another_curve_is_refused():
    """P-256, Ed448 and X25519 keys are no keys here, whatever their file says."""
    other = [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed448"), OKPKey.generate_key("X25519")]

    for each in other:
        with pytest.raises(Unverified):
            signature.public_key(json.dumps(each.as_dict(private=False)))
        with pytest.raises(Unverified):
            signature.private_key(json.dumps(each.as_dict(private=True)))


def test_a_signature_of_another_curve_is_refused(key):
    """A token signed by ES256 under our key's name is refused."""
    token = jws.serialize_compact(
        {"alg": "ES256", "kid": key.public.thumbprint, "typ": TYP_RECORD},
        PAYLOAD,
        ECKey.generate_key("P-256"),
    )

    with pytest.raises(Unverified):
        signature.verify(token, [key.public], TYP_RECORD)


def test_an_unknown_key_is_refused(key):
    """A signature by a key that is not given proves nothing, and neither does one under a false name."""
    stranger = signature.new_key()

    with pytest.raises(Unverified, match="not known"):
        signature.verify(signature.sign(PAYLOAD, stranger, TYP_RECORD), [key.public], TYP_RECORD)
    with pytest.raises(Unverified, match="not known"):
        signature.verify(signature.sign(PAYLOAD, stranger, TYP_RECORD), [], TYP_RECORD)
    with pytest.raises(Unverified, match="wrong"):
        signature.verify(forged(header(key), stranger), [key.public], TYP_RECORD)


def test_the_decoy_opens_nothing():
    """The key that stands in for an unknown one, whose secret the RFC prints, is itself not accepted."""
    rfc8037 = signature.private_key(
        '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",'
        '"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    )

    with pytest.raises(Unverified, match="not known"):
        signature.verify(signature.sign(PAYLOAD, rfc8037, TYP_RECORD), [], TYP_RECORD)
    # RFC 8037, appendix A.3
    assert rfc8037.public.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "é.b.c", "\ud800", "a" * 2_000_000, "\n", "[]" * 300]
)
def test_anything_else_is_refused(key, token):
    """Text of any other form is refused with the one documented error."""
    with pytest.raises(Unverified):
        signature.verify(token, [key.public], TYP_RECORD)


def test_one_form_only(key):
    """Padding, line ends and other spellings of the same base64 are refused: one record, one hash."""
    token = signature.sign(b"ab", key, TYP_RECORD)
    head, payload, tail = token.split(".")

    for other in (token + "\n", f"{head}.{payload}=.{tail}", f"{head}.{payload[:-1]}J.{tail}"):
        with pytest.raises(Unverified):
            signature.verify(other, [key.public], TYP_RECORD)


def test_a_name_twice_in_the_header_is_refused(key):
    """A header that names its algorithm twice can be read in two ways, so it is not read."""
    twice = f'{{"alg":"none","alg":"EdDSA","kid":"{key.public.thumbprint}","typ":"{TYP_RECORD}"}}'

    with pytest.raises(Unverified):
        signature.verify(forged(twice.encode(), key), [key.public], TYP_RECORD)


def test_keys_survive_writing(key):
    """A key that was written and read signs the same; the public one verifies."""
    read = signature.private_key(key.secret_json())

    assert signature.sign(PAYLOAD, read, TYP_RECORD) == signature.sign(PAYLOAD, key, TYP_RECORD)
    assert signature.public_key(key.public.json()) == key.public


def test_a_private_key_is_not_shown(key):
    """Neither repr nor str of a key holds its secret."""
    secret = json.loads(key.secret_json())["d"]

    assert secret not in repr(key) + str(key) + repr(key.public) + key.public.json()


def test_keys_of_the_wrong_sort_are_refused(key):
    """A private key where the public one belongs is refused, and the other way round."""
    with pytest.raises(Unverified, match="private"):
        signature.public_key(key.secret_json())
    with pytest.raises(Unverified, match="public"):
        signature.private_key(key.public.json())


def test_a_key_whose_halves_differ_is_refused(key):
    """A key file with somebody else's public half is damaged."""
    mixed = json.loads(key.secret_json()) | {"x": signature.new_key().public.jwk["x"]}

    with pytest.raises(Unverified, match="public half"):
        signature.private_key(json.dumps(mixed))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "{", '{"kty":"OKP","crv":"Ed25519","x":7}', "[" * 100_000]
)
def test_what_is_no_key_is_refused(text):
    """Any other text as a key is refused with the one documented error."""
    for read in (signature.public_key, signature.private_key):
        with pytest.raises(Unverified):
            read(text)
