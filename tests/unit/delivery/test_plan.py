from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.courier import Refused, TryAgain
from delivery.plan import JITTER, LONGEST_ASKED_S, MAIL, PLANS, UPSTREAM, WEBHOOK, Plan, wait_s

FAILED = TryAgain("down")
DAY_S = 86_400


def waits(plan: Plan, most: int = 1000) -> list[float]:
    """Give the waits of a parcel that never arrives, without jitter."""
    found = []
    for attempt in range(1, most):
        wait = wait_s(plan, attempt=attempt, outcome=FAILED, random=lambda: 0)
        if wait is None:
            break
        found.append(wait)
    return found


def test_webhooks_follow_the_schedule_of_standard_webhooks() -> None:
    """Ten attempts, the last 75 h 35 min 5 s after the first, then the row is parked."""
    planned = waits(WEBHOOK)
    assert planned == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert sum(planned) == 75 * 3600 + 35 * 60 + 5


def test_mail_is_tried_for_five_days() -> None:
    """First within seconds, at least hourly later, parked after five days and not before four."""
    planned = waits(MAIL)
    assert planned[0] <= 30
    assert max(planned) == 3600
    assert 4 * DAY_S < sum(planned) <= 5.1 * DAY_S


def test_records_are_never_given_up() -> None:
    """However often it fails, there is a next attempt within a quarter of an hour."""
    assert len(waits(UPSTREAM)) == 999
    assert waits(UPSTREAM)[-1] <= 900


@pytest.mark.parametrize("lane", sorted(PLANS))
def test_waits_grow(lane: str) -> None:
    """No wait is shorter than the one before it."""
    assert list(PLANS[lane].waits_s) == sorted(PLANS[lane].waits_s)
    assert PLANS[lane].waits_s[0] > 0


def test_every_lane_has_a_plan() -> None:
    """The three lanes of the outbox are all planned for."""
    assert set(PLANS) == {"mail", "webhook", "upstream"}


@pytest.mark.parametrize("plan", list(PLANS.values()))
def test_a_refusal_is_parked_at_once(plan: Plan) -> None:
    """What will never be taken is not tried again, on any lane."""
    assert wait_s(plan, attempt=1, outcome=Refused("no"), random=lambda: 0) is None


def test_the_other_sides_wish_lengthens_but_never_shortens() -> None:
    """A longer wait that was asked for is obeyed; a shorter one is no leave to hurry."""
    assert wait_s(WEBHOOK, attempt=1, outcome=TryAgain("busy", 60), random=lambda: 0) == 60
    assert wait_s(WEBHOOK, attempt=2, outcome=TryAgain("busy", 60), random=lambda: 0) == 300


def test_a_slip_in_retry_after_does_not_silence_us() -> None:
    """Nobody can ask for more than a day."""
    assert (
        wait_s(WEBHOOK, attempt=1, outcome=TryAgain("busy", 1e12), random=lambda: 0)
        == LONGEST_ASKED_S
        == DAY_S
    )


@given(
    st.sampled_from(sorted(PLANS)),
    st.integers(1, 200),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 1e9),
)
def test_jitter_only_lengthens_and_by_little(
    lane: str, attempt: int, drawn: float, asked_s: float | None
) -> None:
    """Whatever is drawn, the wait lies between the planned one and a fifth more."""
    outcome = TryAgain("busy", asked_s)
    least = wait_s(PLANS[lane], attempt=attempt, outcome=outcome, random=lambda: 0)
    wait = wait_s(PLANS[lane], attempt=attempt, outcome=outcome, random=lambda: drawn)
    if least is None:
        assert wait is None
    else:
        assert wait is not None
        assert least <= wait <= least * (1 + JITTER)


def test_there_is_no_attempt_before_the_first() -> None:
    """An attempt numbered 0 is a bug of the caller, not a wait."""
    with pytest.raises(ValueError, match="number 1"):
        wait_s(MAIL, attempt=0, outcome=FAILED, random=lambda: 0)
