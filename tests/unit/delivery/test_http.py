from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.courier import Delivered, Refused, TryAgain
from delivery.http import Answer, outcome, place, retry_after_s

NOW = 1_794_475_867_000  # Thu, 12 Nov 2026 09:31:07 GMT


def expected(status: int) -> type[Delivered | TryAgain | Refused]:
    """Give the row of each status, said once more and in another way than the code says it."""
    if status in {408, 425, 429}:
        return TryAgain
    return {1: TryAgain, 2: Delivered, 3: Refused, 4: Refused, 5: TryAgain}[status // 100]


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_outcome(status: int) -> None:
    """Success is 2xx; what passes is tried again; what would be said every time is refused."""
    assert type(outcome(Answer(status), place="hooks.example")) is expected(status)


@pytest.mark.parametrize("status", [600, 799, 999])
def test_what_http_does_not_define_is_tried_again(status: int) -> None:
    """A status that means nothing parks nothing."""
    assert isinstance(outcome(Answer(status), place="hooks.example"), TryAgain)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_the_wait_asked_for_is_passed_on(status: int) -> None:
    """Whoever says "not now" and when is heard."""
    end = outcome(Answer(status, retry_after_s=120), place="hooks.example")
    assert end == TryAgain(f"hooks.example answered {status}", 120)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(301, "redirects"), (307, "redirects"), (410, "remove"), (401, "key"), (404, "address")],
)
def test_a_refusal_says_what_to_do(status: int, hint: str) -> None:
    """An operator who reads it knows the next step."""
    end = outcome(Answer(status), place="hooks.example")
    assert isinstance(end, Refused)
    assert hint in end.hint
    assert str(status) in end.why


@pytest.mark.parametrize("status", range(300, 500))
def test_every_refusal_has_a_hint(status: int) -> None:
    """No refusal leaves its reader alone."""
    end = outcome(Answer(status), place="hooks.example")
    assert not isinstance(end, Refused) or end.hint


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        (" 5 ", 5),
        ("Thu, 12 Nov 2026 09:33:07 GMT", 120),
        ("Thu, 12 Nov 2026 09:33:07 -0000", 120),
        ("Thursday, 12-Nov-26 09:33:07 GMT", 120),
        ("Thu Nov 12 09:33:07 2026", 120),
        ("Thu, 12 Nov 2026 08:00:00 GMT", 0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 40, None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    """Seconds and dates are obeyed, the past is now, and what can't be read asks for nothing."""
    assert retry_after_s(header, now=NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_breaks_the_reading(header: str) -> None:
    """Whatever a stranger writes there, it is a wait or nothing."""
    wait = retry_after_s(header, now=NOW)
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://meter:s3cret@hooks.example:8443/t0ken?key=k3y#part", "hooks.example:8443"),
        ("https://hooks.example/t0ken", "hooks.example"),
        ("https://[2001:db8::1]:99/x", "[2001:db8::1]:99"),
        ("https://hooks.example:port/s3cret", "an address that can't be read"),
        ("s3cret", "an address that can't be read"),
        ("https://[s3cret", "an address that can't be read"),
    ],
)
def test_only_host_and_port_of_an_address_are_shown(url: str, shown: str) -> None:
    """Passwords, tokens in the path and keys in the query stay inside."""
    assert place(url) == shown
