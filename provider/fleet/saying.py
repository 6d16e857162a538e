"""What is said of findings: sentences in a language, and the letter that carries them. Pure.

The same sentences stand in the mail and in `pbx-meter-provider fleet`. Commands are
the same in every language; they are what to type next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from types import MappingProxyType
from typing import Final, TypeVar

from delivery.wording import Wording
from meter.model import Instant
from provider.fleet.findings import Finding, Key, Kind
from provider.fleet.telling import Kept, News

T = TypeVar("T")

#: A letter names so many findings of one kind, and how many more there are: people stop reading.
MOST: Final = 10
#: What shows all of them.
ALL: Final = "pbx-meter-provider fleet"

#: What to type next: on the machine of the agent, unless it begins with pbx-meter-provider.
COMMANDS: Final[Mapping[Kind, tuple[str, ...]]] = MappingProxyType(
    {
        Kind.CONTRADICTED: ("pbx-meter status", "pbx-meter chain new"),
        Kind.KEYLESS: (
            "pbx-meter-provider enrol-token AGENT --tenant TENANT --url URL",
            "pbx-meter enrol 'LINE'",
        ),
        Kind.SILENT: ("systemctl status pbx-meter", "pbx-meter status"),
        Kind.UNREPORTED: ("pbx-meter status", "pbx-meter check"),
        Kind.HOLE: (
            "pbx-meter export --since NUMBER --output records.jws",
            "pbx-meter-provider import records.jws",
        ),
        Kind.KEY_ENDS: ("pbx-meter keys change",),
        Kind.CLOCK: ("timedatectl set-ntp true",),
        Kind.OVER: ("pbx-meter-provider summaries --agent AGENT --tenant TENANT",),
        Kind.COVERAGE: ("pbx-meter explain --tenant TENANT",),
        Kind.NEAR: ("pbx-meter-provider summaries --agent AGENT --tenant TENANT",),
        Kind.UNCLASSIFIED: ("pbx-meter check",),
        Kind.OLD: ("pbx-meter-provider fleet --all",),
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One finding in a letter: `who` is agent and tenant, `since` may be ""."""

    who: str
    text: str
    since: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one kind.

    Attributes:
        title: What they have in common.
        items: The worst first, at most `MOST`.
        more: How many are left out; "": none.
        next: What to do; stands above the commands.
        commands: What to type; none where all is over.
    """

    title: str
    items: tuple[Item, ...]
    more: str
    next: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetLetter:
    """One mail's sentences, in the order in which they are read.

    Attributes:
        subject: One line: how many need a hand, how many are over.
        headline: The same.
        lead: How often something is told.
        begun: What is new, kind by kind, the worst first.
        over: What is over; None: nothing.
        standing: How many others still stand; "": none.
        all: Where all of them are seen.
        small: What identifies the mail and its times.
    """

    subject: str
    headline: str
    lead: str
    begun: tuple[Group, ...]
    over: Group | None
    standing: str
    all: str
    small: tuple[str, ...]


def fleet_letter(
    news: News,
    wording: Wording,
    tz: tzinfo,
    *,
    at: Instant,
    id_: str,
    gone: Collection[str] = (),
) -> FleetLetter:
    """Say news in a language.

    Args:
        news: What to tell; not nothing.
        wording: The language.
        tz: Where the reader is.
        at: When it is told.
        id_: What identifies the mail.
        gone: Agents that were taken out of service: nothing of them got better.
    """
    counts = {"new": len(news.begun), "past": len(news.over)}
    what = {key: wording.say(f"fleet.{key}", n=n) for key, n in counts.items() if n}
    headline = wording.say("fleet.and", **what) if len(what) > 1 else "".join(what.values())
    by_kind = groupby(news.begun, key=lambda finding: finding.key.kind)
    return FleetLetter(
        subject=wording.say("fleet.subject", what=headline),
        headline=headline,
        lead=wording.say("fleet.lead"),
        begun=tuple(_group(kind, list(found), wording, tz) for kind, found in by_kind),
        over=_over(news.over, wording, tz, gone),
        standing=wording.say("fleet.standing", n=news.standing) if news.standing else "",
        all=wording.say("fleet.all", command=ALL),
        small=(
            wording.say("fleet.at", moment=wording.moment(at, tz)),
            wording.say("note.times", timezone=str(tz)),
            wording.say("note.reference", id=id_),
        ),
    )


def sentence(finding: Finding, wording: Wording, tz: tzinfo) -> str:
    """Say a finding, without whom it is about."""
    kind, figures = finding.key.kind, finding.figures
    values: dict[str, int | str] = {
        name.removesuffix("_ms"): wording.duration(int(value))
        for name, value in figures.items()
        if name.endswith("_ms")
    }
    values |= {name: value for name, value in figures.items() if not name.endswith(("_ms", "_at"))}
    form = "text"
    match kind:
        case Kind.CONTRADICTED | Kind.HOLE:
            values["n"] = figures["count"]
        case Kind.UNCLASSIFIED:
            values["n"] = figures["legs"]
        case Kind.SILENT if "heard_at" not in figures:
            form = "never"
        case Kind.CLOCK if "ahead_ms" in figures:
            form = "ahead"
        case Kind.KEY_ENDS:
            values["ends"] = wording.moment(int(figures["ends_at"]), tz)
        case Kind.OVER | Kind.NEAR:
            values["units"] = wording.say(f"unit.{figures['basis']}", n=figures["peak"])
    return wording.say(f"fleet.{kind}.{form}", **values)


def next_step(kind: Kind, wording: Wording) -> str:
    """Say what to do about findings of a kind; `COMMANDS` are what to type."""
    return wording.say(f"fleet.{kind}.next")


def who(key: Key, name: str) -> str:
    """Name an agent and a tenant of it; the tenant as people know it, and its id if that is another word."""
    if not key.tenant:
        return key.agent
    tenant = name if name.casefold() == key.tenant.casefold() or not name else f"{name} ({key.tenant})"
    return f"{key.agent} · {tenant or key.tenant}"


def _group(kind: Kind, found: list[Finding], wording: Wording, tz: tzinfo) -> Group:
    def item(finding: Finding) -> Item:
        since = "" if finding.since is None else wording.moment(finding.since, tz)
        if since:
            since = wording.say("fleet.since", moment=since)
        return Item(who(finding.key, finding.name), sentence(finding, wording, tz), since)

    items, more = _cut(found, item, wording)
    title = wording.say(f"fleet.{kind}.title")
    return Group(title, items, more, next_step(kind, wording), COMMANDS[kind])


def _over(
    over: tuple[tuple[Key, Kept], ...], wording: Wording, tz: tzinfo, gone: Collection[str]
) -> Group | None:
    def item(one: tuple[Key, Kept]) -> Item:
        key, kept = one
        text = wording.say("fleet.gone" if key.agent in gone else f"fleet.{key.kind}.over")
        since = wording.say("fleet.since", moment=wording.moment(kept.since, tz))
        title = wording.say(f"fleet.{key.kind}.title")
        return Item(who(key, kept.name), text, f"{title}, {since}")

    items, more = _cut(over, item, wording)
    return Group(wording.say("fleet.ended"), items, more) if items else None


def _cut(things: Iterable[T], item: Callable[[T], Item], wording: Wording) -> tuple[tuple[Item, ...], str]:
    every = list(things)
    left_out = len(every) - MOST
    return tuple(map(item, every[:MOST])), wording.say("fleet.more", n=left_out) if left_out > 0 else ""
