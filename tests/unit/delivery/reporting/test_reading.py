"""From a record to what a report says: whose capacity, which figures, and nothing where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting.reading import Contract, missing, tenant_usage
from delivery.reporting.sheet import sheet
from delivery.reporting.usage import Over, Proof, State, TenantUsage
from delivery.wording import wording
from meter.periods import Period
from meter.schema import UsageSummary, canonical_bytes, instant, validate

GOLDEN = Path(__file__).parents[3] / "golden"
NONE = {"from": "2026-10-31T23:00:00.000Z", "lines": None}
SIGNED = {"sha256": "ab" * 32, "kid": "k" * 43}


def golden(kind: str, **changes: object) -> UsageSummary:
    said = json.loads((GOLDEN / f"{kind}.json").read_text())
    for path, value in changes.items():
        *way, name = path.split("__")
        holder = said["data"]
        for step in way:
            holder = holder[step]
        holder[name] = value
    record = validate(canonical_bytes(said))
    assert isinstance(record, UsageSummary)
    return record


def usage(kind: str, contract: Contract | None = None, **changes: object) -> TenantUsage:
    return tenant_usage(golden(kind, **changes), contract=contract, **SIGNED)


def test_without_a_contract_the_record_speaks():
    """Without a contract capacity, overruns and package are the record's, and nothing differs."""
    record = golden("final")

    said = tenant_usage(record, **SIGNED)

    recorded = record.data.capacity
    assert (said.capacity, said.recorded_capacity, said.basis) == (recorded.lines, None, "channels")
    assert said.package == recorded.smallest_fitting_package
    assert said.over == Over(
        recorded.overruns.count,
        recorded.overruns.total_ms,
        tuple((instant(one.start), instant(one.end), one.peak) for one in recorded.overruns.worst),
    )
    assert said.proof == Proof(record.id, "ab" * 32, 1, "k" * 43)
    assert (said.peak.level, said.peak.ms, said.peak.source) == (17, 8120, "seen")


def test_a_contract_of_the_same_capacity_changes_nothing_but_the_packages():
    """A contract that agrees with the record leaves its overruns as they were counted."""
    said = usage("final", Contract(16, (20, 40)))

    assert said.over == usage("final").over
    assert (said.recorded_capacity, said.packages, said.package) == (None, (20, 40), 20)


@given(st.integers(0, 20))
def test_another_capacity_is_judged_by_the_time_at_each_level(capacity):
    """Against a capacity that the agent did not know the time above is exact, the number of overruns not known."""
    times = {0: 2_189_880_000, 1: 401_991_880, 17: 8120}

    said = usage("final", Contract(capacity))

    above = sum(ms for level, ms in times.items() if level > capacity)
    assert said.capacity == capacity
    if capacity != 16:
        assert said.recorded_capacity == 16
        assert said.over == Over(None if above else 0, above)
    assert said.over.ms == above


def test_a_contract_of_an_agent_without_a_capacity():
    """An agent that was configured without a capacity counted no overrun: that it was so is told, in the statement too."""
    found = usage(
        "final", Contract(4), capacity__lines=None, capacity__overruns=None, capacity__history=[NONE]
    )

    assert found.over == Over(None, 8120)
    assert (found.recorded_capacity, found.capacity_history) == (None, ((found.start, None),))
    assert any("none from 1 November" in note for note in sheet(found, wording("en")).notes)


def test_a_capacity_that_changed_in_the_period():
    """A contract's capacity counts for the whole period: overruns of a former one do not stand beside it; without a contract they do, and what was in force when is told."""
    changed = [{**NONE, "lines": 8}, {"from": "2026-11-15T00:00:00.000Z", "lines": 24}]
    record = {"capacity__lines": 24, "capacity__history": changed}

    agreed, alone = usage("final", Contract(24), **record), usage("final", **record)

    assert agreed.over == Over(0, 0)
    assert alone.over == usage("final").over
    assert agreed.capacity_history == alone.capacity_history
    assert [lines for _, lines in alone.capacity_history] == [8, 24]
    assert any("8 from" in note and "24 from" in note for note in sheet(alone, wording("en")).notes)
    assert usage("final").capacity_history == ()


def test_no_package_fits():
    """If no package of the contract takes the peak there is none, whatever the record advises."""
    assert usage("final", Contract(16, (4, 16))).package is None


def test_another_basis_than_the_records():
    """The contract's basis decides which level is billed; the record's overruns and advice are of another one."""
    said = usage("final", Contract(None, basis="answered"))

    assert (said.basis, said.peak.level, said.capacity) == ("answered", 14, 16)
    assert said.over == Over(0, 0)
    assert said.package is None


def test_what_was_not_seen_is_not_zero():
    """Nothing observed: no peak, no time over, no daily peaks of zero."""
    figures = golden("final").data.levels.channels.model_dump(mode="json", by_alias=True)
    nothing = dict.fromkeys(figures) | {"lower_bound": True}
    said = usage(
        "final",
        Contract(2),
        levels__channels=nothing,
        users__at_close=None,
        users__max=None,
    )

    assert (said.peak, said.over, said.level_ms, said.users, said.users_max) == (None, None, (), None, None)
    assert {high for _, high in said.daily_peaks} == {None}


def test_every_day_is_named():
    """Every local day up to `as_of` is there; one without observation has no peak."""
    said = usage("final")

    assert [day for day, _ in said.daily_peaks] == [f"2026-11-{day:02d}" for day in range(1, 31)]
    assert dict(said.daily_peaks)["2026-11-12"] == 17
    assert dict(said.daily_peaks)["2026-11-13"] is None


def test_an_unknown_zone_costs_only_the_unseen_days():
    """A zone that this machine does not know does not stop the report."""
    assert usage("final", period__timezone="Mars/Olympus").daily_peaks == (
        ("2026-11-01", 0),
        ("2026-11-12", 17),
    )


def test_states():
    """A final is final, a correction corrected with its revision, an interim open and never final."""
    assert usage("final").state is State.FINAL
    corrected = usage("correction")
    assert (corrected.state, corrected.proof.revision) == (
        State.CORRECTED,
        golden("correction").data.revision,
    )
    still_open = usage("interim")
    assert (still_open.state, still_open.proof.revision) == (State.OPEN, 0)
    assert still_open.as_of < still_open.end


def test_missing_has_no_figure():
    """A tenant of which nothing came has its contract and no figure at all."""
    said = missing("ams-01", "acme", Period("2026-11", 0, 60_000), "UTC", contract=Contract(16, (16, 24)))

    assert (said.state, said.name, said.capacity, said.packages) == (State.MISSING, "acme", 16, (16, 24))
    figures = ("as_of", "peak", "over", "package", "users", "users_max", "inbound", "expected_ms", "proof")
    assert all(getattr(said, name) is None for name in figures)
