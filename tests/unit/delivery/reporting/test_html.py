"""The report as a page: right figures, sound HTML, nothing of a name in its tags, and what is missing first."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections import Counter
from io import StringIO
from typing import get_type_hints
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from tinyhtml5.parser import HTMLParser

from delivery.reporting import overview as overviews
from delivery.reporting.html import report_html
from delivery.reporting.overview import overview
from delivery.reporting.usage import (
    Bounds,
    Brand,
    Difference,
    Heap,
    Over,
    Peak,
    Proof,
    Report,
    TenantUsage,
    Traffic,
)
from delivery.wording import LANGUAGES, wording
from tests.unit.delivery.reporting.month import month, tenant
from tests.unit.delivery.reporting.reports import reports

FIRST = {
    "en": "Not complete: 2 of 12 tenants have no final.",
    "nl": "Niet volledig: van 2 van de 12 klanten ontbreekt de definitieve opgave.",
    "it": "Non completo: mancano i prospetti definitivi di 2 clienti su 12.",
    "de": "Nicht vollständig: Von 2 der 12 Kunden fehlt die endgültige Aufstellung.",
}
H = "{http://www.w3.org/1999/xhtml}"


def parsed(html: str):
    """Read a page as a browser would; it has no error of any kind."""
    parser = HTMLParser(namespace_html_elements=True)
    tree = parser.parse(StringIO(html))
    assert parser.errors == []
    return tree


def text(element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows(tree) -> dict[str, list[str]]:
    """Give the cells of every tenant's line in the large table, by name."""
    found = {}
    for row in tree.iter(f"{H}tr"):
        cells = [text(cell) for cell in row if cell.tag == f"{H}td"]
        if len(cells) == 10:
            name = row.find(f"{H}th")
            found[text(next(iter(name)))] = cells
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_opens_with_what_is_missing(language):
    """Before any figure stands whether it is complete, and each tenant without a final by name."""
    html = report_html(month(language))
    tree = parsed(html)
    main = tree.find(f"{H}body/{H}main")
    first = text(main[0])

    assert tree.get("lang") == language
    assert first.startswith(FIRST[language])
    assert "Basisschool De Rode Kruin (ein-07/rodekruin)" in first
    assert "Garage Bakkeveen (ams-01/bakkeveen)" in first


def test_a_whole_month_says_so():
    """With every final in, the page opens with that, and names nobody as missing."""
    report = month("en", tenants=(tenant("A", "a", peak=3, capacity=4, seed=1),), differences=())
    page = overview(report, wording("en"))

    assert page.complete
    assert page.verdict == "Complete: the final of the one tenant is in."
    assert page.lacking == ()
    assert page.unsure == ""


def test_the_figures_of_a_tenant_are_those_of_the_values():
    """Peak, capacity, time over, how often, package, users, minutes and coverage stand in the tenant's line."""
    found = rows(parsed(report_html(month("nl"))))

    assert found["Hotel De Vuurtoren"] == [
        "17", "16", "", "0:01:42", "3", "24", "49", "13.572", "9.418", "100%",
    ]  # fmt: skip
    assert found["Scholengroep Leerwijk"][0] == "≥ 22"
    assert found["Scholengroep Leerwijk"][-1] == "95,12%"
    assert found["Makelaardij Waterkant"][6] == "?"
    assert found["Basisschool De Rode Kruin"] == ["?", "8", "", *7 * "?"]
    assert len(found) == 12


def test_the_heap_is_said_as_bounds():
    """The simultaneous peak is two bounds with their meaning, one figure where they meet, `≥` where a peak lacks."""
    words = wording("en")
    heap = dataclasses.replace(month().heap, peak_unknown=0, peak_unsure=0, peak=Bounds(41, 63))

    assert overviews.peak_range(heap, words) == "41–63"  # noqa: RUF001 - the dash of ranges
    assert "at least 41, the highest single tenant; at most 63" in overviews.peak_said(heap, words)
    exact = dataclasses.replace(heap, peak=Bounds(41, 41))
    assert overviews.peak_range(exact, words) == "41"
    lacking = dataclasses.replace(heap, peak_unknown=2)
    assert overviews.peak_range(lacking, words) == "≥ 41"
    assert "Without 2 tenants" in overviews.peak_said(lacking, words)
    assert overviews.peak_range(dataclasses.replace(heap, peak=None), words) == "?"


def test_what_was_not_seen_has_no_upper_bound():
    """A heap with a tenant that was not seen all the time is never said to have had so many at most, or just so many."""
    words = wording("en")
    for peak in (Bounds(17, 17), Bounds(17, 40)):
        unsure = dataclasses.replace(month().heap, peak_unknown=0, peak_unsure=1, peak=peak)

        assert overviews.peak_range(unsure, words) == "≥ 17"
        assert "How many at most is not known: of one tenant" in overviews.peak_said(unsure, words)
        assert "of 3 tenants" in overviews.peak_said(dataclasses.replace(unsure, peak_unknown=2), words)


def test_sums_that_lack_a_tenant_are_least():
    """Users, capacity and minutes of several tenants are said as at least where one tenant's are not known."""
    report = month("en")
    full = dataclasses.replace(report.heap, users_unknown=0, capacity_unknown=0, traffic_unsure=0)
    lacking = dataclasses.replace(full, users_unknown=1, capacity_unknown=2, traffic_unsure=1)

    def sums(heap: Heap) -> list[bool]:
        page = overview(dataclasses.replace(report, heap=heap, partners=(("p", "P", heap),)), wording("en"))
        (row,) = page.partners
        tiles = [page.tiles[at].figure for at in (1, 2, 4, 5)]
        assert tiles == [row.users, row.capacity, row.inbound, row.outbound]
        return [figure.startswith("≥ ") for figure in tiles]

    assert sums(full) == [False] * 4
    assert sums(lacking) == [True] * 4


def test_a_difference_is_written_as_what_it_is():
    """Instants are moments, and digits that are no count stand as they are: customers, partners, reasons."""
    found = {
        what: overviews._stated(what, value, wording("en"), ZoneInfo("Europe/Amsterdam"))
        for what, value in [
            ("customer", "00713"), ("partner", "1200"), ("proof.reason", "1200"), ("name", "1200"),
            ("start", "1793487600000"), ("end", "1796079600000"), ("as_of", "1796079600000"),
            ("peak.at", "1793487600000"), ("users", "1200"), ("heap.capacity", "1200"),
            ("heap.inbound.billable_s", "61"), ("expected_ms", "61000"),
        ]
    }  # fmt: skip

    assert found == {
        "customer": "00713", "partner": "1200", "proof.reason": "1200", "name": "1200",
        "start": "1 November 2026, 00:00", "end": "1 December 2026, 00:00", "as_of": "1 December 2026, 00:00",
        "peak.at": "1 November 2026, 00:00", "users": "1,200", "heap.capacity": "1,200",
        "heap.inbound.billable_s": "0:01:01", "expected_ms": "0:01:01",
    }  # fmt: skip


def test_every_whole_number_of_a_report_is_known_as_a_count_a_time_or_an_instant():
    """No field of digits is left to be written as it stands, and no text is written as a number."""
    known = overviews.COUNTS | overviews.INSTANTS
    for kind in (TenantUsage, Heap, Peak, Over, Traffic, Proof, Bounds):
        for name, hint in get_type_hints(kind).items():
            number = hint in (int, int | None)
            assert (
                number == (name in known or name.rpartition("_")[2] in {"ms", "s"}) or name == "level_ms"
            ), name


def test_differences_are_stated_with_both_figures():
    """Each figure that changed stands with what it was and what it is; two that are cut off alike are told apart."""
    report = month(
        "en",
        differences=(
            Difference("ams-01", "eemsmond", "peak.level", "39", "41"),
            Difference("ams-01", "eemsmond", "over.ms", None, "102000"),
            Difference("ams-01", "eemsmond", "peak.ms", "8120", "8121"),
            Difference("ams-01", "gone", "state", "open", "final"),
            Difference("", "beltoren", "heap.users", "120", "135"),
            Difference("ams-01", "eemsmond", "somethingnew", "1200", "x"),
        ),
    )

    assert overview(report, wording("en")).differences == (
        ("Zorggroep Eemsmond", "Peak", "39", "41"),
        ("Zorggroep Eemsmond", "Time over capacity", "not known", "0:01:42"),
        ("Zorggroep Eemsmond", "Peak lasted", "8120", "8121"),
        ("ams-01/gone", "State", "not final", "final"),
        ("Beltoren IT", "All together: Users at the end", "120", "135"),
        ("Zorggroep Eemsmond", "somethingnew", "1200", "x"),
    )


def test_what_makes_a_figure_unsure_is_said_beside_it():
    """Gaps are named with their cause, a contract's other capacity, polls, and unknown users each have their note."""
    page = overview(month("en"), wording("en"))
    notes = {one.name: " ".join(one.notes) for one in page.cards}

    assert "the real peak may be higher" in notes["Scholengroep Leerwijk"]
    assert "for 1 day and 9 hours (the PBX could not be reached)" in notes["Scholengroep Leerwijk"]
    assert "and one more gap" in notes["Scholengroep Leerwijk"]
    assert "configured with 8" in notes["Drukkerij Inktpot"]
    assert "not to be billed" in notes["Garage Bakkeveen"]
    assert "number of users is not known" in notes["Makelaardij Waterkant"]
    assert "asked every few seconds" in notes["Café 't Hoekje"]
    assert "revision 2" in notes["Zorggroep Eemsmond"]
    assert notes["Hotel De Vuurtoren"] == ""


NASTY = "<script>alert(1)</script>\"'&</style><!--{{ 7*7 }}"


def test_no_name_becomes_a_tag_or_a_style():
    """Names, footers and identifiers that look like HTML, CSS or a template stay text, everywhere."""
    calm = month("en")
    brand = Brand(NASTY, calm.brand.colour, footer=f"{NASTY}\n{NASTY}")
    wild = month(
        "en",
        name=NASTY,
        brand=brand,
        tenants=tuple(dataclasses.replace(one, name=NASTY, customer=NASTY) for one in calm.tenants),
        partners=tuple((key, NASTY, heap) for key, _, heap in calm.partners),
        differences=(Difference("a", NASTY, NASTY, NASTY, NASTY),),
    )
    tree = parsed(report_html(wild))
    tags = Counter(
        element.tag
        for element in parsed(
            report_html(dataclasses.replace(calm, brand=dataclasses.replace(calm.brand, logo=None)))
        ).iter()
    )

    assert f"{H}script" not in {element.tag for element in tree.iter()}
    assert Counter(element.tag for element in tree.iter())[f"{H}style"] == tags[f"{H}style"] == 1
    assert "49" not in text(tree.find(f"{H}head/{H}title"))


def test_the_policy_names_the_sheet_and_nothing_else():
    """The page's own policy allows its one style sheet by hash; there is no style attribute, script or outside address."""
    html = report_html(month())
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert css is not None
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()

    assert f"style-src &#39;sha256-{digest}&#39;" in html or f"style-src 'sha256-{digest}'" in html
    assert " style=" not in html
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", html) == []
    assert "http" not in re.sub(r"http-equiv", "", html)


@pytest.mark.parametrize("colour", ["red", "#12345", "#1234567", "url(x)", "#12345g"])
def test_a_colour_that_is_none_is_refused(colour):
    """What is no `#rrggbb` never gets into the sheet."""
    with pytest.raises(ValueError, match="#rrggbb"):
        report_html(month(brand=Brand("A", colour)))


def test_a_logo_of_another_kind_is_left_out():
    """Only pictures are shown; the brand's name stands in any case."""
    html = report_html(month(brand=Brand("Aap Telecom", logo=("text/html", b"<script>"))))

    assert "<img" not in html
    assert "Aap Telecom" in html


def test_tables_and_drawings_have_names():
    """Every heading of a table has a scope, every drawing a text with its figures, every link its place, ids are single."""
    tree = parsed(report_html(month("en")))
    ids = [element.get("id") for element in tree.iter() if element.get("id")]

    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in tree.iter(f"{H}th"))
    drawings = list(tree.iter("{http://www.w3.org/2000/svg}svg"))
    assert len(drawings) == 21  # ten capacities, eleven months
    assert all(one.get("role") == "img" and one.get("aria-label") for one in drawings)
    assert len(ids) == len(set(ids))
    assert {link.get("href")[1:] for link in tree.iter(f"{H}a")} <= set(ids)


def test_of_very_many_those_that_need_a_look_are_drawn():
    """Over three hundred tenants, all stand in the table, and a sentence says which are drawn."""
    calm = [tenant(f"T{at}", f"t{at}", peak=3, capacity=4, seed=1) for at in range(overviews.CARDS)]
    page = overview(month("en", tenants=(*calm, *month().tenants)), wording("en"))

    assert "Drawn here are 8 of 312 tenants" in page.left_out
    assert [one.name for one in page.cards][:2] == ["Hotel De Vuurtoren", "Scholengroep Leerwijk"]
    assert sum(len(sheets) for _, sheets in page.groups) == 312


def test_the_same_report_is_the_same_text():
    """Nothing of a clock or of chance gets in."""
    assert report_html(month()) == report_html(month())


@given(reports)
@settings(max_examples=25, deadline=None)
def test_any_report_becomes_sound_html(report: Report):
    """Whatever a report holds, it renders, without an error that a parser would have to mend, and names every tenant."""
    tree = parsed(report_html(report))

    assert tree.get("lang") == report.language
    assert all(" ".join(one.name.split()) in text(tree) for one in report.tenants)
