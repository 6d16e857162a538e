"""`fleet`: what needs a hand now, agent by agent, the worst first; and `withdraw`, which ends a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from delivery.wording import Wording, wording
from meter.model import Instant
from meter.periods import instant, iso
from provider import clock
from provider.fleet.findings import Finding, Key, Kind, shown
from provider.fleet.looking import gone, look
from provider.fleet.saying import COMMANDS, next_step, sentence
from provider.fleet.sights import Sight
from provider.fleet.telling import Kept
from provider.storage.opening import Storage
from provider.terminal import EX_PROBLEM, Site, as_json, fail, print_json, run_with

_UTC: Final = ZoneInfo("UTC")
_ENGLISH: Final = "en"


@click.command()
@click.option("--all", "every", is_flag=True, help="Every agent, also those that are well.")
@as_json
@click.pass_obj
def fleet(site: Site, every: bool, as_json: bool) -> None:
    """Say what needs a hand: agents that fell silent, contradictions, gaps, tenants over capacity, and the like.

    Changes nothing, and tells nobody. Exit code 1 if anything does. The operator is mailed about it once a day if the settings name one.
    """
    now = clock.now()

    async def work(storage: Storage) -> tuple[Sequence[Sight], Mapping[Key, Kept]]:
        return await storage.fleet.sights(now), (await storage.fleet.remembered()).kept

    sights, kept = run_with(site, work)
    words, found = wording(_ENGLISH), shown(look(sights, site.settings.fleet.limits, now))
    if as_json:
        print_json(_finding(one, kept.get(one.key), words) for one in found)
        if every:
            print_json(_agent(sight, found) for sight in sights)
    else:
        _print(found, kept, words, len(sights))
        if every:
            _print_agents(sights, found, gone(sights, now))
    if found:
        raise SystemExit(EX_PROBLEM)


def _later(_context: click.Context, _option: click.Parameter, text: str | None) -> Instant | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            "write a day like 2027-01-31, or an instant like 2027-01-31T18:00Z"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if instant(at) <= clock.now():
        raise click.BadParameter("it has passed; without --at a key is withdrawn at once")
    return instant(at)


@click.command()
@click.argument("agent")
@click.option("--key", "thumbprint", help="This key only; else all keys of the agent.")
@click.option(
    "--at",
    callback=_later,
    metavar="WHEN",
    help="Not at once but from this day or instant on (UTC); the operator is told before it. May be changed.",
)
@click.pass_obj
def withdraw(site: Site, agent: str, thumbprint: str | None, at: Instant | None) -> None:
    """Withdraw a stolen key: nothing that it signs is taken any more."""
    gone = run_with(site, lambda storage: storage.books.withdraw(agent, thumbprint, at=at))
    if not gone:
        fail("no such key is in use; look at: pbx-meter-provider agents")
    for each in gone:
        click.echo(f"withdrawn {each}" if at is None else f"{each} is withdrawn from {iso(at)} on")


def _print(found: Sequence[Finding], kept: Mapping[Key, Kept], words: Wording, agents: int) -> None:
    console = Console()
    if not found:
        console.print(f"nothing needs a hand; agents: {agents}")
        return
    table = Table("what", "agent", "tenant", "since", "says")
    for one in found:
        title = words.say(f"fleet.{one.key.kind}.title")
        since = _since(one, kept.get(one.key))
        says = escape(sentence(one, words, _UTC))  # an agent states its version in words of its own
        table.add_row(title, one.key.agent, one.key.tenant or "-", since or "-", says)
    console.print(table)
    for kind in dict.fromkeys(one.key.kind for one in found):
        _print_next(console, kind, words)


def _print_next(console: Console, kind: Kind, words: Wording) -> None:
    console.print(f"{words.say(f'fleet.{kind}.title')}: {next_step(kind, words)}", highlight=False)
    for command in COMMANDS[kind]:
        console.print(f"    {command}", highlight=False, markup=False)


def _print_agents(sights: Sequence[Sight], found: Iterable[Finding], out: frozenset[str]) -> None:
    troubled = [one.key.agent for one in found]
    table = Table("agent", "version", "last record", "tenants", "state")
    for sight in sights:
        state = f"findings: {troubled.count(sight.agent)}" if sight.agent in troubled else "well"
        table.add_row(
            sight.agent,
            escape(sight.version or "?"),
            "never" if sight.heard_at is None else iso(sight.heard_at),
            ", ".join(one.tenant for one in sight.statements) or "-",
            "out of service" if sight.agent in out else state,
        )
    Console().print(table)


def _finding(one: Finding, kept: Kept | None, words: Wording) -> dict[str, Any]:
    told_at = None if kept is None else kept.told_at
    return {
        "kind": one.key.kind.value,
        "agent": one.key.agent,
        "tenant": one.key.tenant or None,
        "name": one.name or None,
        "since": _since(one, kept),
        "told_at": None if told_at is None else iso(told_at),
        "figures": dict(one.figures),
        "says": sentence(one, words, _UTC),
        "next": next_step(one.key.kind, words),
        "commands": COMMANDS[one.key.kind],
    }


def _agent(sight: Sight, found: Iterable[Finding]) -> dict[str, Any]:
    return {
        "kind": "agent",
        "agent": sight.agent,
        "version": sight.version,
        "heard_at": None if sight.heard_at is None else iso(sight.heard_at),
        "tenants": [one.tenant for one in sight.statements],
        "findings": [one.key.kind.value for one in found if one.key.agent == sight.agent],
    }


def _since(one: Finding, kept: Kept | None) -> str | None:
    """Return since when it is so: as the books tell, else as the first look saw it."""
    if one.since is not None:
        return iso(one.since)
    return None if kept is None else iso(kept.since)
