"""provider.exporting: what a report says, as metering events."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from cloudevents.http import from_json
from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting.usage import Peak, Report, State, Traffic
from meter.periods import iso
from provider.exporting import METERS, Event, cloudevent, events, lines, unsaid
from tests.exports.months import END, START, missing, report, usage


def said(*revisions: Report) -> list[dict]:
    return [json.loads(line) for line in lines(events(revisions))]


def peak(level: int) -> Peak:
    return Peak(level, START + 1_000 if level else None, 1_000, "seen", lower_bound=False)


def test_every_figure_of_a_final_is_one_event() -> None:
    """A final makes one event per meter, with the very figure of the report."""
    found = {one["data"]["meter"]: one["data"]["value"] for one in said(report(usage("acme")))}

    assert found == {
        "peak": 17, "overrun_ms": 8_120, "users_at_close": 42, "users_max": 44,
        "inbound_s": 814_333, "outbound_s": 60_400, "unknown_s": 0,
    }  # fmt: skip
    assert list(found) == [meter.name for meter in METERS]


def test_an_event_is_a_cloudevent() -> None:
    """The CloudEvents SDK reads each line as version 1.0 and finds in it who, what, when and whose."""
    for line in lines(events([report(usage("acme"))])):
        event = from_json(line)

        assert event["specversion"] == "1.0"
        assert event["type"] == f"pbx-meter.usage.{event.get_data()['meter']}.v1"
        assert (event["source"], event["subject"]) == ("/agents/ams-01", "C-acme")
        assert event["id"] == f"ams-01/acme/2026-11/{event.get_data()['meter']}/1"
        assert event["datacontenttype"] == "application/json"


def test_an_event_lies_in_its_own_period() -> None:
    """An event's time is before the end, which is the next period's first instant already."""
    (first, *_) = events([report(usage("acme"))])

    assert cloudevent(first)["time"] == iso(END - 1) == "2026-11-30T22:59:59.999Z"


def test_names_stay_at_home() -> None:
    """No tenant's name is exported: the customer number says who it is."""
    assert "ACME" not in "".join(lines(events([report(usage("acme"))])))


def test_without_a_customer_number_the_key_of_the_tenant_stands_for_it() -> None:
    """A tenant without a customer number is `agent/tenant`."""
    assert {one["subject"] for one in said(report(usage("acme", customer=None)))} == {"ams-01/acme"}


@pytest.mark.parametrize("state", [State.OPEN, State.MISSING])
def test_a_missing_final_makes_no_event(state: State) -> None:
    """A tenant without a final makes no event, not even from its interim's figures, and is named."""
    whole = report(replace(usage("acme"), state=state), usage("globex"))

    assert {one["data"]["tenant"] for one in said(whole)} == {"globex"}
    assert [(one.tenant, why.split(":")[0]) for one, why in unsaid(whole)] == [("acme", "no final")]


def test_what_is_not_known_makes_no_event() -> None:
    """A figure that is None makes no event and is named; zero makes one."""
    whole = report(usage("acme", users=None, users_max=None, peak=peak(0), unknown=Traffic(0, 0, None)))

    found = {one["data"]["meter"]: one["data"]["value"] for one in said(whole)}
    assert found.keys() == {"peak", "overrun_ms", "inbound_s", "outbound_s"}
    assert found["peak"] == 0
    assert [why for _, why in unsaid(whole)] == ["not known: users_at_close, users_max, unknown_s"]


def test_the_same_report_gives_the_same_bytes() -> None:
    """An export is the same to the last byte each time, and its ids are unique."""
    whole = report(usage("acme"), usage("globex"))

    assert list(lines(events([whole]))) == list(lines(events([whole])))
    assert max(Counter(one["id"] for one in said(whole)).values()) == 1


def test_a_revision_says_what_it_replaces() -> None:
    """A figure that is another one now is one more event, which names the former one and the difference to it."""
    corrected = usage("acme", state=State.CORRECTED, peak=peak(15))
    first, second = report(usage("acme")), report(corrected, revision=2)

    told = said(first, second)

    assert told[:-1] == said(first)
    assert told[-1]["id"] == "ams-01/acme/2026-11/peak/2"
    data = told[-1]["data"]
    assert (data["value"], data["difference"], data["replaces"]) == (15, -2, "ams-01/acme/2026-11/peak/1")


def test_a_revision_that_changes_somebody_else_says_nothing_new() -> None:
    """What a revision leaves as it was keeps its event: it is not billed twice."""
    second = report(usage("acme"), usage("globex", users=43), revision=2)

    told = said(report(usage("acme"), usage("globex")), second)

    assert [one["id"] for one in told if one["id"].endswith("/2")] == [
        "ams-01/globex/2026-11/users_at_close/2"
    ]


def test_a_late_final_comes_with_the_revision_that_has_it() -> None:
    """A final that came late makes its events under the revision that first has it, and they replace nothing."""
    told = said(report(missing("umbra")), report(usage("umbra", agent="ams-02"), revision=3))

    assert {one["data"]["revision"] for one in told} == {3}
    assert {one["data"]["replaces"] for one in told} == {None}


def test_a_figure_of_the_wrong_customer_is_taken_back() -> None:
    """A tenant under another customer number than before is taken back from the one and given to the other."""
    told = said(report(usage("acme")), report(usage("acme", customer="C-9"), revision=2))

    sums: Counter[tuple[str, str]] = Counter()
    for one in told:
        sums[one["subject"], one["data"]["meter"]] += one["data"]["difference"]
    assert {sums["C-acme", meter.name] for meter in METERS} == {0}
    assert (sums["C-9", "peak"], sums["C-9", "inbound_s"]) == (17, 814_333)
    assert max(Counter(one["id"] for one in told).values()) == 1


def sums(told: list[Event]) -> dict[tuple[str | None, str, str], int]:
    """Add the differences up by partner, customer and meter."""
    found: Counter[tuple[str | None, str, str]] = Counter()
    for one in told:
        found[one.usage.partner, one.subject, one.meter] += one.difference
    return dict(found)


def test_a_figure_that_is_not_known_any_more_is_taken_back() -> None:
    """A capacity that is cancelled takes back the overrun that was said: nothing of it is left to bill."""
    told = events([report(usage("acme")), report(usage("acme", capacity=None, over=None), revision=2)])

    assert (told[-1].id, told[-1].value) == ("ams-01/acme/2026-11/overrun_ms/2/withdrawn", 0)
    assert told[-1].replaces == "ams-01/acme/2026-11/overrun_ms/1"
    assert sums(told)["north", "C-acme", "overrun_ms"] == 0
    assert sums(told)["north", "C-acme", "peak"] == 17


def test_what_was_taken_back_may_come_again() -> None:
    """A figure that is known again after it was taken back is said anew, whole, and replaces nothing."""
    whole = usage("acme")
    told = events([report(whole), report(replace(whole, users=None), revision=2), report(whole, revision=3)])

    last = told[-1]
    assert (last.id, last.difference, last.replaces) == ("ams-01/acme/2026-11/users_at_close/3", 42, None)


def test_a_tenant_that_left_a_report_is_taken_back() -> None:
    """A tenant that a partner's own report does not hold any more leaves nothing behind in his export."""
    told = events([report(usage("acme"), usage("globex")), report(usage("globex"), revision=2)])

    assert {amount for (_, who, _), amount in sums(told).items() if who == "C-acme"} == {0}
    assert sums(told)["north", "C-globex", "peak"] == 17


def test_a_tenant_of_another_partner_is_moved() -> None:
    """A tenant that moves to another partner under the same number moves with every figure, also in the whole export."""
    told = events([report(usage("acme")), report(usage("acme", partner="south"), revision=2)])

    for meter in METERS:
        assert sums(told)["north", "C-acme", meter.name] == 0
        assert sums(told)["south", "C-acme", meter.name] == meter.read(usage("acme"))


figures = st.none() | st.integers(0, 1_000)
steps = st.lists(st.tuples(figures, st.sampled_from(["C-1", "C-2", None])), min_size=1, max_size=6)


@given(steps)
def test_the_differences_add_up_to_the_newest_figure(history: list[tuple[int | None, str | None]]) -> None:
    """However often a report is revised, the sum of the differences is what the last revision knows, at its customer."""
    revisions = [
        report(usage("acme", users=users, customer=customer), revision=number)
        for number, (users, customer) in enumerate(history, 1)
    ]

    told = [one for one in events(revisions) if one.meter == "users_at_close"]

    left = {who: total for (_, who, _), total in sums(told).items() if total}
    users, customer = history[-1]
    assert left == ({customer or "ams-01/acme": users} if users else {})
    assert len({one.id for one in told}) == len(told)
    for number, one in enumerate(told):
        assert one.replaces is None or one.replaces in {earlier.id for earlier in told[:number]}
