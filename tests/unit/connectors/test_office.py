"""The model of an office's day."""

import pytest

from connectors.office import DAY_S, Kind, Office, burst, busyness, day

OFFICE = Office(("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"), tuple(f"PJSIP/{n}" for n in range(100, 140)))


def test_the_same_seed_is_the_same_day():
    """A day is made again exactly from its seed, and another seed is another day."""
    assert day(OFFICE, 1) == day(OFFICE, 1)
    assert day(OFFICE, 1) != day(OFFICE, 2)


def test_a_day_has_two_humps_and_a_lunch():
    """The morning is busiest, lunch is calm between two humps, the night nearly silent."""
    morning, lunch, afternoon, night = (busyness(hour * 3600) for hour in (10.5, 12.8, 15, 3))
    assert morning > afternoon > lunch > 10 * night > 0


def test_a_day_brings_what_the_office_expects():
    """Calls come in order, within the day, about as many as planned, of every kind, some unanswered."""
    calls = day(OFFICE, 3)
    assert len(calls) == pytest.approx(OFFICE.calls, rel=0.12)
    assert [call.at_s for call in calls] == sorted(call.at_s for call in calls)
    assert all(0 <= call.at_s < DAY_S for call in calls)
    assert {call.kind for call in calls} == set(Kind)
    assert sum(call.talk_s is None for call in calls) / len(calls) == pytest.approx(
        1 - OFFICE.answered, abs=0.05
    )
    assert sum(call.talk_s or 0 for call in calls) / len(calls) == pytest.approx(
        OFFICE.talk_s * OFFICE.answered, rel=0.2
    )


def test_a_burst_is_up_all_at_once():
    """A burst's calls overlap for as long as was asked."""
    calls = burst(OFFICE, 1, at_s=36_000, lines=18, hold_s=600, trunk="PJSIP/trunk-kpn2")
    last_begins = max(call.at_s for call in calls)
    first_ends = min(call.at_s + call.ring_s + (call.talk_s or 0) for call in calls)
    assert len(calls) == 18
    assert first_ends - last_begins >= 590
    assert {call.trunk for call in calls} == {"PJSIP/trunk-kpn2"}
