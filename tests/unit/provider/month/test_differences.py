"""What a later revision states otherwise."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting.usage import Difference, Over, Peak, State, TenantUsage
from provider.month.differences import differences
from tests.unit.delivery.reporting.reports import tenants

ACME = TenantUsage(
    "ams-01",
    "acme",
    "ACME",
    State.FINAL,
    0,
    60_000,
    "UTC",
    peak=Peak(17, 5, 100, "seen", False),
    over=Over(1, 100, ((5, 105, 17),)),
    daily_peaks=(("2026-11-01", 17), ("2026-11-02", None)),
)


@given(st.lists(tenants, max_size=3))
def test_the_same_has_no_difference(those):
    """What states the same differs in nothing, whatever it states."""
    assert differences(those, list(reversed(those))) == () or len({(t.agent, t.tenant) for t in those}) < len(
        those
    )


@given(tenants, tenants)
def test_what_is_not_the_same_has_one(one, other):
    """Two statements about a tenant differ in something exactly if they are not the same."""
    other = replace(other, agent=one.agent, tenant=one.tenant)

    assert bool(differences([one], [other])) is (one != other)


def test_figures_are_named():
    """A figure inside another is named by both, a list is one figure, and what is not known is None."""
    later = replace(
        ACME,
        state=State.CORRECTED,
        peak=replace(ACME.peak, level=18, lower_bound=True),
        over=None,
        daily_peaks=(("2026-11-01", 18), ("2026-11-02", 2)),
    )

    assert differences([ACME], [later]) == tuple(
        Difference("ams-01", "acme", *rest)
        for rest in [
            ("state", "final", "corrected"),
            ("peak.level", "17", "18"),
            ("peak.lower_bound", "false", "true"),
            ("daily_peaks", "2026-11-01:17, 2026-11-02:?", "2026-11-01:18, 2026-11-02:2"),
            ("over.count", "1", None),
            ("over.ms", "100", None),
            ("over.worst", "5:105:17", None),
        ]
    )


def test_a_tenant_that_is_new_or_gone():
    """A tenant in one of the two only differs in all that is known of it."""
    assert {d.what for d in differences([], [ACME]) if d.before is None} >= {"state", "name", "peak.level"}
    assert all(d.after is None for d in differences([ACME], []))
