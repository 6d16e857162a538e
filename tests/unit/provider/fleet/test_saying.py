"""What findings are called, in the languages that there are, and the mail that carries them."""

from __future__ import annotations

import email
import email.policy
import shlex
from zoneinfo import ZoneInfo

import click
import pytest

from agent import cli
from delivery.wording import LANGUAGES, wording
from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS
from provider import cli as provider_cli
from provider.fleet.findings import Finding, Key, Kind
from provider.fleet.mailing import Reader, letters
from provider.fleet.saying import COMMANDS, MOST, fleet_letter, next_step, sentence, who
from provider.fleet.telling import Kept, News

#: 2026-11-22T07:00Z
NOW = 1_795_330_800_000
AMSTERDAM = ZoneInfo("Europe/Amsterdam")

EVERY = (
    Finding(
        Key(Kind.CONTRADICTED, "ams-01"), "", NOW - DAY_MS, 2, {"count": 2, "error": "fork", "last_at": NOW}
    ),
    Finding(Key(Kind.KEYLESS, "ams-02"), "", NOW),
    Finding(
        Key(Kind.SILENT, "ams-03"),
        "",
        NOW - 5 * HOUR_MS,
        1,
        {"silent_ms": 5 * HOUR_MS, "interval_ms": HOUR_MS, "heard_at": NOW - 5 * HOUR_MS},
    ),
    Finding(Key(Kind.SILENT, "ams-04"), "", None, 1, {"silent_ms": 9 * HOUR_MS, "interval_ms": HOUR_MS}),
    Finding(
        Key(Kind.UNREPORTED, "ams-05", "acme"),
        "ACME B.V.",
        NOW - DAY_MS,
        1,
        {"silent_ms": DAY_MS, "interval_ms": HOUR_MS, "as_of": NOW},
    ),
    Finding(Key(Kind.HOLE, "ams-06"), "", None, 1, {"count": 1, "first": 7, "last": 7, "chain": "c-1"}),
    Finding(Key(Kind.HOLE, "ams-07"), "", None, 9, {"count": 9, "first": 7, "last": 15, "chain": "c-1"}),
    Finding(Key(Kind.KEY_ENDS, "ams-08"), "", None, 0, {"ends_at": NOW + 3 * DAY_MS, "left_ms": 3 * DAY_MS}),
    Finding(Key(Kind.CLOCK, "ams-09")),
    Finding(Key(Kind.CLOCK, "ams-10"), "", None, 1, {"ahead_ms": 4 * MINUTE_MS}),
    Finding(
        Key(Kind.OVER, "ams-11", "acme"),
        "ACME B.V.",
        None,
        125,
        {"peak": 20, "capacity": 16, "share": 125, "basis": "channels"},
    ),
    Finding(
        Key(Kind.COVERAGE, "ams-12", "acme"),
        "Acme",
        None,
        1,
        {"unseen_ms": HOUR_MS, "expected_ms": 2 * DAY_MS},
    ),
    Finding(
        Key(Kind.NEAR, "ams-13", "acme"),
        "",
        None,
        93,
        {"peak": 15, "capacity": 16, "share": 93, "basis": "answered"},
    ),
    Finding(Key(Kind.UNCLASSIFIED, "ams-14", "acme"), "ACME", None, 1, {"legs": 1}),
    Finding(Key(Kind.OLD, "ams-15"), "", None, 0, {"version": "0.1.0", "newest": "0.2.0"}),
)


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("finding", EVERY, ids=lambda finding: finding.key.agent)
def test_every_finding_can_be_said(code, finding):
    """In every language a finding is a sentence with all its figures, what is over is one, and so is what to do."""
    words = wording(code)
    said = sentence(finding, words, AMSTERDAM)

    assert "{" not in said
    assert said.endswith(".")
    for figure in ("peak", "capacity", "share", "legs", "newest", "version", "chain"):
        assert str(finding.figures.get(figure, "")) in said
    assert words.say(f"fleet.{finding.key.kind}.over")
    assert next_step(finding.key.kind, words).endswith(":"), "a command follows"


@pytest.mark.parametrize(
    "line", sorted({line for lines in COMMANDS.values() for line in lines if line.startswith("pbx-meter")})
)
def test_what_is_to_be_typed_can_be_typed(line):
    """Each command is one of the programs', and its options are its own."""
    program, *words = shlex.split(line)
    command = {"pbx-meter": cli.main, "pbx-meter-provider": provider_cli.main}[program]
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    context = command.make_context("x", words, resilient_parsing=True)

    assert context.args == []
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= flags


def test_every_kind_has_a_next_step():
    """There is no finding that leaves its reader alone."""
    assert set(COMMANDS) == set(Kind) == {finding.key.kind for finding in EVERY}


def test_a_letter_in_english():
    """Sentences as people read them."""
    said = [sentence(finding, wording("en"), AMSTERDAM) for finding in EVERY]

    assert said[:4] == [
        "2 records contradict what the books hold.",
        "Its key is withdrawn: nothing that it sends is taken.",
        "Nothing has come for 5 hours; its interval is 1 hour.",
        "It enrolled 9 hours ago, and has sent nothing yet.",
    ]
    assert said[7] == "Its key is good until 25 November, 08:00: 3 days left."
    assert said[10] == "Peak of 20 lines with 16 agreed (125%). No call was blocked."


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        (Key(Kind.OLD, "ams-01"), "", "ams-01"),
        (Key(Kind.OVER, "ams-01", "acme"), "ACME B.V.", "ams-01 · ACME B.V. (acme)"),
        (Key(Kind.OVER, "ams-01", "acme"), "Acme", "ams-01 · Acme"),
        (Key(Kind.OVER, "ams-01", "acme"), "", "ams-01 · acme"),
    ],
)
def test_whom_it_is_about(key, name, says):
    """Agent and tenant, the tenant as people know it, and nothing twice."""
    assert who(key, name) == says


def test_a_long_letter_is_cut():
    """Of one kind so many are named, and how many more there are."""
    found = tuple(Finding(Key(Kind.CLOCK, f"ams-{n:03}")) for n in range(MOST + 7))
    letter = fleet_letter(News(found, (), 3), wording("en"), AMSTERDAM, at=NOW, id_="x")

    (group,) = letter.begun
    assert (len(group.items), group.more) == (MOST, "and 7 more")
    assert letter.subject == f"Agents: {MOST + 7} things need a hand"
    assert letter.standing == "3 that you were told of before still stand."
    assert letter.over is None


def test_what_is_over_is_said_with_its_name():
    """The end names what it was and since when; of an agent that was taken out of service nothing is called better."""
    over = (
        (Key(Kind.SILENT, "ams-01"), Kept("", NOW - 9 * HOUR_MS, NOW, NOW, NOW)),
        (Key(Kind.OVER, "ams-02", "acme"), Kept("ACME", NOW - DAY_MS, NOW, NOW, NOW)),
    )
    letter = fleet_letter(
        News((), over, 0), wording("en"), AMSTERDAM, at=NOW, id_="x", gone=frozenset({"ams-02"})
    )

    assert letter.subject == "Agents: 2 are over"
    assert [(item.who, item.since, item.text) for item in letter.over.items] == [
        ("ams-01", "Silent, since 21 November, 23:00", "It sends again."),
        ("ams-02 · ACME", "Over capacity, since 21 November, 08:00", wording("en").say("fleet.gone")),
    ]


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_mail(code):
    """Each address gets the whole, as text and as HTML, the same bytes each time; nothing of a name becomes a tag."""
    odd = Finding(Key(Kind.UNCLASSIFIED, "ams-16", "acme"), "<b>A & B</b>\r\nBcc: x", None, 1, {"legs": 2})
    over = ((Key(Kind.HOLE, "ams-17"), Kept("", NOW - DAY_MS, NOW, NOW, NOW)),)
    news = News((*EVERY, odd), over, 2)
    reader = Reader(("a@example.nl", "b@example.nl"), "meter@example.nl", code, AMSTERDAM)

    made = letters(news, reader, NOW)

    assert made == letters(news, reader, NOW)
    assert [letter.target for letter in made] == list(reader.addresses)
    assert len({letter.id for letter in made}) == 2
    message = email.message_from_bytes(made[0].body, policy=email.policy.SMTP)
    text = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    assert message["Bcc"] is None
    assert "<b>A" not in html
    for kind, commands in COMMANDS.items():
        assert wording(code).say(f"fleet.{kind}.title") in text
        assert all(command in text for command in commands)
    for finding in EVERY:
        assert finding.key.agent in text
        assert finding.key.agent in html
    assert len(max(text.splitlines(), key=len)) <= 90
    assert len(made[0].body) < 100_000


def test_no_news_is_no_mail():
    """Nothing to tell: nobody is written to."""
    assert letters(News((), (), 5), Reader(("a@example.nl",), "meter@example.nl"), NOW) == ()
