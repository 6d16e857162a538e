"""Partners and places from a spreadsheet: everything in it, or every problem with its line."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.reporting.usage import Brand
from provider import listed
from provider.listed import PARTNER_COLUMNS, PLACEMENT_COLUMNS, Listed
from provider.partners import Partner, Placement


def test_every_column_is_read():
    """Each column goes where its text says."""
    partners = listed.partners(
        f"{','.join(PARTNER_COLUMNS)}\n"
        'north,North B.V.,2026-01-01,top,nl,a@n.example b@n.example,Nord,#aa0011,s@n.example,r@n.example,"one\ntwo"\n'
    )
    places = listed.placements(
        f"{','.join(PLACEMENT_COLUMNS)}\nams-01,acme,2026-11-01,north,1007,16,24 8 16,calls,\n"
        "ams-01,gone,2026-11-01,,,,,,yes\n"
    )

    brand = Brand("Nord", "#aa0011", "s@n.example", "r@n.example", "one\ntwo")
    assert partners.changes == (
        Partner("north", "North B.V.", "2026-01-01", "top", "nl", ("a@n.example", "b@n.example"), brand),
    )
    assert places.changes == (
        Placement("ams-01", "acme", "2026-11-01", "north", "1007", 16, (8, 16, 24), "calls"),
        Placement("ams-01", "gone", "2026-11-01", ended=True),
    )


def test_empty_cells_are_what_their_columns_say():
    """Only the needed columns must be there; what is empty or missing is the plain case. Blank lines are nothing."""
    given_ = listed.partners("name;id\nNorth;north\n\n;\n")

    assert given_ == Listed((Partner("north", "North", brand=Brand("North")),), ())
    assert listed.placements("tenant,agent,capacity\nacme,ams-01,\n").changes == (
        Placement("ams-01", "acme"),
    )


def test_a_spreadsheets_ways():
    """A byte order mark, semicolons, capitals and blanks around cells are what spreadsheets write."""
    found = listed.placements("\ufeffAgent; Tenant ;CAPACITY\r\nams-01 ; acme;16\r\n")

    assert found.changes == (Placement("ams-01", "acme", capacity=16),)


def test_all_problems_with_their_lines():
    """Every line that can't be is named, and then nothing is taken."""
    found = listed.placements(
        "agent,tenant,since,capacity,packages\n"
        "ams-01,good,,16,8 16\n"
        "ams-01,acme,,sixteen,\n"
        "ams-01,b c,soon,1,\n"
        "ams-01,short\n"
        "ams-01,good,,17,\n"
        "ams-01,acme,2026-11-01,4,8 x\n"
    )

    assert found.changes == ()
    assert found.problems == (
        "line 3: 'sixteen' is no number of lines",
        "line 4: tenant b c of ams-01: an id has letters, digits, dots, dashes and underscores, at most 64",
        "line 4: tenant b c of ams-01: since is a day like 2026-11-01",
        "line 5: there are 2 cells, and 5 columns",
        "line 6: says again what line 2 says",
        "line 7: 'x' is no number of lines",
    )


def test_columns_that_can_not_be():
    """A column that is missing, unknown or there twice is a problem of the first line; so is an empty file."""
    assert listed.partners("id,naam,id\nx,y,z\n").problems == (
        "line 1: there is no column name",
        "line 1: nobody knows the column 'naam'",
        "line 1: the column id is there twice",
    )
    assert listed.placements("").problems == (
        "line 1: there is no column agent",
        "line 1: there is no column tenant",
    )


def test_a_quote_that_is_not_closed():
    """A quote that is opened and not closed is a problem of the line that it stands on, and swallows nothing."""
    unclosed = listed.placements('agent,tenant,capacity\nams-01,good,1\nams-01,acme,"16\nams-01,next,3\n')
    meant_as_inches = listed.placements('agent,tenant,customer\nams-01,acme,"16" rack\nams-01,next,3\n')

    assert (unclosed.changes, unclosed.problems) == (
        (),
        ('line 3: a quote (") is not closed, or stands where none can be',),
    )
    assert meant_as_inches.problems == ('line 2: a quote (") is not closed, or stands where none can be',)


def test_a_row_of_several_lines_is_named_by_its_first():
    """A cell may have several lines; the row's problem names the line that it begins on, also after it."""
    found = listed.partners('id,name,footer\nx y,X,"one\ntwo"\n\nz z,Z,\n')

    assert [problem.partition(":")[0] for problem in found.problems] == ["line 2", "line 5"]


BRAND = Brand("Nord", "#aa0011", "s@n.example", "r@n.example", "one", ("image/png", b"x"))
NORTH = Partner("north", "North", "0001-01-01", "top", "nl", ("a@n.example",), BRAND)
ACME = Placement("ams-01", "acme", "2026-01-01", "north", "1007", 16, (8, 16), "calls")


def test_a_column_that_is_not_there_leaves_what_was():
    """What a file has no column for stays as it was on that day; an empty cell says what its column's text says."""
    (partner,) = listed.partners("id,name,since\nnorth,Noord,2026-06-01\n", [NORTH]).changes
    (place,) = listed.placements("agent,tenant,since,capacity\nams-01,acme,2026-06-01,24\n", [ACME]).changes
    (bare,) = listed.placements("agent,tenant,since,customer\nams-01,acme,2026-06-01,\n", [ACME]).changes
    (plain,) = listed.partners(
        f"{','.join(PARTNER_COLUMNS)}\nnorth,North,2026-06-01,,,,,,,,\n", [NORTH]
    ).changes

    assert partner == replace(NORTH, name="Noord", since="2026-06-01")
    assert place == replace(ACME, since="2026-06-01", capacity=24)
    assert bare == replace(ACME, since="2026-06-01", customer=None)
    logo = replace(Brand("North"), logo=BRAND.logo)  # no column can take it away
    assert plain == Partner("north", "North", "2026-06-01", brand=logo)


def test_a_name_of_his_own_goes_with_him():
    """A partner whose reports are in his own name is renamed with them."""
    own = replace(NORTH, brand=replace(BRAND, name="North"))

    assert listed.partners("id,name,since\nnorth,Noord,2026-06-01\n", [own]).changes[0].brand.name == "Noord"


def test_who_is_known_has_a_day():
    """An empty since for who is known already would rewrite every month there was: it needs its day, or says nothing new."""
    late = [replace(NORTH, since="2026-03-01")]
    for known in ([NORTH], late):
        assert listed.partners("id,name\nnorth,Noord\n", known).problems == (
            "line 2: north is known already: from which day is it so? since",
        )
    assert listed.placements("agent,tenant,capacity\nams-01,acme,8\n", [ACME]).problems == (
        "line 2: ams-01/acme is known already: from which day is it so? since",
    )
    assert listed.partners("id,name\nnorth,North\n", [NORTH]).changes == (NORTH,)


def test_a_place_ends_and_begins_again():
    """A line that says that a place has ended keeps where it was; a later line without that column places it again."""
    (ended,) = listed.placements("agent,tenant,since,ended\nams-01,acme,2026-06-01,yes\n", [ACME]).changes
    (again,) = listed.placements("agent,tenant,since\nams-01,acme,2026-09-01\n", [ACME, ended]).changes

    assert ended == replace(ACME, since="2026-06-01", ended=True)
    assert again == replace(ACME, since="2026-09-01")
    assert listed.placements("agent,tenant,ended\nams-01,acme,soon\n").problems == (
        "line 2: 'soon' says not whether it has ended: yes, or nothing",
    )


@settings(deadline=None)
@given(st.text())
def test_any_text_gives_changes_or_problems(text):
    """Whatever a file holds, it gives changes or problems, never both, and no error."""
    for found in (listed.partners(text), listed.placements(text), listed.partners("id,name\n" + text)):
        assert not (found.changes and found.problems)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Placement,
            agent=st.just("ams-01"),
            tenant=st.integers(0, 10**6).map(lambda number: f"t{number}"),
            customer=st.none() | st.text("abc ,;\"'1", min_size=1).map(str.strip).filter(bool),
            capacity=st.none() | st.integers(0, 999),
            packages=st.sets(st.integers(1, 99)).map(lambda sizes: tuple(sorted(sizes))),
            basis=st.sampled_from([None, "channels", "calls", "answered"]),
        ),
        unique_by=lambda place: place.tenant,
    ),
    st.sampled_from(",;"),
)
def test_what_is_written_is_read(places, delimiter):
    """Places that somebody writes as CSV come back as they were, quotes, commas and semicolons in cells included."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(PLACEMENT_COLUMNS)
    for one in places:
        packages = " ".join(map(str, one.packages))
        writer.writerow([one.agent, one.tenant, "", "", one.customer, one.capacity, packages, one.basis, ""])

    assert listed.placements(file.getvalue()) == Listed(tuple(places), ())
