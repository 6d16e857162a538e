"""A provider's month, as the reports of it say: a first revision, and what a second one says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from delivery.reporting.usage import (
    Bounds,
    Brand,
    Heap,
    Over,
    Peak,
    Proof,
    Report,
    State,
    TenantUsage,
    Traffic,
)

START, END = 1_793_487_600_000, 1_796_079_600_000  # November 2026 in Amsterdam
NONE = Traffic(None, None, None)


def usage(tenant: str, **changes: Any) -> TenantUsage:
    """Return one tenant's final, with changes."""
    whole = TenantUsage(
        agent="ams-01",
        tenant=tenant,
        name=f"{tenant.upper()} B.V.",
        state=State.FINAL,
        start=START,
        end=END,
        timezone="Europe/Amsterdam",
        as_of=END,
        partner="north",
        customer=f"C-{tenant}",
        peak=Peak(17, START + 1_000, 8_120, "seen", lower_bound=False),
        capacity=16,
        over=Over(1, 8_120, ()),
        users=42,
        users_max=44,
        inbound=Traffic(5_120, 812_000_000, 814_333),
        outbound=Traffic(1_000, 60_000_000, 60_400),
        unknown=Traffic(0, 0, 0),
        expected_ms=END - START,
        observed_ms=END - START - 120_000,
        proof=Proof(f"{tenant}/2026-11/final/1", "9f" * 32, 1, "k" * 43),
    )
    return replace(whole, **changes)


def missing(tenant: str, state: State = State.MISSING) -> TenantUsage:
    """Return a tenant of which nothing came."""
    return TenantUsage("ams-02", tenant, tenant, state, START, END, "Europe/Amsterdam", partner="south")


def report(*tenants: TenantUsage, revision: int = 1) -> Report:
    """Return the whole report of November 2026."""
    heap = Heap(len(tenants), 0, 0, 0, 0, 0, Bounds(0, 0), 0, NONE, NONE, NONE)
    return Report(
        "2026-11", START, END, "Europe/Amsterdam", revision, END + revision, None, "Provider", "en",
        Brand("Provider"), tenants, (), (), heap,
    )  # fmt: skip
