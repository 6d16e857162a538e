"""Revisions of a month: kept as one document, compared report by report, and nobody reads of another's tenants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.reporting.document import Unreadable
from delivery.reporting.usage import Brand, Peak, Report, State, TenantUsage
from provider.month import reports
from provider.month.closing import revised
from provider.month.figuring import heap
from provider.month.reports import Reports
from provider.month.tree import Member, Tree
from tests.unit.delivery.reporting.reports import reports as any_report

ACME = TenantUsage("ams-01", "acme", "ACME", State.FINAL, 0, 60_000, "UTC", peak=Peak(5, 1, 1, "seen", False))
GLOBEX = TenantUsage("rot-01", "globex", "Globex", State.OPEN, 0, 60_000, "UTC", users=3)


def report(partner: str | None, *tenants: TenantUsage) -> Report:
    return Report(
        *("2026-11", 0, 60_000, "UTC", 1, 7, partner, partner or "Provider", "en", Brand("B")),
        tenants,
        (),
        (),
        heap(tenants, 5),
    )


def month(*partners: Report) -> Reports:
    return Reports(report(None, *(one for each in partners for one in each.tenants)), partners)


@st.composite
def months(draw):
    whole = draw(any_report)
    whole = replace(whole, tenants=tuple({(t.agent, t.tenant): t for t in whole.tenants}.values()))
    parts = draw(st.lists(any_report, max_size=2))
    tenants = [
        draw(st.lists(st.sampled_from(whole.tenants), unique=True)) if whole.tenants else [] for _ in parts
    ]
    return Reports(
        whole, tuple(replace(part, tenants=tuple(own)) for part, own in zip(parts, tenants, strict=True))
    )


@given(months())
@settings(max_examples=50, deadline=None)
def test_the_document_keeps_everything(made):
    """Whatever a revision states, its document says the same, in the same bytes every time."""
    document = reports.written(made)

    assert reports.read(document) == made
    assert reports.written(reports.read(document)) == document


@pytest.mark.parametrize(
    "document", [b"", b"{}", b'{"document":"pbx-meter month 2"}', b'{"document":"pbx-meter month 1"}']
)
def test_what_is_no_document_is_refused(document):
    """Another version or something else is refused."""
    with pytest.raises(Unreadable):
        reports.read(document)


def test_a_reference_to_nobody_is_refused():
    """A partner's report that names a tenant that the whole does not hold is not read."""
    document = reports.written(month(report("north", ACME)))

    with pytest.raises(Unreadable):
        reports.read(document.replace(b'"tenants":[0]', b'"tenants":[1]'))


def test_the_same_figures_are_the_same():
    """When it was made, names and brands, and a report without tenants make no difference; a heap's bound does."""
    made = month(report("north", ACME))
    other = month(replace(report("north", ACME), made_at=9, name="N", brand=Brand("C"), revision=4))

    assert reports.same(made, other)
    assert reports.same(made, Reports(other.whole, (*other.partners, report("south"))))
    assert not reports.same(made, month(replace(report("north", ACME), heap=heap([ACME], 6))))


def test_each_is_compared_with_his_own():
    """A tenant that moved is gone from the one and new in the other; neither reads where from or where to."""
    before = month(
        report("north", replace(ACME, partner="north")), report("south", replace(GLOBEX, partner="south"))
    )
    after = month(report("south", replace(ACME, partner="south"), replace(GLOBEX, partner="south")))

    found = revised(after, 2, before)

    north, south = found.of("north"), found.of("south")
    assert (north.revision, north.compared, north.tenants) == (2, 1, ())
    gone = {one.what: one for one in north.differences if one.tenant == "acme"}
    assert (gone["state"].before, gone["state"].after) == ("final", None)
    assert all(one.after is None for one in gone.values())
    new = {one.what: one for one in south.differences if one.tenant == "acme"}
    assert (new["state"].before, new["state"].after) == (None, "final")
    assert not any("north" in (one.before, one.after) for one in south.differences)
    assert ("heap.tenants", "1", "2") in {(one.what, one.before, one.after) for one in south.differences}
    assert any(
        (one.what, one.before, one.after) == ("partner", "north", "south") for one in found.whole.differences
    )


def test_a_partner_who_is_new_has_no_differences():
    """A partner's first report compares with nothing."""
    found = revised(month(report("north", ACME), report("west", GLOBEX)), 2, month(report("north", ACME)))

    assert (found.of("west").compared, found.of("west").differences) == (None, ())
    assert (found.of("north").compared, found.of("north").differences) == (1, ())


def test_the_tree():
    """Siblings go by name, those below follow, and who hangs under nobody known hangs under the provider."""
    members = [("b", "Beta", None), ("a", "alpha", None), ("c", "Gamma", "b"), ("d", "Delta", "nobody")]
    tree = Tree({id_: Member(id_, name, parent, "en", Brand(name)) for id_, name, parent in members})

    assert tree.order() == [None, "a", "b", "c", "d"]
    assert list(tree.above("c")) == ["c", "b"]
    assert list(tree.above("d")) == ["d"]
