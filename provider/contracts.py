"""`partner` and `tenant`: who is under whom, and what was agreed. Every change has its day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from delivery.reporting.usage import Brand
from provider import listed
from provider.partners import BASES, BEGINNING, LANGUAGES, Partner, Placement, in_force, is_day, problems
from provider.storage.opening import Storage
from provider.terminal import Site, as_json, fail, print_json, run_with

_SUFFIXES: Final = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
#: Later than any contract.
_LAST: Final = "9999-12-31"

F = TypeVar("F", bound=Callable[..., Any])
_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def _day(_context: click.Context, _option: click.Parameter, day: str | None) -> str | None:
    if day is not None and not is_day(day):
        raise click.BadParameter("write a day like 2026-11-01")
    return day


def _since(required: bool) -> Callable[[F], F]:  # two kinds of one option
    return click.option(
        "--since", required=required, callback=_day, metavar="DAY", help="From this local day on."
    )


def _described(command: F) -> F:
    """Give a command the options that describe a partner."""
    for option in reversed((
        click.option("--name", help="As people know him."),
        click.option("--parent", help="The id of the partner above him; '-': the provider himself."),
        click.option("--language", type=click.Choice(LANGUAGES), help="In which he reads."),
        click.option("--email", multiple=True, help="Where his reports go; repeat; '-': nowhere."),
        click.option("--brand", help="The name that his reports are read in; '-': his own."),
        click.option("--colour", help="#rrggbb; '-': the software's own."),
        click.option("--sender", help="The address that his mails come from; '-': the provider's."),
        click.option("--reply-to", help="Where answers go; '-': to the sender."),
        click.option("--footer", help="Below his reports; '-': nothing."),
        click.option("--logo", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), help="A PNG, JPEG or SVG; '-': none."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.group()
def partner() -> None:
    """Partners: the tree below the provider."""


@partner.command("add")
@click.argument("id_", metavar="ID")
@_described
@_since(required=False)
@click.pass_obj
def add_partner(site: Site, /, id_: str, since: str | None, **given: Any) -> None:
    """Make a partner known; without --since he always was."""
    name = given["name"] or id_
    new = _changed(Partner(id_, name, since or BEGINNING, brand=Brand(name)), given)

    async def work(storage: Storage) -> Sequence[str]:
        if any(one.id == id_ for one in await storage.partners.partners()):
            return [f"partner {id_} is known already: partner change {id_} --since DAY …"]
        return await storage.partners.change([new], [], problems)

    _done(run_with(site, work))


@partner.command("change")
@click.argument("id_", metavar="ID")
@_described
@_since(required=True)
@click.pass_obj
def change_partner(site: Site, /, id_: str, since: str, **given: Any) -> None:
    """Change what is given, from a day on; what was before stays as it was."""

    async def work(storage: Storage) -> Sequence[str]:
        held = in_force(await storage.partners.partners(), since).get((id_,))
        if held is None:
            return [f"there is no partner {id_} on {since}: partner list"]
        changed = _changed(replace(held, since=since), given)
        return await storage.partners.change([changed], [], problems)

    _done(run_with(site, work))


@partner.command("list")
@click.option("--on", callback=_day, metavar="DAY", help="As it is on this day; else as it is last.")
@click.option("--every", is_flag=True, help="Every change.")
@as_json
@click.pass_obj
def list_partners(site: Site, /, on: str | None, every: bool, as_json: bool) -> None:
    """List the partners."""
    rows = run_with(site, lambda storage: storage.partners.partners())
    shown = rows if every else list(in_force(rows, on or _LAST).values())
    if as_json:
        print_json(_shown(one) for one in shown)
        return
    table = Table("id", "name", "under", "since", "language", "email")
    for one in shown:
        table.add_row(
            one.id, one.name, one.parent or "-", _said(one.since), one.language, " ".join(one.email) or "-"
        )
    Console().print(table)


@partner.command("import")
@_file
@click.pass_obj
def import_partners(site: Site, /, file: Path) -> None:
    """Take partners from a CSV: all of them, or none and every problem with its line."""
    text = _text(file)

    async def work(storage: Storage) -> tuple[int, Sequence[str]]:
        found = listed.partners(text, await storage.partners.partners())
        wrong = found.problems or await storage.partners.change(found.changes, [], problems)
        return len(found.changes), wrong

    count, wrong = run_with(site, work)
    _done(wrong)
    click.echo(f"{count} taken")


@click.group()
def tenant() -> None:
    """Tenants: under whom they are, and what their contracts say."""


@tenant.command("place")
@click.argument("agent")
@click.argument("tenant_", metavar="TENANT")
@click.option("--partner", "under", help="Under this partner; '-': under the provider himself.")
@click.option("--customer", help="The provider's customer number; '-': none.")
@click.option("--capacity", help="The lines of the contract; '-': those of the record.")
@click.option(
    "--package", "packages", multiple=True, help="A size that can be bought; repeat; '-': the record's."
)
@click.option(
    "--basis", type=click.Choice([*BASES, "-"]), help="The level that the contract bills; '-': the record's."
)
@_since(required=False)
@click.pass_obj
def place_tenant(site: Site, /, agent: str, tenant_: str, since: str | None, **given: Any) -> None:
    """Say under whom a tenant is and what was agreed; what is not given stays as it is.

    Without --since it always was so: good only for a tenant that has no place yet.
    A tenant that had ended is there again.
    """

    async def work(storage: Storage) -> Sequence[str]:
        placed = await storage.partners.placements()
        if since is None and any(one.key == (agent, tenant_) for one in placed):
            return [f"tenant {tenant_} of {agent} has a place already: from which day is it another? --since"]
        day = since or BEGINNING
        held = in_force(placed, day).get((agent, tenant_), Placement(agent, tenant_))
        new = _placed(replace(held, since=day, ended=False), given)
        return await storage.partners.change([], [new], problems) or await _unknown(storage, [new])

    _done(run_with(site, work))


@tenant.command("end")
@click.argument("agent")
@click.argument("tenant_", metavar="TENANT")
@_since(required=True)
@click.pass_obj
def end_tenant(site: Site, /, agent: str, tenant_: str, since: str) -> None:
    """Say that a tenant is no longer there from a day on: then nothing of it is missing.

    The month in which it ends is closed without it, unless something came of it.
    """

    async def work(storage: Storage) -> Sequence[str]:
        placed = [one for one in await storage.partners.placements() if one.key == (agent, tenant_)]
        later = [one.since for one in placed if one.since > since]
        if later:
            return [
                f"tenant {tenant_} of {agent} is placed from {later[-1]} on: end it from then on, or later"
            ]
        held = in_force(placed, since).get((agent, tenant_), Placement(agent, tenant_))
        ended = replace(held, since=since, ended=True)
        return await storage.partners.change([], [ended], problems) or await _unknown(storage, [ended])

    _done(run_with(site, work))


@tenant.command("list")
@click.option("--on", callback=_day, metavar="DAY", help="As it is on this day; else as it is last.")
@click.option("--every", is_flag=True, help="Every change.")
@as_json
@click.pass_obj
def list_tenants(site: Site, /, on: str | None, every: bool, as_json: bool) -> None:
    """List where tenants are."""
    rows = run_with(site, lambda storage: storage.partners.placements())
    shown = rows if every else list(in_force(rows, on or _LAST).values())
    if as_json:
        print_json(shown)
        return
    table = Table("agent", "tenant", "partner", "customer", "capacity", "packages", "basis", "since", "")
    for one in shown:
        sizes = " ".join(str(size) for size in one.packages)
        capacity = "-" if one.capacity is None else str(one.capacity)
        table.add_row(
            *(one.agent, one.tenant, one.partner or "-", one.customer or "-", capacity),
            *(sizes or "-", one.basis or "-", _said(one.since), "ended" if one.ended else ""),
        )
    Console().print(table)


@tenant.command("import")
@_file
@click.pass_obj
def import_tenants(site: Site, /, file: Path) -> None:
    """Take tenants' places from a CSV: all of them, or none and every problem with its line."""
    text = _text(file)

    async def work(storage: Storage) -> tuple[int, Sequence[str]]:
        found = listed.placements(text, await storage.partners.placements())
        wrong = found.problems or await storage.partners.change([], found.changes, problems)
        return len(found.changes), wrong or await _unknown(storage, found.changes)

    count, wrong = run_with(site, work)
    _done(wrong)
    click.echo(f"{count} taken")


def _changed(one: Partner, given: dict[str, Any]) -> Partner:
    """Return a partner with what is given changed; '-' clears."""
    said = {name: value for name, value in given.items() if value not in (None, ())}
    cleared = {name for name, value in said.items() if value == "-"}
    mine: dict[str, Any] = {name: said[name] for name in ("name", "language") if name in said}
    if "email" in said:
        mine["email"] = () if said["email"] == ("-",) else said["email"]
    if "parent" in said:
        mine["parent"] = None if "parent" in cleared else said["parent"]
    plain: dict[str, Any] = {"colour": Brand("").colour, "sender": None, "reply_to": None, "footer": ""}
    looks: dict[str, Any] = {
        name: plain[name] if name in cleared else said[name] for name in plain if name in said
    }
    if "brand" in cleared:
        looks["name"] = said.get("name") or one.name
    elif "brand" in said or one.brand.name == one.name:
        looks["name"] = said.get("brand") or said.get("name") or one.brand.name
    if "logo" in said:
        looks["logo"] = _logo(said["logo"])
    return replace(one, **mine, brand=replace(one.brand, **looks))


def _logo(file: Path) -> tuple[str, bytes] | None:
    if file == Path("-"):
        return None
    kind = _SUFFIXES.get(file.suffix.lower())
    if kind is None:
        fail(f"a logo is one of {', '.join(_SUFFIXES)}", 2)
    return kind, file.read_bytes()


def _placed(one: Placement, given: dict[str, Any]) -> Placement:
    """Return a tenant's place with what is given changed; '-' clears."""
    options = (("under", "partner"), ("customer", "customer"), ("capacity", "capacity"), ("basis", "basis"))
    changes: dict[str, Any] = {
        name: None if given[option] == "-" else given[option]
        for option, name in options
        if given[option] is not None
    }
    if changes.get("capacity") is not None:
        changes["capacity"] = _lines(changes["capacity"], "a capacity")
    if given["packages"] == ("-",):
        changes["packages"] = ()
    elif given["packages"]:
        changes["packages"] = tuple(sorted({_lines(size, "a package") for size in given["packages"]}))
    return replace(one, **changes)


def _lines(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        fail(f"{what} is a number of lines, or '-'", 2)
    return int(text)


async def _unknown(storage: Storage, placed: Sequence[Placement]) -> Sequence[str]:
    """Warn of tenants that no agent is enrolled for: often their ids are misspelt. Nothing is wrong for that."""
    may_report = {row.agent: row.tenants for row in await storage.books.agents()}
    for agent, tenant_ in sorted({one.key for one in placed}):
        if agent not in may_report:
            click.echo(f"taken; but no agent {agent} has enrolled yet: is that its id? agents", err=True)
        elif tenant_ not in may_report[agent]:
            click.echo(f"taken; but agent {agent} is not enrolled for a tenant {tenant_}: agents", err=True)
    return ()


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        fail(f"{file}: save it as UTF-8")


def _done(wrong: Sequence[str]) -> None:
    """End the command if anything is wrong: then nothing was changed."""
    if wrong:
        fail("nothing was changed:\n" + "\n".join(f"  {sentence}" for sentence in wrong))


def _shown(one: Partner) -> dict[str, Any]:
    row = asdict(one)
    row["brand"]["logo"] = one.brand.logo and f"{one.brand.logo[0]}, {len(one.brand.logo[1])} bytes"
    return row


def _said(day: str) -> str:
    return "ever" if day == BEGINNING else day
