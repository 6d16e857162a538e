"""Section 10 of the definition: what the wall clock does, and what meter time makes of it."""

from __future__ import annotations

from meter.model import Instant


def test_meter_time_never_goes_back(clock) -> None:
    """After a backward step meter time stands still until the wall clock has passed it, then goes on."""
    began = clock.now()
    clock.advance(10_000)
    clock.step(-60_000)
    seen: list[Instant] = []
    for _ in range(70):
        clock.advance(1_000)
        seen.append(clock.now())
        assert clock.stands_still == (seen[-1] > clock.wall())

    assert seen == sorted(seen)
    assert seen[0] == began
    assert seen[-1] == clock.wall() == began + 20_000
    (step,) = clock.steps()
    assert (step.by_ms, step.repeated_ms) == (-60_000, 60_000)


def test_a_forward_step_is_noticed_once(clock) -> None:
    """A forward step is told with the last instant that was measured evenly, and repeats nothing."""
    clock.advance(5_000)
    before = clock.now()
    clock.step(90_000)
    clock.now()
    clock.now()

    (step,) = clock.steps()

    assert (step.before, step.at, step.by_ms, step.repeated_ms) == (before, before + 90_000, 90_000, 0)
    assert clock.steps() == []


def test_slewing_is_no_step(clock) -> None:
    """A clock that is nudged by less than a second is not said to step."""
    for _ in range(20):
        clock.advance(1_000)
        clock.step(900)
        clock.now()

    assert clock.steps() == []


def test_sleep_of_the_machine_is_no_step(clock) -> None:
    """Time in which the machine slept passes on both clocks."""
    clock.advance(8 * 3_600_000)
    clock.now()

    assert clock.steps() == []
    assert clock.moved_ms == 0


def test_how_far_it_moved_is_over_all_steps(clock) -> None:
    """Two steps of 40 minutes have moved the clock by more than an hour; back again, by nothing."""
    for _ in range(2):
        clock.step(40 * 60_000)
        clock.now()
    assert clock.moved_ms == 80 * 60_000

    clock.step(-80 * 60_000)
    clock.now()

    assert clock.moved_ms == 0


def test_what_stands_in_the_ledger_was(clock) -> None:
    """After a start with a wall clock behind the ledger, meter time stands still where the ledger ends."""
    stored = clock.now() + 3_600_000
    clock.not_before(stored)

    assert clock.now() == stored
    assert clock.stands_still
    clock.advance(3_600_001)
    assert not clock.stands_still
    assert clock.now() == stored + 1
