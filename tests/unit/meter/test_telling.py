"""What call records tell beside what polls saw: the same leg is one leg, and a call between two polls is found."""

from __future__ import annotations

import random
from dataclasses import replace

from meter.model import Direction, Known, Leg
from meter.telling import telling

LATE_MS = 6_000
SLACK_MS = 500


def polled(row: int, start: int, end: int, *, call: str = "7", trunk: str = "3CX/10000") -> Leg:
    """A leg as polls saw it."""
    return Leg(
        row, "cloud", f"{call}:from:{trunk}", trunk, trunk, Direction.IN, call, "sales",
        start, Known.SNAPSHOT, None, None, end, Known.SNAPSHOT,
    )  # fmt: skip


def told(row: int, start: int, end: int, *, call: str = "h1", trunk: str = "3CX/10000") -> Leg:
    """A leg as call records tell it; whose it is by them alone is another tenant's."""
    leg = replace(polled(row, start, end, call=call, trunk=trunk), leg=f"{call}:from", tenant="other")
    return replace(leg, start_known=Known.CALL_LOG, end_known=Known.CALL_LOG)


def test_a_told_leg_keeps_what_the_polls_had_settled() -> None:
    """Its life is the records', its tenant and its call are those that the polls saw."""
    found = telling([polled(1, 3_000, 9_000)], [told(-1, 1_400, 8_100)], LATE_MS, SLACK_MS)

    assert found.seen_as == {1: -1}
    assert found.legs == (replace(told(-1, 1_400, 8_100), tenant="sales", call="7"),)


def test_a_call_between_two_polls_is_nobody_elses() -> None:
    """A short call that no poll saw stands beside the long one, and takes nothing from it."""
    found = telling(
        [polled(1, 3_000, 60_000)],
        [told(-1, 1_500, 59_000), told(-2, 30_100, 31_200, call="h2")],
        LATE_MS,
        SLACK_MS,
    )

    assert found.seen_as == {1: -1}
    assert [(leg.row, leg.tenant) for leg in found.legs] == [(-1, "sales"), (-2, "other")]


def test_nothing_is_taken_across_trunks_directions_or_time() -> None:
    """Another trunk, another direction and another hour are other legs."""
    legs = [
        polled(1, 3_000, 9_000, trunk="3CX/10001"),
        replace(polled(2, 3_000, 9_000), direction=Direction.OUT),
        polled(3, 3_603_000, 3_609_000),
        polled(4, 3_000, 40_000),
    ]

    found = telling(legs, [told(-1, 1_400, 8_100)], LATE_MS, SLACK_MS)

    assert found.seen_as == {}


def test_a_leg_that_a_transfer_moved_to_another_call_is_one_leg() -> None:
    """Two stretches of one trunk leg that follow on at one poll are one told leg."""
    found = telling(
        [polled(1, 3_000, 21_000), polled(2, 21_000, 45_000, call="9")],
        [replace(told(-1, 1_400, 44_100), tenant="sales")],
        LATE_MS,
        SLACK_MS,
    )

    assert found.seen_as == {1: -1, 2: -1}


def test_one_answer_that_lacked_a_call_does_not_make_two_of_it() -> None:
    """The same id before and after is the same told leg, though a poll did not show it in between."""
    found = telling(
        [polled(1, 3_000, 21_000), polled(2, 23_000, 45_000)],
        [replace(told(-1, 1_400, 44_100), tenant="sales")],
        LATE_MS,
        SLACK_MS,
    )

    assert found.seen_as == {1: -1, 2: -1}


def test_a_call_between_two_polls_takes_nothing_from_its_neighbour() -> None:
    """What no poll saw is not what the next poll saw, of another tenant least of all."""
    other = replace(polled(1, 12_000, 14_000, call="8"), tenant="support")

    found = telling([other], [replace(told(-1, 10_000, 10_500), tenant="sales")], LATE_MS, SLACK_MS)

    assert found.seen_as == {}
    late = telling([replace(other, start=10_800)], [replace(told(-1, 10_000, 90_000))], LATE_MS, SLACK_MS)
    assert late.seen_as == {}


def test_many_calls_at_once_are_told_apart_one_by_one() -> None:
    """Every polled leg of a busy hour finds the leg that it is, or one whose life differs by less than a poll."""
    draw = random.Random(4)
    lives = []
    for number in range(400):
        start = draw.randrange(3_600_000)
        lives.append((number, start, start + 2_500 + draw.randrange(300_000)))
    seen = [
        polled(number + 1, -(-start // 2_000) * 2_000, -(-end // 2_000) * 2_000, call=str(number))
        for number, start, end in lives
    ]
    records = [told(-number - 1, start, end, call=f"h{number}") for number, start, end in lives]

    found = telling(seen, records, LATE_MS, SLACK_MS)

    assert len(found.seen_as) == len(set(found.seen_as.values())) == 400
    life = {record.row: record for record in records}
    apart = [
        max(
            abs(leg.start - life[found.seen_as[leg.row]].start),
            abs((leg.end or 0) - (life[found.seen_as[leg.row]].end or 0)),
        )
        for leg in seen
    ]
    assert max(apart) <= LATE_MS
