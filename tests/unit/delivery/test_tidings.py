"""The operator's mails: every kind of trouble in every language, as text and as HTML."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.tidings import MOST, operator_letter, operator_mail
from delivery.wording import LANGUAGES, wording
from meter.periods import MINUTE_MS
from meter.troubles import Case, Kind, Tidings, Trouble

AT = 1_794_475_867_412  # 2026-11-12T09:31:07.412Z
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def trouble(kind: Kind, subject: str = "pbx1", said: str = "nobody answers at 192.0.2.1:5038.") -> Trouble:
    return Trouble(kind, subject, AT, said, "Is it running?", ("pbx-meter check",), "link.down")


def begun(*troubles: Trouble) -> Tidings:
    return Tidings(AT, tuple((each, AT - 8 * MINUTE_MS) for each in troubles), ())


def over(*kinds: Kind) -> Tidings:
    since, ended = AT - 90 * MINUTE_MS, AT - 5 * MINUTE_MS
    return Tidings(AT, (), tuple(Case(kind, "pbx1", since, since, since, ended) for kind in kinds))


def read(tidings: Tidings, language: str = "en") -> EmailMessage:
    made = operator_mail(
        tidings,
        agent="ams-01",
        language=language,
        tz=AMSTERDAM,
        sender="meter@partner.example",
        recipient="noc@partner.example",
    )
    again = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)
    assert isinstance(again, EmailMessage)
    return again


def part(mail: EmailMessage, subtype: str) -> str:
    body = mail.get_body((subtype,))
    assert body is not None
    return str(body.get_content())


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>|&#39;", lambda m: "'" if m[0].startswith("&") else " ", text).split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", Kind)
def test_everything_promised_is_in_both_parts(kind: Kind, language: str) -> None:
    """What is wrong, since when, what was said, whose it is, whether it is tried again, what to type, where to look it up."""
    mail, say = read(begun(trouble(kind)), language), wording(language).say
    title = say(f"trouble.{kind}.begun", subject="pbx1")
    assert mail["subject"] == f"ams-01: {title}"
    for subtype in ("plain", "html"):
        said = words(part(mail, subtype))
        for promised in (
            title,
            wording(language).moment(AT - 8 * MINUTE_MS, AMSTERDAM),
            "nobody answers at 192.0.2.1:5038. Is it running?",
            say(f"trouble.{kind}.whose"),
            say(f"trouble.{kind}.again"),
            "pbx-meter check",
            "RUNBOOK.md, link.down",
            "ams-01/operator/",
        ):
            assert " ".join(promised.split()) in said, (promised, subtype)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", Kind)
def test_an_end_says_from_when_to_when(kind: Kind, language: str) -> None:
    """The mail that it is over names the same thing, how long it lasted, and asks for nothing."""
    mail, words_ = read(over(kind), language), wording(language)
    assert mail["subject"] == f"ams-01: {words_.say(f'trouble.{kind}.over', subject='pbx1')}"
    for subtype in ("plain", "html"):
        said = words(part(mail, subtype))
        assert words_.duration(85 * MINUTE_MS) in said
        assert words_.say("operator.over", agent="ams-01") in said
        assert "pbx-meter check" not in said


def test_several_are_one_mail_with_the_first_in_its_subject() -> None:
    """The list on a telephone shows which agent, what, and how many more."""
    three = begun(trouble(Kind.UNSEEN), trouble(Kind.UNSEEN, "pbx2"), trouble(Kind.CLOCK, ""))
    assert read(three)["subject"] == "ams-01: PBX pbx1 can't be followed, and 2 more"
    both = Tidings(AT, begun(trouble(Kind.DISK, "")).begun, over(Kind.UNSEEN).over)
    mail = read(both)
    assert mail["subject"] == "ams-01: The disk is nearly full, and 1 more"
    assert "PBX pbx1 is followed again" in part(mail, "plain")


def test_a_hundred_are_still_one_mail() -> None:
    """A provider that refuses five hundred tenants makes a mail that people read, not a list."""
    many = begun(*(trouble(Kind.RECORD, f"tenant{n:03}/2026-11/final") for n in range(500)))
    letter = operator_letter(many, wording("en"), AMSTERDAM, agent="ams-01", id_="x")
    assert len(letter.items) == MOST
    assert letter.more.startswith(f"{500 - MOST} more are left out")
    assert len(read(many).as_bytes()) < 100_000


@given(st.text(max_size=600))
def test_what_others_said_is_only_text(said: str) -> None:
    """Whatever a provider or a mail server said, it becomes no tag and no header, and is cut to a bearable length."""
    mail = read(begun(trouble(Kind.RECORD, "acme/2026-11/final", said + "<script>\r\nBcc: x@y")))
    assert "<script>" not in part(mail, "html")
    assert mail["bcc"] is None
    assert len(part(mail, "plain")) < 3_000


def test_the_same_tidings_give_the_same_bytes() -> None:
    """Made again after a crash it is the same mail, Message-ID included."""
    assert read(begun(trouble(Kind.UNSEEN))).as_bytes() == read(begun(trouble(Kind.UNSEEN))).as_bytes()


def test_every_entry_that_a_mail_names_is_in_the_runbook() -> None:
    """Who looks it up finds it."""
    root = Path(__file__).parents[3]
    headings = "".join(re.findall(r"^### .+$", (root / "deploy/RUNBOOK.md").read_text("utf-8"), re.MULTILINE))
    source = (root / "agent/troubles.py").read_text("utf-8")
    entries = set(
        re.findall(r'"((?:link|chain|upstream|record|parcel|clock|disk|extensions)\.[a-z_]+)"', source)
    )
    assert len(entries) >= len(Kind) - 1  # two kinds share the link's
    assert sorted(entry for entry in entries if f"`{entry}`" not in headings) == []


@pytest.mark.parametrize(
    ("said", "hint", "read_as"),
    [
        ("parked", "mend it", "parked. mend it"),
        ("It is down.", "Start it.", "It is down. Start it."),
        ("the disk has 3 MiB left", "", "the disk has 3 MiB left"),
    ],
)
def test_what_was_said_and_what_to_do_are_two_sentences(said: str, hint: str, read_as: str) -> None:
    """Whoever said it, with a full stop or without, it reads as sentences."""
    one = Trouble(Kind.DISK, "", None, said, hint, (), "disk.nearly_full")
    assert f"What was said: {read_as} Whose it is:" in words(part(read(begun(one)), "plain"))
