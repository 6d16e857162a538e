"""Holds a period's reports against what was added up by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from delivery.reporting.usage import Heap, TenantUsage
from provider.month.reports import Reports
from tests.fleet import naive

Key = tuple[str, str]


def same(
    reports: Reports,
    by_hand: Mapping[Key, naive.Tenant],
    partner_of: Mapping[Key, str | None],
    parents: Mapping[str, str | None],
) -> None:
    """Demand that every figure of every report is the one that was added up by hand.

    Args:
        reports: The reports.
        by_hand: Every tenant.
        partner_of: Whose it was at the period's end.
        parents: Every partner's, None: the provider.
    """
    below: dict[str | None, set[Key]] = {None: set(by_hand)}
    for key, partner in partner_of.items():
        above = partner
        while above is not None:
            below.setdefault(above, set()).add(key)
            above = parents[above]
    assert {report.partner for report in reports.partners} == below.keys() - {None}

    for report in (reports.whole, *reports.partners):
        mine = below[report.partner]
        assert {(one.agent, one.tenant) for one in report.tenants} == mine
        assert len(report.tenants) == len(mine)
        for one in report.tenants:
            judge_tenant(one, by_hand[one.agent, one.tenant], partner_of.get((one.agent, one.tenant)))
        judge_heap(report.heap, [by_hand[key] for key in mine])
        for customer in report.customers:
            judge_heap(customer.heap, [by_hand[key] for key in customer.of])
        assert {id_ for id_, _, _ in report.partners} == {
            other
            for other in below
            if other is not None and (report.partner is None or is_under(other, report.partner, parents))
        }
        for id_, _, heap in report.partners:
            assert heap == (reports.of(id_) or report).heap


def is_under(one: str | None, other: str, parents: Mapping[str, str | None]) -> bool:
    while one is not None and one != other:
        one = parents[one]
    return one == other


def judge_tenant(said: TenantUsage, true: naive.Tenant, partner: str | None) -> None:
    assert (said.state, said.partner, said.capacity) == (true.state, partner, true.lines)
    assert said.basis == true.billed
    if true.summary is None:
        assert (said.peak, said.users, said.proof, said.over, said.observed_ms) == (None,) * 5
        return
    data = true.summary
    assert (None if said.peak is None else said.peak.level) == true.peak
    assert (said.users, said.users_max) == (true.users, data["users"]["max"])
    assert (None if said.over is None else said.over.ms) == true.over_ms()
    assert (said.expected_ms, said.observed_ms) == (
        data["coverage"]["expected_ms"],
        data["coverage"]["observed_ms"],
    )
    assert {day: high for day, high in said.daily_peaks if high is not None} == (
        true.level["daily_peaks"] or {}
    )
    for flow, direction in ((said.inbound, "in"), (said.outbound, "out"), (said.unknown, "unknown")):
        assert flow.billable_s == data["traffic"][direction]["billable_s"]
    assert said.as_of == naive.ms(data["as_of"])


def judge_heap(said: Heap, those: list[naive.Tenant]) -> None:
    assert stated(said) == naive.heap(those)


def stated(heap: Heap) -> dict[str, Any]:
    found = dataclasses.asdict(heap)
    found["peak"] = None if heap.peak is None else (heap.peak.at_least, heap.peak.at_most)
    found["traffic"] = {
        "in": found.pop("inbound"),
        "out": found.pop("outbound"),
        "unknown": found.pop("unknown"),
    }
    return found
