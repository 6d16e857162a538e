from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from delivery.webhook import public_key_line, signed_headers, webhook_id


def test_the_signature_is_that_of_the_reference_library() -> None:
    """The test vector of the Standard Webhooks reference library (Go, asymmetric) comes out the same."""
    key = Ed25519PrivateKey.from_private_bytes(
        base64.b64decode("VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
    )
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at=1_614_265_330_999, sign=key.sign
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==",
    }


def test_a_notices_id_is_its_webhook_id_as_people_read_it() -> None:
    """An id without anything odd in it is not disguised."""
    assert webhook_id("ams-01/acme/2026-11/notice/3") == "ams-01/acme/2026-11/notice/3"


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_webhook_ids_are_safe_and_distinct(one: str, other: str) -> None:
    """No full stop, nothing that a header can't hold, and never one name for two."""
    if not all(text.isascii() for text in (one, other)):
        one, other = ascii(one), ascii(other)
    assert "." not in webhook_id(one)
    assert webhook_id(one).isprintable()
    assert webhook_id(one).isascii()
    assert (webhook_id(one) == webhook_id(other)) == (one == other)


def test_the_public_key_is_shown_as_receivers_expect_it() -> None:
    """`whpk_` and the base64 of the 32 raw bytes; anything else is no such key."""
    assert public_key_line(bytes(32)) == "whpk_" + "A" * 43 + "="
    with pytest.raises(ValueError, match="32 bytes"):
        public_key_line(bytes(33))
