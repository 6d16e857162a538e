"""The messages beside the record: what they prove, and when they don't."""

from __future__ import annotations

import json

import pytest

from meter import messages, signature
from meter.canonical import canonical_bytes
from meter.messages import Invitation
from meter.signature import Unverified

KEY, OTHER = signature.new_key(), signature.new_key()
NOW = 1_796_464_800_000
URL = "https://meter.provider.example/in"


@pytest.mark.parametrize("agent", ["ams-01", "a.b.c", "x"])
def test_an_invitation_survives_pasting(agent):
    """The line reads back the same, with blanks around it."""
    invitation = Invitation(URL, KEY.public.thumbprint, "t" * 32, agent)

    assert messages.read_invitation(f"  {invitation.line()}\n") == invitation
    assert "tttt" not in repr(invitation)


@pytest.mark.parametrize(
    "line",
    [
        "",
        URL,
        f"{URL}#pme1.x.y.z",
        f"{URL}#pme2.{'k' * 43}.{'t' * 32}.a",
        f"ftp://x#pme1.{'k' * 43}.{'t' * 32}.a",
    ],
)
def test_half_an_invitation_is_none(line):
    """A line that was not copied whole is refused, with what it should look like."""
    with pytest.raises(Unverified, match="copied whole"):
        messages.read_invitation(line)


def bearer(key: signature.PrivateKey = KEY, **changes: object) -> str:
    claims = {"sub": "ams-01", "aud": URL, "iat": NOW // 1000, "exp": NOW // 1000 + 300} | changes
    return signature.sign(canonical_bytes(claims), key, signature.TYP_POSITION)


def check(token: str, now: int = NOW) -> None:
    messages.check_bearer(token, [KEY.public], agent="ams-01", audience=URL, now=now)


def test_a_bearer_is_good_for_five_minutes():
    """The agent's own bearer is good now and for five minutes, and a minute of skew either way."""
    token = messages.seal_bearer("ams-01", audience=URL, now=NOW, key=KEY)

    for later_s in (-60, 0, 299, 359):
        check(token, NOW + later_s * 1000)
    for later_s in (-61, 360):
        with pytest.raises(Unverified):
            check(token, NOW + later_s * 1000)


@pytest.mark.parametrize(
    "token",
    [
        bearer(exp=NOW // 1000 + 301),
        bearer(exp=NOW // 1000 - 1),
        bearer(aud="https://elsewhere.example"),
        bearer(aud=[URL]),
        bearer(sub="ams-02"),
        bearer(iat="now"),
        bearer(iat=True),
        bearer(exp=None),
        bearer(key=OTHER),
        signature.sign(b"[]", KEY, signature.TYP_POSITION),
        signature.sign(b"{", KEY, signature.TYP_POSITION),
        signature.sign(
            signature.unverified_payload(bearer(), signature.TYP_POSITION), KEY, signature.TYP_RECORD
        ),
    ],
)
def test_another_bearer_is_refused(token):
    """Another audience, agent, key, sort, or a longer life: refused."""
    with pytest.raises(Unverified):
        check(token)


def test_an_enrolment_is_signed_by_the_key_that_it_names():
    """Nobody can ask for somebody else's key to be enrolled."""
    invitation = Invitation(URL, OTHER.public.thumbprint, "t" * 32, "ams-01")
    asks = messages.read_enrolment(messages.seal_enrolment(invitation, KEY))
    assert (asks.agent, asks.token, asks.audience, asks.key) == ("ams-01", "t" * 32, URL, KEY.public)

    says = {"agent": "ams-01", "token": "t" * 32, "audience": URL, "key": KEY.public.jwk}
    for wrong in (says, says | {"key": None}, says | {"key": {"kty": "oct", "k": "AA"}}):
        with pytest.raises(Unverified):
            messages.read_enrolment(signature.sign(canonical_bytes(wrong), OTHER, signature.TYP_ENROLMENT))


def test_one_sort_of_message_is_never_another():
    """A receipt is no enrolment and the other way round, although the key is right."""
    enrolled = messages.seal_enrolled(messages.Enrolled("a", "k", URL, ("acme",), NOW), KEY)
    receipt = messages.seal_receipt(messages.Receipt("a", "c", "i", 1, "h", "counted", None, NOW), KEY)

    assert messages.read_enrolled(enrolled, KEY.public).at == NOW
    assert messages.read_receipt(receipt, KEY.public).taken_at == NOW
    with pytest.raises(Unverified):
        messages.read_receipt(enrolled, KEY.public)
    with pytest.raises(Unverified):
        messages.read_enrolled(receipt, KEY.public)


@pytest.mark.parametrize(
    "change", [{"status": "maybe"}, {"sequence": "1"}, {"taken_at": "now"}, {"id": None}, {"reason": 7}]
)
def test_a_receipt_of_another_form_is_refused(change):
    """A receipt that lacks something proves nothing."""
    good = json.loads(
        signature.unverified_payload(
            messages.seal_receipt(messages.Receipt("a", "c", "i", 1, "h", "refused", "why", NOW), KEY),
            signature.TYP_RECEIPT,
        )
    )

    with pytest.raises(Unverified):
        messages.read_receipt(
            signature.sign(canonical_bytes(good | change), KEY, signature.TYP_RECEIPT), KEY.public
        )


def test_a_key_proof_is_for_one_change():
    """The new key's consent can't be moved to another agent, chain, place or old key."""
    place = {"agent": "a", "chain": "c", "sequence": 5, "old": KEY.public.thumbprint}
    proof = messages.seal_key_proof(**place, new=OTHER)

    messages.check_key_proof(proof, **place, new=OTHER.public)
    for change in ({"agent": "b"}, {"chain": "d"}, {"sequence": 6}, {"old": "x"}):
        with pytest.raises(Unverified):
            messages.check_key_proof(proof, **(place | change), new=OTHER.public)
    with pytest.raises(Unverified):
        messages.check_key_proof(proof, **place, new=KEY.public)
