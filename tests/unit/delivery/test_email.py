from __future__ import annotations

import pytest

from delivery.address import is_address
from delivery.courier import Refused, TryAgain
from delivery.email import SLOWLY_S, MailServer, Step, outcome

ABOUT_THIS_MAIL = (Step.RECIPIENT, Step.MESSAGE)
ABOUT_US = (Step.GREETING, Step.LOGIN, Step.SENDER)
AUTHENTICATION = (530, 534, 535, 538)


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("code", range(400, 500))
def test_a_transient_no_is_tried_again_by_the_plan(step: Step, code: int) -> None:
    """4xx anywhere: greylisting, full disks and restarts pass."""
    end = outcome(step, code, "later", server="mx:25")
    assert isinstance(end, TryAgain)
    assert end.not_before_s is None


@pytest.mark.parametrize("step", ABOUT_THIS_MAIL)
@pytest.mark.parametrize("code", [code for code in range(500, 600) if code not in AUTHENTICATION])
def test_a_permanent_no_to_this_mail_is_a_refusal(step: Step, code: int) -> None:
    """5xx to the recipient or the message parks this one mail, with a hint."""
    end = outcome(step, code, "no", server="mx:25")
    assert isinstance(end, Refused)
    assert end.hint


@pytest.mark.parametrize("step", ABOUT_US)
@pytest.mark.parametrize("code", [500, 502, 535, 550, 553, 554, 571])
def test_a_permanent_no_to_us_is_tried_again_slowly(step: Step, code: int) -> None:
    """5xx to our host, login or sender concerns every mail; mending it mends all, so none is parked."""
    end = outcome(step, code, "no", server="mx:25")
    assert isinstance(end, TryAgain)
    assert end.not_before_s == SLOWLY_S


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("code", AUTHENTICATION)
def test_a_missing_or_wrong_login_is_never_the_mails_fault(step: Step, code: int) -> None:
    """RFC 4954's codes are about our login wherever they are said, and say so."""
    end = outcome(step, code, "", server="mx:25")
    assert isinstance(end, TryAgain)
    assert end.not_before_s == SLOWLY_S
    assert "username and password" in end.why


@pytest.mark.parametrize("code", [-1, 0, 199, 250, 399, 600, 999])
def test_a_code_that_means_nothing_parks_nothing(code: int) -> None:
    """A server that speaks nonsense may speak sense later."""
    assert isinstance(outcome(Step.MESSAGE, code, "?", server="mx:25"), TryAgain)


@pytest.mark.parametrize("text", ["noc@partner.example", "a.b+c@[192.0.2.1]", "o'neil@x"])
def test_plain_addresses_are_taken(text: str) -> None:
    """What people have as an address works."""
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noc",
        "a@b@c",
        "a b@c",
        "a@b>\r\nRCPT TO:<x@y",
        "Noc <noc@x>",
        "noc@x\n",
        "noç@x",
        '"a b"@c',
        "a@b,c@d",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    """Names, lists, line breaks and what SMTP can't carry are refused before a byte leaves."""
    assert not is_address(text)


def test_a_server_with_a_sender_that_cannot_be_used_is_not_made() -> None:
    """It is said when the configuration is read, not when the first mail fails."""
    with pytest.raises(ValueError, match="sender"):
        MailServer("mx", 25, sender="Meter <meter@partner.example>")


def test_a_server_keeps_its_secrets() -> None:
    """Printing it shows no login."""
    server = MailServer("mx", 25, sender="m@x", username="us3r", password="s3cret")
    assert "us3r" not in repr(server)
    assert "s3cret" not in repr(server)
