"""What the operator is told, as a letter and a mail: what needs a hand, and what does no more.

Pure, and the same for text and HTML, as a notice's letter. What PBXs, providers and mail servers
said stands in it in their own words; a label says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from email.message import EmailMessage
from typing import Final

from delivery.mail import Brand, compose, one_line
from delivery.wording import Wording, wording
from meter.model import Instant
from meter.troubles import Case, Tidings, Trouble

#: A letter tells so many troubles, and how many more there are: people stop reading.
MOST: Final = 10
#: What others said is cut here.
_LONGEST_QUOTE: Final = 400


@dataclass(frozen=True, slots=True)
class Item:
    """One trouble in a letter.

    Attributes:
        title: What is so, or is so no more.
        over: Whether it is over.
        facts: (what, words), each short.
        next: What stands above the commands.
        commands: What to type, line by line; none when it is over.
    """

    title: str
    over: bool
    facts: tuple[tuple[str, str], ...]
    next: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OperatorLetter:
    """One mail's sentences, in the order in which they are read.

    Attributes:
        subject: One line: which agent, and what first; good in a telephone's list.
        headline: The same without the agent.
        lead: Whose agent, and what is asked of the reader.
        items: The troubles, those that stand first.
        more: How many are left out; "": none.
        assurance: What did not happen; the first part is the stronger one.
        small: What identifies the mail and its times.
    """

    subject: str
    headline: str
    lead: str
    items: tuple[Item, ...]
    more: str
    assurance: tuple[str, str]
    small: tuple[str, ...]


def operator_letter(
    tidings: Tidings, wording: Wording, tz: tzinfo, *, agent: str, id_: str
) -> OperatorLetter:
    """Say tidings in a language.

    Args:
        tidings: What to say, of at least one trouble.
        wording: The language.
        tz: The agent's time zone.
        agent: The agent's id.
        id_: What identifies the mail.
    """
    begun = [_begun(trouble, since, tidings.at, wording, tz) for trouble, since in tidings.begun]
    over = [_over(case, tidings.at, wording, tz) for case in tidings.over]
    items = begun + over
    others = len(items) - 1
    headline = items[0].title
    if others:
        headline = wording.say("operator.several", title=headline, n=others)
    left_out = len(items) - MOST
    return OperatorLetter(
        subject=f"{agent}: {headline}",
        headline=headline,
        lead=wording.say("operator.begun" if begun else "operator.over", agent=agent),
        items=tuple(items[:MOST]),
        more=wording.say("operator.more", n=left_out) if left_out > 0 else "",
        assurance=(wording.say("operator.calm"), wording.say("operator.gaps")),
        small=(
            wording.say("note.times", timezone=str(tz)),
            wording.say("note.reference", id=id_),
        ),
    )


def operator_mail(
    tidings: Tidings, *, agent: str, language: str, tz: tzinfo, sender: str, recipient: str
) -> EmailMessage:
    """Return the mail that tells one recipient, as `delivery.mail.notice_mail` does of a notice.

    Raises:
        ValueError: No such language, or an address that mail can't use.
    """
    id_ = topic(agent, tidings)
    return compose(
        operator_letter(tidings, wording(language), tz, agent=agent, id_=id_),
        template="operator",
        brand=Brand("pbx-meter"),
        language=language,
        sender=sender,
        recipient=recipient,
        topic=id_,
        at=tidings.at,
    )


def topic(agent: str, tidings: Tidings) -> str:
    """Return what identifies tidings among everything that leaves an agent."""
    return f"{agent}/operator/{tidings.at}"


def _begun(trouble: Trouble, since: Instant, at: Instant, wording: Wording, tz: tzinfo) -> Item:
    kind = trouble.kind.value

    def fact(key: str, value: str) -> tuple[str, str]:
        return wording.say(f"operator.{key}"), value

    lasting = wording.duration(max(0, at - since))
    facts = [fact("since", f"{wording.moment(since, tz)} ({lasting})")]
    said = one_line(_joined(trouble.said, trouble.hint))
    if said:
        facts.append(fact("said", said if len(said) <= _LONGEST_QUOTE else said[:_LONGEST_QUOTE] + "…"))
    facts += [
        fact("whose", wording.say(f"trouble.{kind}.whose")),
        fact("again", wording.say(f"trouble.{kind}.again")),
        fact("entry", f"/usr/share/pbx-meter/RUNBOOK.md, {trouble.entry}"),
    ]
    title = wording.say(f"trouble.{kind}.begun", subject=trouble.subject)
    return Item(
        title, over=False, facts=tuple(facts), next=wording.say("operator.next"), commands=trouble.commands
    )


def _over(case: Case, at: Instant, wording: Wording, tz: tzinfo) -> Item:
    ended = at if case.well_at is None else case.well_at
    facts = (
        (wording.say("operator.since"), wording.moment(case.since, tz)),
        (wording.say("operator.until"), wording.moment(ended, tz)),
        (wording.say("operator.lasted"), wording.duration(max(0, ended - case.since))),
    )
    title = wording.say(f"trouble.{case.kind.value}.over", subject=case.subject)
    return Item(title, over=True, facts=facts, next="", commands=())


def _joined(said: str, hint: str) -> str:
    """Put two sentences behind each other; the first one may lack its full stop."""
    if not (said and hint):
        return said or hint
    return f"{said} {hint}" if said.endswith((".", "!", "?")) else f"{said}. {hint}"
