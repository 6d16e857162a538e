"""The tree and its days: what holds when, and what can't be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.reporting.usage import Brand
from provider.partners import BEGINNING, LOGO_MAX_BYTES, Partner, Placement, flaws, in_force, problems

DAYS = st.dates().map(lambda day: day.isoformat())


def test_the_last_change_until_then_holds():
    """On a day that holds which was changed last until then; before the first change there is nothing."""
    changes = [
        Placement("a", "t", "2026-06-01", capacity=8),
        Placement("a", "t", "2026-11-15", capacity=16),
        Placement("a", "u", "2026-11-15", capacity=4),
    ]

    assert in_force(changes, "2026-05-31") == {}
    assert in_force(changes, "2026-11-14") == {("a", "t"): changes[0]}
    assert in_force(reversed(changes), "2026-11-15") == {("a", "t"): changes[1], ("a", "u"): changes[2]}


def test_a_place_that_ended_says_so():
    """From the day on that a place ends it is there as one that has ended, until a later change places it again."""
    placed = Placement("a", "t", "2026-01-01", capacity=8)
    changes = [placed, replace(placed, since="2026-06-01", ended=True), replace(placed, since="2026-09-01")]

    said = [in_force(changes, day)["a", "t"].ended for day in ("2026-05-31", "2026-06-01", "2026-09-01")]
    assert said == [False, True, False]


@settings(deadline=None)
@given(st.lists(DAYS, unique=True), DAYS)
def test_what_holds_is_the_nearest_day_before(since, day):
    """Whatever the order of the changes, the latest one that is not later than the day holds."""
    held = in_force([Partner("p", "P", one) for one in since], day)

    earlier = [one for one in since if one <= day]
    assert [one.since for one in held.values()] == ([max(earlier)] if earlier else [])


def test_a_right_tree_has_no_problems():
    """Partners under partners, tenants under any of them or under the provider himself."""
    tree = [
        Partner("a", "A"),
        Partner("b", "B", parent="a"),
        Partner("c", "C", parent="b", email=("c@c.example",)),
    ]
    places = [Placement("ams", "x", partner="c"), Placement("ams", "y"), Placement("bru", "x", partner="a")]

    assert problems(tree, places) == []


def test_parents_are_known_on_the_day():
    """A parent, and a tenant's partner, must be there on the day from which they are named, also when it moves."""
    late = Partner("a", "A", "2026-06-01")

    assert problems([late, Partner("b", "B", "2026-05-31", "a")], []) == [
        "partner b: there is no partner a on 2026-05-31"
    ]
    assert problems([late, Partner("b", "B", "2026-06-01", "a")], []) == []
    assert problems([late], [Placement("ams", "x", "2026-05-31", "a")]) == [
        "tenant x of ams: there is no partner a on 2026-05-31"
    ]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_nobody_is_under_himself(length):
    """A circle of any length, made by a later change, is named by everybody in it, and by nobody beside it."""
    names = [f"p{number}" for number in range(length)]
    line = [Partner(name, name, parent=above) for name, above in zip(names, [None, *names], strict=False)]
    beside = Partner("beside", "Beside", parent="p0")
    turned = Partner("p0", "p0", "2026-02-01", parent=names[-1])

    assert problems([*line, beside], []) == []
    assert problems([*line, beside, turned], []) == [
        f"partner {name}: is under himself on 2026-02-01" for name in names
    ]


RIGHT = Partner(
    "a", "A", "2026-01-01", None, "it", ("a@b.example",), Brand("A", "#001122", "s@b.example", "r@b.example")
)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (replace(RIGHT, id="a b"), "an id has"),
        (replace(RIGHT, id=""), "an id has"),
        (replace(RIGHT, name=" "), "no name"),
        (replace(RIGHT, name="A\nB"), "no name"),
        (replace(RIGHT, since="2026-1-1"), "a day like"),
        (replace(RIGHT, since="20260101"), "a day like"),
        (replace(RIGHT, since="2026-02-30"), "a day like"),
        (replace(RIGHT, language="fr"), "nl, en, it, de"),
        (replace(RIGHT, email=("a@b.example", "nobody")), "an address is not one"),
        (replace(RIGHT, brand=replace(RIGHT.brand, colour="red")), "#rrggbb"),
        (replace(RIGHT, brand=replace(RIGHT.brand, sender="A <a@b.example>")), "sender and reply_to"),
        (replace(RIGHT, brand=replace(RIGHT.brand, reply_to="x")), "sender and reply_to"),
        (replace(RIGHT, brand=replace(RIGHT.brand, logo=("text/html", b"<p>"))), "a logo is one of"),
        (replace(RIGHT, brand=replace(RIGHT.brand, logo=("image/png", b"x" * (LOGO_MAX_BYTES + 1)))), "256 KiB"),
        (Placement("a/b", "t"), "an id has"),
        (Placement("a", "t", since="soon"), "a day like"),
        (Placement("a", "t", customer=" "), "one line of text"),
        (Placement("a", "t", capacity=-1), "a number of lines"),
        (Placement("a", "t", packages=(16, 8)), "ascending"),
        (Placement("a", "t", packages=(0,)), "ascending"),
        (Placement("a", "t", basis="minutes"), "channels, calls, answered"),
    ],
)  # fmt: skip
def test_one_flaw_is_named(wrong, says):
    """Each thing that a partner or a place can't be is said in one sentence, with whose it is, and without the value."""
    (sentence,) = flaws(wrong)

    assert says in sentence
    assert sentence.startswith(("partner ", "tenant "))
    assert "nobody" not in sentence
    assert flaws(RIGHT) == flaws(Placement("a", "t", BEGINNING, None, "1007", 0, (8, 16), "calls")) == []
