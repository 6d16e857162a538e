"""ActiveCalls as legs: what is a trunk, what counts, and what is dropped at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.threecx.calls import call, dn, shown
from connectors.threecx.directory import Department, Directory, Trunk
from meter.model import Direction

KNOWN = Directory(
    trunks={
        "10000": Trunk(bridge=False),
        "10001": Trunk(bridge=False, departments=(95,)),
        "10002": Trunk(bridge=True),
        "10020": Trunk(bridge=False, departments=(28, 95)),
        "10205": Trunk(bridge=False),
    },
    users={
        "94": (28,),
        "100": (28,),
        "101": (95, 28),
        "1002": (28,),
        "10016": (95,),
        "250": (),
        "777": (404,),
    },
    others={"8003": (95,), "8010": (), "8260": ()},
    departments={
        28: Department(("DEFAULT", "GRP0000")),
        95: Department(("Sales", "GRP0001"), (("200", "299"), ("8200", "8299"), ("10200", "10209"))),
    },
)
NOW = "2026-09-28T09:15:00.1234567Z"
SALES, DEFAULT = ("Sales", "GRP0001"), ("DEFAULT", "GRP0000")


def row(
    number=1,
    caller="10000 ACME SIP (+15550100111)",
    callee="100 Doe, John",
    status="Talking",
    established=None,
):
    return {
        "Id": number,
        "Caller": caller,
        "Callee": callee,
        "Status": status,
        "LastChangeStatus": NOW,
        "EstablishedAt": established,
        "ServerNow": NOW,
    }


def seen(*rows, bridges=False):
    return shown([call(one) for one in rows], KNOWN, bridges=bridges)


def legs(*rows, bridges=False):
    return {leg.leg: leg for leg in seen(*rows, bridges=bridges).legs}


@pytest.mark.parametrize(
    ("side", "word"),
    [
        ("1002 tools, admin", "1002"),
        ("10000 skyetel (+15550100111)", "10000"),
        ("10001 OB-Trunk 0555-53830 0-99 (05550100133)", "10001"),
        ("10001 SBC (02473003575+0+0392+0326)", "10001"),
        ("10001 Service A - 11 (*91234)", "10001"),
        ("10020 Backup (no 2) [old] (+15550100111)", "10020"),
        ("8003 Queue 1", "8003"),
        ("ROUTER", "ROUTER"),
        ("100 VoiceMail Doe, John", "100"),
        ("VoiceMail", "VoiceMail"),
        ("MakeCall", "MakeCall"),
        ("+4912341234", "+4912341234"),
        ("(100)", "(100)"),
        ("Nick Sample (001255501)", "Nick"),
        ("HD101 Hot, Desk", "HD101"),
        ("  10000  x", "10000"),
        ("", ""),
        ("   ", ""),
        (None, ""),
    ],
)
def test_the_dn_is_the_first_word(side, word):
    """Every side that was seen on a real 3CX, and a few worse ones, gives its first word and nothing behind it."""
    assert dn(side) == word


def test_the_sample_of_a_real_answer_counts_as_it_was_counted_by_hand():
    """Of six calls five are external, on six trunk legs; the one in the queue and the one that rings among them."""
    found = seen(
        row(170, "10000 ACME SIP (+15550100111)", "ROUTER", "Routing"),
        row(168, "10000 ACME SIP (+15550100122)", "8003 Sales queue", "Talking", NOW),
        row(167, "10001 OB-Trunk 0555-53830 0-99 (05550100133)", "94 Mustermann, Max", "Talking", NOW),
        row(166, "1002 Tools, Admin", "10000 ACME SIP (+15550100144)", "Talking", NOW),
        row(165, "1002 Tools, Admin", "1003 Doe, Jane", "Talking", NOW),
        row(164, "10000 ACME SIP (+15550100155)", "10000 ACME SIP (+15550100166)", "Talking", NOW),
    )
    assert found.calls == 6
    assert len({leg.call for leg in found.legs}) == 5
    assert len(found.legs) == 6
    assert sum(leg.answered for leg in found.legs) == 5
    assert {leg.leg for leg in found.legs if leg.direction is Direction.OUT} == {
        "166:to:10000",
        "164:to:10000",
    }
    assert all(leg.listed and leg.created is None for leg in found.legs)


@pytest.mark.parametrize(
    "status", ["Routing", "Rerouting", "Initiating", "Talking", "Transferring", "Dialing", ""]
)
@pytest.mark.parametrize("established", [None, "0001-01-01T00:00:00Z", NOW])
def test_answered_is_established_or_talking_or_transferring(status, established):
    """A leg is answered if the call is established or its status says so; the year 1 is never."""
    (leg,) = seen(row(status=status, established=established)).legs
    assert leg.answered is (established == NOW or status in {"Talking", "Transferring"})


def test_an_unknown_status_counts_and_is_counted():
    """A call in a status that nobody has seen yet is a call; how many there are is told."""
    found = seen(
        row(1, status="Ringing"), row(1, status="Ringing"), row(2, status="Talking"), row(3, status=None)
    )
    assert len(found.legs) == 3
    assert found.odd == 2


def test_five_digits_make_no_trunk():
    """An extension with five digits beside trunk numbers is an extension: its call to another is internal."""
    assert legs(row(1, "10016 Five, Digits", "100 Doe, John")) == {}
    assert set(legs(row(1, "10016 Five, Digits", "10020 Backup (no 2) (0555)"))) == {"1:to:10020"}


def test_internal_calls_are_no_legs():
    """Internal calls, voice mail, menus and calls that a program starts make no leg while no trunk is in them."""
    calls = [
        row(1, "100 Doe, John", "101 Roe, Jane"),
        row(2, "100 Doe, John", "101 VoiceMail Roe, Jane"),
        row(3, "MakeCall", "100 Doe, John"),
        row(4, None, "ROUTER"),
        row(5, "100 Doe, John", None),
        row(6, "Nick Sample (001255501)", "(100)"),
    ]
    assert legs(*calls) == {}
    assert seen(*calls).calls == 6
    assert seen(*calls).unknown == frozenset()


def test_a_call_that_is_listed_twice_is_one():
    """A caller who waits in a queue while an agent rings is one leg, answered as either copy says."""
    for copies in (
        (row(7, callee="8003 Queue 1", status="Talking"), row(7, callee="100 Doe, John", status="Routing")),
        (row(7, callee="ROUTER", status="Routing"), row(7, callee="8003 Queue 1", status="Talking")),
    ):
        found = seen(*copies)
        (leg,) = found.legs
        assert found.calls == 1
        assert leg.answered
        assert not leg.provisional
        assert leg.departments == SALES


def test_external_if_any_copy_is():
    """Of two copies one may show the trunk alone."""
    assert set(legs(row(7, "101 Roe, Jane", "100 Doe, John"), row(7, "10000 ACME", "100 Doe, John"))) == {
        "7:from:10000"
    }


def test_bridges_are_shown_apart():
    """A bridge to another 3CX is no external leg unless configured; a trunk on its other side is one."""
    over = row(1, "10002 Branch bridge", "100 Doe, John")
    out = row(2, "10002 Branch bridge", "10000 ACME SIP (0555)")
    assert set(legs(over, out)) == {"2:to:10000"}
    assert seen(over, out).bridged == 2
    assert set(legs(over, out, bridges=True)) == {"1:from:10002", "2:from:10002", "2:to:10000"}
    assert seen(over, out, bridges=True).bridged == 0


@pytest.mark.parametrize("callee", ["ROUTER", None, ""])
def test_whose_it_is_is_provisional_while_the_3cx_looks(callee):
    """Until the first DN that is not ROUTER the trunk tells whose a leg is, and that may change."""
    (leg,) = seen(row(caller="10001 Sales line (0555)", callee=callee, status="Routing")).legs
    assert leg.provisional
    assert leg.departments == SALES


@pytest.mark.parametrize(
    ("trunk", "other", "departments"),
    [
        ("10000", "101", SALES),  # the user's primary department, not the other one
        ("10001", "100", DEFAULT),  # the user before the trunk
        ("10000", "8003", SALES),  # a queue's
        ("10001", "8010", SALES),  # a menu without one: the trunk's
        ("10020", "8010", ()),  # of several of a trunk none
        ("10000", "250", SALES),  # a user without one: the number range
        ("10000", "777", ()),  # a department that nobody knows
        ("10000", "8260", SALES),  # a system number's range
        ("10205", "ROUTER", SALES),  # the trunk's own range
        ("10000", "ROUTER", ()),
        ("10000", "10001", ()),  # out again: each leg by its own trunk
    ],
)
def test_departments_are_told_in_the_order_of_the_definition(trunk, other, departments):
    """The extension side's department, else the trunk's if it has one alone, else a number range, else none."""
    found = legs(row(1, f"{trunk} Line (0555)", f"{other} Somebody"))
    assert found[f"1:from:{trunk}"].departments == departments


def test_a_number_that_nobody_knows_is_unclassified():
    """What looks like a trunk and is in no list is told, not counted, and does not lend its number to a leg's name."""
    found = seen(row(1, "10099 New line (0555)", "100 Doe, John"), row(2, "+4912341234", "100 Doe, John"))
    assert found.unknown == {"10099", "+4912341234"}
    assert [(leg.leg, leg.endpoint, leg.listed) for leg in found.legs] == [
        ("1:from:?", "3CX/10099", False),
        ("2:from:?", "3CX/+4912341234", False),
    ]


@pytest.mark.parametrize("word", ["1003", "Nick", "*91234", "HD10101", "123a56", "٣٣٣٣٣"])
def test_other_words_are_no_trunks(word):
    """Short numbers, names, codes and hot-desk numbers that are in no list are not taken for trunks."""
    assert seen(row(1, f"{word} Somebody", "100 Doe, John")).unknown == frozenset()


def test_no_name_and_no_number_is_kept():
    """What stands behind the first word is in nothing that leaves."""
    text = repr(
        seen(
            row(1, "10000 ACME SIP (+15550100111)", "100 Doe, John"),
            row(2, "100 Doe, John", "10000 A (0555)"),
        )
    )
    text += repr(call(row()))
    assert "0555" not in text
    assert "Doe" not in text
    assert "ACME" not in text


@pytest.mark.parametrize(
    "broken",
    [
        {"Id": None},
        {"Id": "7"},
        {"Id": True},
        {"Caller": 7},
        {"Callee": ["100"]},
        {"EstablishedAt": "soon"},
        {"ServerNow": "2026-09-28"},
    ],
)
def test_a_row_that_is_none_is_refused(broken):
    """A row without its Id, or with something else where text or an instant should be, is an error."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any; the poll says whose answer it was
        call(row() | broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={name: JSON | st.text(max_size=30) for name in row()}))
def test_any_row_is_a_call_or_an_error(given_row):
    """Whatever a row holds, it is a call or a ValueError, never another error."""
    try:
        one = call(given_row)
    except ValueError:
        return
    shown([one], KNOWN, bridges=True)
