"""What the agent makes of each answer, without a network: the table, row for row."""

from __future__ import annotations

import json

import pytest

from agent.upstream import SLOWLY_S, Step, Verdict, judge
from delivery.courier import TryAgain
from delivery.http import Answer
from meter import messages, signature
from meter.messages import Receipt

AGENT, RECEIVER = signature.new_key(), signature.new_key()
TOKEN = signature.sign(b"{}", AGENT, signature.TYP_RECORD)


def receipt(token: str = TOKEN, status: str = "counted", key: signature.PrivateKey = RECEIVER) -> bytes:
    says = Receipt("ams-01", "c-1", "acme/1", 1, signature.sha256_hex(token), status, None, 1_000)
    return messages.seal_receipt(says, key).encode()


def judged(status: int, body: bytes | None = b"", **more: float):
    return judge(Answer(status, body, **more), TOKEN, RECEIVER.public, where="receiver:443")


@pytest.mark.parametrize("status", [200, 201])
def test_a_receipt_settles(status):
    """A good receipt is kept and the next record goes, whether it was counted or refused."""
    for says, verdict in (("counted", Verdict.COUNTED), ("refused", Verdict.REFUSED)):
        answer = judged(status, receipt(status=says))

        assert (answer.verdict, answer.step) == (verdict, Step.GO_ON)
        assert answer.receipt_jws == receipt(status=says).decode()
        assert bool(answer.hint) is (verdict is Verdict.REFUSED)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"ok",
        b"\xff",
        b"<html>log in to the hotel's network</html>",
        receipt(key=AGENT),
        receipt("a.b.c"),
    ],
)
def test_no_receipt_no_delivery(body):
    """A 200 without a receipt for this record by the pinned key delivers nothing."""
    answer = judged(200, body)

    assert answer.step is Step.RETRY_SLOWLY
    assert answer.receipt is None
    assert answer.hint


@pytest.mark.parametrize(
    ("status", "says", "verdict", "step"),
    [
        (401, {"error": "key"}, Verdict.KEY_TROUBLE, Step.RETRY_SLOWLY),
        (409, {"error": "conflict"}, Verdict.CONFLICT, Step.STOP_SEALING),
        (409, {"error": "fork"}, Verdict.FORK, Step.STOP_SEALING),
        (409, {"error": "sequence", "expected": 7, "last_sha256": "a"}, Verdict.SEQUENCE, Step.SEND_FROM),
        (409, {"error": "sequence", "expected": 1, "last_sha256": None}, Verdict.SEQUENCE, Step.SEND_FROM),
        (409, {"error": "sequence", "expected": "7"}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (409, {"error": "what?"}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (409, [], Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (413, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (422, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (301, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (204, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (400, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (403, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (404, {}, Verdict.NOT_UNDERSTOOD, Step.RETRY_SLOWLY),
        (408, {}, Verdict.TRY_AGAIN, Step.RETRY),
        (425, {}, Verdict.TRY_AGAIN, Step.RETRY),
        (429, {}, Verdict.TRY_AGAIN, Step.RETRY),
        (500, {}, Verdict.TRY_AGAIN, Step.RETRY),
        (503, {}, Verdict.TRY_AGAIN, Step.RETRY),
        (599, {}, Verdict.TRY_AGAIN, Step.RETRY),
    ],
)
def test_each_row_of_the_table(status, says, verdict, step):
    """Every other answer leads to its one step, and what needs a person has a hint and is slow."""
    answer = judged(status, json.dumps(says).encode())

    assert (answer.verdict, answer.step) == (verdict, step)
    assert bool(answer.hint) is (step in (Step.RETRY_SLOWLY, Step.STOP_SEALING))
    assert (answer.not_before_s == SLOWLY_S) is (step is Step.RETRY_SLOWLY)


def test_what_the_receiver_asks_for_is_obeyed():
    """`Retry-After` and the number that is expected are handed on."""
    assert judged(503, retry_after_s=17.0).not_before_s == 17.0
    answer = judged(409, b'{"error":"sequence","expected":7,"last_sha256":"ab"}')
    assert (answer.expected, answer.last_sha256) == (7, "ab")


def test_network_trouble_is_tried_again():
    """No answer at all is tried again with the plan's waits."""
    answer = judge(TryAgain("receiver:443 can't be reached"), TOKEN, RECEIVER.public, where="receiver:443")

    assert (answer.verdict, answer.step) == (Verdict.TRY_AGAIN, Step.RETRY)
