"""Legs judged again after wrong rules: what the ledger knows decides, and what it doesn't is left alone."""

from __future__ import annotations

import re
from dataclasses import replace

from meter.model import Direction, Known, Leg
from meter.rejudging import rejudged
from meter.tenancy import PbxRules, Tenancy, TenantRules

KPN, KPN2, SHARED = "PJSIP/kpn", "PJSIP/kpn2", "PJSIP/shared"
NUMBERED = "PJSIP/0612345678"


def leg(row: int, endpoint: str, tenant: str | None, *, trunk: str | None = "", call: str = "") -> Leg:
    rule = endpoint if trunk == "" else trunk
    return Leg(row, "pbx1", f"id.{row}", endpoint, rule, Direction.IN, call or f"id.{row}", tenant,
               row * 1000, Known.SEEN, None, None, row * 1000 + 500, Known.SEEN)  # fmt: skip


def judge(*legs: Leg, trunks=(KPN, KPN2, SHARED), tenants=None, others=()):
    rules = Tenancy(
        [PbxRules("pbx1", trunks, re.compile("1[0-9]{2}"))],
        tenants or [TenantRules("acme", trunks=(KPN,)), TenantRules("globex", trunks=(KPN2,))],
        b"key",
    )
    return rejudged(legs, rules, {"pbx1": trunks}, others)


def whose(found) -> dict[int, tuple]:
    return {x.row: (x.tenant, x.trunk) for x in found.legs}


def test_a_trunk_that_was_forgotten():
    """An unclassified leg whose endpoint is a trunk by the present rules counts, for the tenant of that trunk; one that is an extension is left out."""
    found = judge(leg(1, KPN, None, trunk=None), leg(2, "PJSIP/101", None, trunk=None), leg(3, KPN, "acme"))

    assert whose(found) == {1: ("acme", KPN)}
    assert [x.row for x in found.dropped] == [2]


def test_a_trunk_of_the_wrong_tenant():
    """A leg goes to the tenant whose rule its own trunk meets now, even from one that has rules by what is not stored."""
    found = judge(leg(1, KPN2, "acme"), leg(2, KPN, "acme"), others=("acme",))

    assert whose(found) == {1: ("globex", KPN2)}


def test_what_is_not_stored_is_left_alone():
    """On a shared trunk a leg keeps the tenant that an account, context or number may have given; one without such rules is unassigned."""
    kept = judge(leg(1, SHARED, "acme"), others=("acme",))
    gone = judge(leg(1, SHARED, "acme"))

    assert (whose(kept), kept.kept) == ({}, 1)
    assert whose(gone) == {1: (None, SHARED)}


def test_the_other_legs_of_the_call_tell():
    """A leg on a shared trunk belongs to whom another leg of its call belongs; without one, to the default tenant."""
    default = [TenantRules("acme", trunks=(KPN,)), TenantRules("rest", default=True)]
    found = judge(leg(1, KPN, None), leg(2, SHARED, None, call="id.1"), leg(3, SHARED, None), tenants=default)

    assert whose(found) == {1: ("acme", KPN), 2: ("acme", SHARED), 3: ("rest", SHARED)}


def test_a_trunk_that_is_none_any_more():
    """A leg on what is no trunk by the present rules counts for nobody: it is unclassified."""
    assert whose(judge(leg(1, KPN2, "globex"), trunks=(KPN, SHARED))) == {1: (None, None)}


def test_a_hashed_endpoint_is_known_by_its_exact_rule_only():
    """An endpoint that is stored as a hash meets a rule that names it whole; otherwise it keeps what it has, and that is said."""
    rules = Tenancy([PbxRules("pbx1", ())], [], b"key")
    hashed = leg(1, rules.redacted(NUMBERED), None, trunk=None)
    tenants = [TenantRules("acme", trunks=(NUMBERED,))]

    found = judge(hashed, trunks=(NUMBERED,), tenants=tenants)
    assert whose(found) == {1: ("acme", NUMBERED)}
    assert found.legs[0].endpoint == hashed.endpoint
    assert judge(hashed).unreadable == 1
    assert whose(judge(hashed)) == {}


def test_legs_of_a_pbx_without_rules_stay():
    """A PBX that is no longer configured keeps its legs as they were judged."""
    assert whose(judge(replace(leg(1, "PJSIP/x", "acme"), pbx="old"))) == {}
