"""Whose a leg is, and what an endpoint is: the criteria of the definition, in its order."""

from __future__ import annotations

import re

import pytest

from meter.tenancy import Claims, Kind, PbxRules, Tenancy, TenantRules, bare

KEY = b"a key of this agent"
TRUNKS = ("PJSIP/kpn", "PJSIP/ziggo-*", "IAX2/office", "PJSIP/shared")


def rules(*tenants: TenantRules, trunks: tuple[str, ...] = TRUNKS, key: bytes = KEY) -> Tenancy:
    pbxs = [
        PbxRules("one", trunks, re.compile("1[0-9]{2}"), re.compile("19[0-9]")),
        PbxRules("two", ("PJSIP/kpn", "SIP/two"), re.compile("2[0-9]{2}")),
    ]
    return Tenancy(pbxs, tenants, key)


@pytest.mark.parametrize(
    ("endpoint", "kind", "rule"),
    [
        ("PJSIP/kpn", Kind.TRUNK, "PJSIP/kpn"),
        ("PJSIP/kpn2", Kind.UNCLASSIFIED, None),
        ("PJSIP/kp", Kind.UNCLASSIFIED, None),
        ("PJSIP/KPN", Kind.UNCLASSIFIED, None),
        ("SIP/kpn", Kind.UNCLASSIFIED, None),
        ("kpn", Kind.UNCLASSIFIED, None),
        ("PJSIP/ziggo-", Kind.TRUNK, "PJSIP/ziggo-*"),
        ("PJSIP/ziggo-north", Kind.TRUNK, "PJSIP/ziggo-*"),
        ("PJSIP/ziggo", Kind.UNCLASSIFIED, None),
        ("XPJSIP/ziggo-1", Kind.UNCLASSIFIED, None),
        ("PJSIP/101", Kind.EXTENSION, None),
        ("SIP/199", Kind.EXTENSION, None),
        ("PJSIP/1010", Kind.UNCLASSIFIED, None),
        ("PJSIP/x101", Kind.UNCLASSIFIED, None),
        ("PJSIP/201", Kind.UNCLASSIFIED, None),  # an extension of the other PBX
    ],
)
def test_an_endpoint_is_judged_in_full(endpoint: str, kind: Kind, rule: str | None) -> None:
    """A trunk is met exactly or by a whole glob, an extension in full: `kpn` never takes `kpn2`."""
    found = rules().judge("one", endpoint)

    assert (found.kind, found.rule) == (kind, rule)


def test_a_trunk_rule_wins_over_the_extension_rule() -> None:
    """An endpoint that both rules take is a trunk; on the other PBX, without that trunk, it is not."""
    tenancy = rules(trunks=("PJSIP/1*",))

    assert tenancy.judge("one", "PJSIP/101").kind is Kind.TRUNK
    assert rules().judge("one", "PJSIP/101").kind is Kind.EXTENSION


@pytest.mark.parametrize(
    "order", [("PJSIP/k*", "PJSIP/kpn"), ("PJSIP/kpn", "PJSIP/k*"), ("PJSIP/k?n", "PJSIP/k*")]
)
def test_the_first_trunk_rule_in_order_is_met(order: tuple[str, str]) -> None:
    """Of two trunk rules that take an endpoint the first one configured is the one that is met, glob or not."""
    assert rules(trunks=order).judge("one", "PJSIP/kpn").rule == order[0]


def test_digit_runs_are_hashed_with_a_key() -> None:
    """Six or more digits in a name that is not configured are replaced; without the key nobody can look them up."""
    tenancy = rules(trunks=("DAHDI/*", "PJSIP/0201234567"))

    shown = tenancy.judge("one", "PJSIP/0612345678-x").shown
    assert re.fullmatch(r"PJSIP/#[0-9a-f]{8}-x", shown)
    assert shown == rules().judge("one", "PJSIP/0612345678-x").shown
    assert shown != rules(key=b"another").judge("one", "PJSIP/0612345678-x").shown
    assert shown != tenancy.judge("one", "PJSIP/0612345679-x").shown
    assert tenancy.judge("one", "PJSIP/12345").shown == "PJSIP/12345"
    by_glob = tenancy.judge("one", "DAHDI/i1/0612345678")
    assert by_glob.kind is Kind.TRUNK
    assert "0612345678" not in by_glob.shown
    assert tenancy.judge("one", "PJSIP/0201234567").shown == "PJSIP/0201234567"  # configured to the letter


def test_judgements_are_remembered_within_bounds() -> None:
    """However many names a PBX makes up, a bounded number is remembered, and the answer stays the same."""
    tenancy = rules()
    first = tenancy.judge("one", "DAHDI/i1/000000")
    for number in range(2 * Tenancy.REMEMBERED):
        tenancy.judge("one", f"DAHDI/i1/{number:06}")

    assert len(tenancy._judged) <= Tenancy.REMEMBERED
    assert tenancy.judge("one", "DAHDI/i1/000000") == first


BY_TRUNK = TenantRules("by-trunk", trunks=("PJSIP/kpn",))
BY_ACCOUNT = TenantRules("by-account", accounts=("acc-*",))
BY_CONTEXT = TenantRules("by-context", contexts=("from-acme",))
BY_DID = TenantRules("by-did", dids=("31201234*",))
EVERYTHING = Claims(trunk="PJSIP/kpn", account="acc-1", context="from-acme", did="31201234567")


def test_criteria_come_in_order() -> None:
    """Trunk, account code, context, DID: each only where the ones before it say nothing, whatever the tenants' order."""
    for tenants in ([BY_TRUNK, BY_ACCOUNT, BY_CONTEXT, BY_DID], [BY_DID, BY_CONTEXT, BY_ACCOUNT, BY_TRUNK]):
        for first in range(4):
            left = list((BY_TRUNK, BY_ACCOUNT, BY_CONTEXT, BY_DID)[first:])
            tenancy = rules(*[t for t in tenants if t in left])
            assert tenancy.tenant_of("one", EVERYTHING, ()) == left[0].tenant


def test_within_a_criterion_the_configured_order_decides() -> None:
    """Of two tenants whose rules take the same trunk the first one configured has the leg, exact or glob."""
    exact, glob = TenantRules("exact", trunks=("PJSIP/kpn",)), TenantRules("glob", trunks=("PJSIP/*",))

    assert rules(exact, glob).tenant_of("one", EVERYTHING, ()) == "exact"
    assert rules(glob, exact).tenant_of("one", EVERYTHING, ()) == "glob"


def test_other_legs_tell_oldest_first() -> None:
    """A leg that says nothing itself is its call's: the oldest other leg that says anything decides, by any criterion."""
    tenancy = rules(BY_TRUNK, BY_ACCOUNT, BY_CONTEXT, BY_DID)
    nothing = Claims(trunk="PJSIP/shared")

    assert tenancy.tenant_of(
        "one", nothing, [nothing, Claims(context="from-acme"), Claims(trunk="PJSIP/kpn")]
    ) == ("by-context")
    assert tenancy.tenant_of("one", Claims(did="31201234000"), [Claims(trunk="PJSIP/kpn")]) == "by-did"


def test_nobodys_leg_is_the_defaults_or_unassigned() -> None:
    """What no rule takes is the default tenant's; without one it is unassigned."""
    nothing = Claims(trunk="PJSIP/shared", context="elsewhere")

    assert rules(BY_TRUNK).tenant_of("one", nothing, [nothing]) is None
    assert rules(BY_TRUNK, TenantRules("rest", default=True)).tenant_of("one", nothing, [nothing]) == "rest"


def test_rules_hold_on_their_pbx_only() -> None:
    """`match.pbx` restricts every rule of a tenant; a trunk of the same name elsewhere is somebody else's."""
    one, two = (
        TenantRules(name, pbx=name, trunks=("PJSIP/kpn",), accounts=("acc-1",)) for name in ("one", "two")
    )
    tenancy = rules(one, two)

    for pbx in ("one", "two"):
        assert tenancy.tenant_of(pbx, Claims(trunk="PJSIP/kpn"), ()) == pbx
        assert tenancy.tenant_of(pbx, Claims(account="acc-1"), ()) == pbx


def test_what_was_settled_wins() -> None:
    """After a restart the stored tenant wins over what the leg says now, for itself and for its call."""
    tenancy = rules(BY_TRUNK, BY_CONTEXT)

    assert tenancy.tenant_of("one", Claims(trunk="PJSIP/kpn", settled="by-context"), ()) == "by-context"
    assert tenancy.tenant_of("one", Claims(), [Claims(context="", settled="by-context")]) == "by-context"


def test_silence_matches_no_glob() -> None:
    """A leg that says nothing is not taken by a rule that takes everything that is said."""
    tenancy = rules(TenantRules("all", accounts=("*",), contexts=("*",), dids=("*",)))

    assert tenancy.tenant_of("one", Claims(trunk="PJSIP/kpn"), [Claims()]) is None


def test_claims_show_no_number() -> None:
    """A claim's and a rule's text form hold no number that was dialled."""
    assert "31201234567" not in repr(EVERYTHING)
    assert "31201234" not in repr(BY_DID)


def test_users_belong_by_extension() -> None:
    """An extension is the first matching tenant's, else the default's, else nobody's; excluded ones don't count."""
    low = TenantRules("low", extensions=re.compile("1[0-4][0-9]"))
    ten = TenantRules("ten", extensions=re.compile("10[0-9]"))
    rest = TenantRules("rest", default=True)

    assert rules(low, ten).user_of("one", "101") == "low"
    assert rules(ten, low).user_of("one", "101") == "ten"
    assert rules(low).user_of("one", "150") is None
    assert rules(low, rest).user_of("one", "150") == "rest"
    assert rules(TenantRules("t", pbx="two", extensions=re.compile("1.."))).user_of("one", "101") is None
    assert rules().is_billed("one", "PJSIP/101")
    for no in ("PJSIP/190", "PJSIP/kpn", "PJSIP/999"):
        assert not rules().is_billed("one", no)


def test_where_a_tenants_legs_may_be() -> None:
    """A tenant is on its one PBX, on those that list its trunks, or, by any other rule, on all of them."""

    def on(tenant: TenantRules) -> tuple[str, ...]:
        return rules(tenant).pbxs_of(tenant.tenant)

    assert on(TenantRules("t", pbx="two", trunks=("PJSIP/kpn",))) == ("two",)
    assert on(TenantRules("t", trunks=("PJSIP/kpn",))) == ("one", "two")
    assert on(TenantRules("t", trunks=("SIP/two",))) == ("two",)
    assert on(TenantRules("t", trunks=("PJSIP/ziggo-north",))) == ("one",)
    assert on(TenantRules("t", trunks=("SIP/two",), accounts=("a",))) == ("one", "two")
    assert on(TenantRules("t", trunks=("SIP/two",), default=True)) == ("one", "two")


def test_the_bare_endpoint() -> None:
    """The technology is left out, and nothing else."""
    assert [bare(e) for e in ("PJSIP/101", "DAHDI/i1/5", "101")] == ["101", "i1/5", "101"]
