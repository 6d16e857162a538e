from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.letter import bar
from delivery.mail import Brand, _luminance, notice_mail
from delivery.wording import LANGUAGES, wording
from meter.model import Level
from meter.notices import Notice

MakeNotice = Callable[..., Notice]

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
BRAND = Brand("Partner Telecom", "#1f4e79", "support@partner.example", "Partner Telecom B.V.\nAmsterdam")
SORTS = ("over", "again", "warning", "ended")
NO_CALL_BLOCKED = {
    "en": "No call was blocked",
    "nl": "geen enkele oproep geblokkeerd",
    "it": "Nessuna chiamata è stata bloccata",
    "de": "kein einziger Anruf blockiert",
}
COUNTED = {
    "en": "lines to the outside",
    "nl": "lijnen naar buiten",
    "it": "linee verso l'esterno",
    "de": "Leitungen nach außen",
}
HOW_LONG = {
    "en": "Over capacity 3 times, 1 minute and 42 seconds",
    "nl": "3 keer boven de capaciteit, tot nu toe 1 minuut en 42 seconden",
    "it": "3 volte oltre la capacità, finora 1 minuto e 42 secondi",
    "de": "3-mal über der Kapazität, bisher 1 Minute und 42 Sekunden",
}


def build(notice: Notice, language: str = "nl", brand: Brand = BRAND, **fields: Any) -> EmailMessage:
    """Make the mail, and read it back from its bytes as a mail client would."""
    fields = {"sender": "meter@partner.example", "recipient": "noc@partner.example", **fields}
    made = notice_mail(notice, brand=brand, language=language, tz=AMSTERDAM, **fields)
    read = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    return read


def text(mail: EmailMessage) -> str:
    """Give the text part as one line: where it breaks says nothing."""
    return " ".join(part(mail, "plain").split())


def part(mail: EmailMessage, subtype: str) -> str:
    body = mail.get_body((subtype,))
    assert body is not None
    return str(body.get_content())


class Reader(HTMLParser):
    """Reads the HTML part: its words, and every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in {"style", "title"}

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"style", "title"}

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sort", SORTS)
def test_every_promised_fact_is_in_both_parts(make_notice: MakeNotice, sort: str, language: str) -> None:
    """Who, when, how many of how many, that no call was blocked, what is counted, and which notice it is."""
    notice = make_notice(sort)
    mail = build(notice, language)
    for said in (text(mail), Reader(part(mail, "html")).text):
        assert "ACME B.V." in said
        assert wording(language).date(notice.at, AMSTERDAM) in said
        assert "10:31:07" in said
        assert "(CET)" in said
        assert re.search(rf"\b{notice.level}\b", said)
        assert re.search(r"\b16\b", said)
        assert NO_CALL_BLOCKED[language] in said
        assert COUNTED[language] in said
        assert notice.id in said
        assert "Europe/Amsterdam" in said
        assert "Partner Telecom B.V." in said


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sort", ["over", "again", "ended"])
def test_an_overrun_says_how_far_how_long_how_often_and_what_fits(
    make_notice: MakeNotice, sort: str, language: str
) -> None:
    """By how many, for how long and how often this period, the peak, and the package that would fit."""
    notice = make_notice(sort)
    said = text(build(notice, language))
    over_by = (19 if sort != "over" else 17) - 16
    assert re.search(rf": {over_by} \w+", said)
    assert HOW_LONG[language] in said
    assert wording(language).say("unit.channels", n=24) in said
    assert wording(language).say("unit.channels", n=17 if sort == "over" else 19) in said
    assert wording(language).period(notice.period_start, notice.period_end, AMSTERDAM) in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_repetition_tells_of_the_whole_episode(make_notice: MakeNotice, language: str) -> None:
    """When it began, since when the level has been over, and that it is not the first notice."""
    notice = make_notice("again")
    mail = build(notice, language)
    said = text(mail)
    assert notice.episode_start is not None
    assert notice.over_since is not None
    assert wording(language).moment(notice.episode_start, AMSTERDAM) in said
    assert wording(language).moment(notice.over_since, AMSTERDAM) in said
    assert wording(language).duration(754_000) in said
    assert mail["Subject"] != build(make_notice("over", level=19), language)["Subject"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_warning_says_how_near_and_from_when_it_warns(make_notice: MakeNotice, language: str) -> None:
    """The share of the capacity, cut off, and the share at which warnings begin."""
    said = text(build(make_notice("warning"), language)).replace(" %", "%")
    assert "93%" in said
    assert "90%" in said
    assert wording(language).say("often.never") in said
    assert (
        wording(language).say("package.present", units=wording(language).say("unit.channels", n=16)) in said
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("basis", Level)
def test_every_basis_has_its_own_words(make_notice: MakeNotice, basis: Level, language: str) -> None:
    """Channels are lines, calls are calls, and each says in half a line what it counts."""
    said = text(build(make_notice("over", basis=basis), language))
    assert wording(language).say(f"basis.{basis}") in said
    assert wording(language).say(f"unit.{basis}", n=24) in said


@pytest.mark.parametrize(
    ("sort", "language", "subject"),
    [
        ("over", "nl", "ACME B.V. zit boven de capaciteit (17 lijnen, 16 afgesproken)"),
        ("over", "en", "ACME B.V. is over its capacity (17 lines, 16 agreed)"),
        ("over", "it", "ACME B.V. ha superato la capacità (17 linee su 16)"),
        ("over", "de", "ACME B.V. liegt über der Kapazität (17 Leitungen, 16 vereinbart)"),
        ("again", "nl", "ACME B.V. zit opnieuw boven de capaciteit (19 lijnen, 16 afgesproken)"),
        ("warning", "nl", "ACME B.V. zit dicht bij de capaciteit (15 lijnen, 16 afgesproken)"),
        ("ended", "nl", "ACME B.V. zit weer binnen de capaciteit (hoogste stand 19, 16 afgesproken)"),
    ],
)
def test_the_subject_says_it_all(make_notice: MakeNotice, sort: str, language: str, subject: str) -> None:
    """Who reads only the subject knows who, what and how much."""
    # Python folds a subject of just one line's length behind its name: readers drop that space.
    assert build(make_notice(sort), language)["Subject"].strip() == subject


def test_nothing_unknown_becomes_a_figure(make_notice: MakeNotice) -> None:
    """Without packages nothing is said of packages, without a peak nothing of a peak; gaps are told."""
    said = text(build(make_notice(peak=None, peak_at=None, package=None, packages=(), incomplete=True), "en"))
    assert "Package" not in said
    assert "Highest" not in said
    assert "None" not in said
    assert "was not observed" in said
    assert "was not observed" not in text(build(make_notice(), "en"))


def test_a_peak_that_no_package_fits_says_so(make_notice: MakeNotice) -> None:
    """The largest is named, none is invented."""
    assert "None of the packages; the largest is 48 lines" in text(
        build(make_notice(peak=61, package=None), "en")
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("sort", SORTS)
def test_one_line_is_not_lines(make_notice: MakeNotice, sort: str, language: str) -> None:
    """With a capacity of one the mail is still made, and its singular is one."""
    notice = make_notice(
        sort, level=1 if sort != "over" else 2, capacity=1, peak=2, episode_peak=2, overruns=1
    )
    said = text(build(notice, language))
    plural = wording(language).say("unit.channels", n=2).removeprefix("2")
    assert f" 1{plural}" not in said


def test_the_headers_are_those_of_a_machines_letter(make_notice: MakeNotice) -> None:
    """A sender with the brand's name, one recipient, a date, and the wish not to be answered by machines."""
    mail = build(make_notice(), "it")
    assert mail["From"] == "Partner Telecom <meter@partner.example>"
    assert mail["To"] == "noc@partner.example"
    assert mail["Reply-To"] == "support@partner.example"
    assert mail["Date"] == "Thu, 12 Nov 2026 09:31:07 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "it"
    assert mail.get_content_type() == "multipart/alternative"
    assert [body.get_content_type() for body in mail.iter_parts()] == ["text/plain", "text/html"]
    assert build(make_notice(), brand=Brand("x"))["Reply-To"] is None


@pytest.mark.parametrize("sort", SORTS)
def test_a_mail_made_again_is_the_same_mail(make_notice: MakeNotice, sort: str) -> None:
    """Byte for byte, Message-ID and boundary included."""
    assert build(make_notice(sort)).as_bytes() == build(make_notice(sort)).as_bytes()


def test_each_notice_and_recipient_has_its_own_message_id(make_notice: MakeNotice) -> None:
    """In the sender's domain, different for another notice and another recipient, and for nothing else."""
    mail = build(make_notice())
    assert re.fullmatch(r"<[0-9a-f]{24}@partner\.example>", mail["Message-ID"])
    assert build(make_notice(), "de", Brand("Other"))["Message-ID"] == mail["Message-ID"]
    others = {
        build(make_notice(id="ams-01/acme/2026-11/notice/4"))["Message-ID"],
        build(make_notice(), recipient="boss@partner.example")["Message-ID"],
    }
    assert len(others | {mail["Message-ID"]}) == 3


@pytest.mark.parametrize("sort", SORTS)
def test_every_line_survives_any_server(make_notice: MakeNotice, sort: str) -> None:
    """ASCII, CRLF, short lines: nothing on the way has a reason to change a byte."""
    made = notice_mail(
        make_notice(sort, tenant_name="Caffè " * 40),
        brand=BRAND,
        language="it",
        tz=AMSTERDAM,
        sender="meter@partner.example",
        recipient="noc@partner.example",
    ).as_bytes()
    assert made.isascii()
    assert made.count(b"\n") == made.count(b"\r\n")
    assert max(map(len, made.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    "name",
    [
        "ACME\r\nBcc: x@evil.example",
        "ACME\nSubject: won",
        "ACME\u2028Bcc: x@evil.example",
        "ACME\x00\x1b[31m",
        'A"<x@evil.example>, "B',
        "\u202eEMCA",
        "=?utf-8?q?=0D=0ABcc:_x=40evil.example?=",
    ],
)
def test_no_name_becomes_a_header(make_notice: MakeNotice, name: str) -> None:
    """A tenant's or brand's name with line breaks, quotes or tricks gives the same headers as a plain one."""
    mail = build(make_notice(tenant_name=name), brand=Brand(name))
    assert mail.keys() == build(make_notice(), brand=Brand("x")).keys()
    assert [address.addr_spec for address in mail["From"].addresses] == ["meter@partner.example"]
    assert mail["To"] == "noc@partner.example"
    assert mail["Subject"].isprintable()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=200), st.text(max_size=200))
def test_no_name_keeps_a_notice_from_being_sent(make_notice: MakeNotice, tenant: str, brand: str) -> None:
    """Whatever the names hold, there is a mail with its own headers and nobody else's."""
    mail = build(make_notice(tenant_name=tenant), brand=Brand(brand, footer=tenant))
    assert mail.get_all("To") == ["noc@partner.example"]
    assert mail["Bcc"] is None


def test_no_name_becomes_a_tag_or_a_style(make_notice: MakeNotice) -> None:
    """Names are shown as they are written; the tags stay those of the template."""
    evil = '</td><script>alert(1)</script><img src=x onerror=y>" style="x'
    plain = Reader(part(build(make_notice()), "html"))
    hostile = Reader(
        part(
            build(make_notice(tenant_name=evil), brand=Brand(evil, BRAND.colour, footer=evil + "\nx")), "html"
        )
    )
    assert hostile.tags == plain.tags
    assert "<script>alert(1)</script>" in hostile.text


@pytest.mark.parametrize("colour", ["red", "#fff", "#1f4e79;", "url(x)", "#gggggg", "", "#1f4e79\n"])
def test_a_colour_is_six_hex_digits(colour: str) -> None:
    """Anything else could be a style of its own."""
    with pytest.raises(ValueError, match="#rrggbb"):
        Brand("x", colour)


def test_a_reply_to_is_one_address() -> None:
    """It becomes a header, so it is checked when the brand is made."""
    with pytest.raises(ValueError, match="reply_to"):
        Brand("x", reply_to="a@b\r\nBcc: c@d")


@pytest.mark.parametrize(
    "fields", [{"recipient": "a@b, c@d"}, {"sender": "Meter <m@x>"}, {"recipient": "x\r\nBcc: a@b"}]
)
def test_addresses_that_are_not_one_address_are_refused(
    make_notice: MakeNotice, fields: dict[str, Any]
) -> None:
    """A mail goes to one recipient, from one sender."""
    with pytest.raises(ValueError, match="plain addresses"):
        build(make_notice(), **fields)


def test_an_unknown_language_is_refused_before_there_is_a_mail(make_notice: MakeNotice) -> None:
    """Nobody gets half a mail."""
    with pytest.raises(ValueError, match="de, en, it, nl"):
        build(make_notice(), "fr")


@pytest.mark.parametrize("sort", SORTS)
def test_the_html_works_in_mail_clients(make_notice: MakeNotice, sort: str) -> None:
    """No script, no form, no picture, nothing fetched; a language, a title, a heading, and the bar in words."""
    reader = Reader(part(build(make_notice(sort), "de"), "html"))
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "img", "link", "iframe", "form", "input", "svg", "a"}
    assert {"html", "title", "h1"} <= names
    for tag, attributes in reader.tags:
        assert not {"src", "href", "onclick", "onload"} & attributes.keys()
        assert "url(" not in (attributes.get("style") or "")
        if tag == "table" and attributes.get("role") != "presentation":
            assert any(name == "th" and cell.get("scope") == "row" for name, cell in reader.tags)
    assert ("html", {"lang": "de", "dir": "ltr"}) in reader.tags
    labels = [attributes["aria-label"] for _, attributes in reader.tags if attributes.get("role") == "img"]
    assert labels == [f"{make_notice(sort).level} von 16"]


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_the_bar_fills_its_width_and_hides_nothing(level: int, capacity: int) -> None:
    """Its parts make 100, each that exists is seen, and none that does not exist is."""
    drawn = bar(level, capacity, wording("en"))
    assert drawn.within + drawn.over + drawn.free == 100
    assert (drawn.over > 0) == (level > capacity)
    assert (drawn.free > 0) == (level < capacity)
    assert (drawn.within > 0) == (level > 0)


@given(st.integers(0, 0xFFFFFF))
def test_every_brands_colour_can_be_read_and_seen(number: int) -> None:
    """Letters on it have a contrast of at least 4.5, the bar of at least 3 to a light and a dark card (WCAG 2.2)."""
    brand = Brand("x", f"#{number:06x}")

    def contrast(one: str, other: str) -> float:
        dark, light = sorted((_luminance(one), _luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    assert contrast(brand.ink, brand.colour) >= 4.5
    assert contrast(brand.bar, "#ffffff") >= 3
    assert contrast(brand.bar_dark, "#1f2327") >= 3


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_left_unfilled(make_notice: MakeNotice, sort: str, language: str) -> None:
    """No brace, no None, no tag in the text."""
    assert not re.search(r"[{}<>]|None|Undefined", text(build(make_notice(sort), language)))
