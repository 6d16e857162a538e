"""What each `pbx-meter init` does around its PBX: answers, the configuration's change, and what follows it."""

from __future__ import annotations

import asyncio
import grp
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from agent import changes, checking, showing, surroundings
from agent.changes import Change
from agent.clock import Clock
from agent.terminal import CONFIG, PROBLEM, USAGE, as_owner, console, fail, with_config
from config import draft
from config.load import load
from config.problems import ConfigError, Problem
from config.secret import SecretError, resolve
from meter import messages
from meter.signature import Unverified

F = TypeVar("F", bound=Callable[..., Any])
Table = dict[str, Any]

#: Stands in for a secret where one is printed.
PLACEHOLDER: Final = "WRITE-A-SECRET-HERE"
#: Where the Debian package is.
_PACKAGE: Final = Path("/opt/pbx-meter")


@dataclass(frozen=True, slots=True)
class Answers:
    """What was said on the command line; None: it is asked for, or found.

    `asks`: somebody is there to be asked. `prints`: nothing is written, only shown.
    """

    file: Path
    asks: bool
    prints: bool
    id_: str | None
    tenant: str | None
    timezone: str | None
    provider: str | None
    state_dir: Path
    name: str


def with_answers(default_name: str) -> Callable[[F], F]:
    """Return the options of both commands."""

    def add(command: F) -> F:
        for option in reversed((
            click.option("--yes", "-y", is_flag=True, help="Ask nothing: take what is proposed."),
            click.option("--print", "prints", is_flag=True, help="Only print what would be written."),
            click.option("--id", "id_", help="This agent's id in every record; default: this machine's name."),
            click.option("--tenant", help="The id of the tenant that takes every call; default: the agent's."),
            click.option("--timezone", help="Of periods and days; default: this machine's."),
            click.option("--provider", help="The provider's URL, or his invitation, whole, in quotes."),
            click.option("--name", default=default_name, show_default=True, help="The PBX's name in records."),
            click.option(
                "--state-dir", type=click.Path(file_okay=False, path_type=Path),
                default=Path("/var/lib/pbx-meter"), show_default=True, help="The database and the signing key.",
            ),
        )):  # fmt: skip
            command = option(command)
        return with_config(command)

    return add


def answers_of(given: Table) -> Answers:
    """Take the options of both commands out of what was given."""
    return Answers(asks=not (given.pop("yes") or given["prints"]), file=given.pop("file").absolute(), **{
        name: given.pop(name) for name in ("prints", "id_", "tenant", "timezone", "provider", "state_dir", "name")
    })  # fmt: skip


@contextmanager
def as_told() -> Iterator[None]:
    """Say in words why nothing could be done."""
    try:
        yield
    except OSError as error:
        fail(PROBLEM, f"{error.filename or 'a file'} can't be used: {error.strerror or error}",
             "type it as root, or look first with --print")  # fmt: skip
    except click.Abort:
        click.echo()
        fail(PROBLEM, "nothing was changed", "--yes takes what is proposed")


def asked(answers: Answers, what: str, option: str, example: str) -> str:
    """Return what somebody types for a missing option; where it is only printed, an example."""
    if answers.prints:
        return example
    if not answers.asks:
        fail(USAGE, f"{option} is missing", f"{what}, as {option} {example}")
    return str(click.prompt(f"{what}, as {example}")).strip()


def kept_section(answers: Answers, text: str | None, kind: str, same: Callable[[Table], bool]) -> Table:
    """Return the section that a configuration has for this PBX already; empty: none."""
    if text is None:
        return {}
    try:
        tables = list(_pbxs(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        fail(CONFIG, f"{answers.file} is there and no TOML: {error}", "mend it, or move it out of the way")
    alike = [pbx for pbx in tables if pbx.get("kind") == kind and same(pbx)]
    if not alike and any(pbx.get("name") == answers.name for pbx in tables):
        fail(PROBLEM, f"{answers.file} has a PBX {answers.name} already, which is another one than this",
             "give this one another name: --name NAME")  # fmt: skip
    if not alike:
        return {}
    click.echo(f"{answers.file} has this PBX already ({alike[0].get('name')}); that section stays as it is.")
    return alike[0]


def _pbxs(config: Table) -> Iterator[Table]:
    """Give the sections of PBXs that a configuration has, however wrong it is."""
    pbxs = config.get("pbx")
    yield from (pbx for pbx in pbxs if isinstance(pbx, dict)) if isinstance(pbxs, list) else ()


def secret_file(answers: Answers, text: str | None, name: str) -> str:
    """Return the file for a PBX's secret, as a section names it: one of its own where another PBX has the usual one."""
    usual, folder = f"secrets/{name}", answers.file.parent
    others = {folder / str(pbx.get("secret_file")) for pbx in _pbxs(tomllib.loads(text or ""))}
    return f"{usual}-{answers.name}" if folder / usual in others else usual


def secret_of(answers: Answers, kept: Table, usual: str) -> tuple[Path, str | None]:
    """Return where the secret of a PBX belongs, and the one that is known; None: there is none yet."""
    folder = answers.file.parent
    table = kept or {"secret_file": usual}
    try:
        known = resolve(table, "secret", folder=folder, environ=os.environ)
    except SecretError as error:
        if "secret_file" not in table:
            fail(CONFIG, f"{error.key} of this PBX: {error.what}", error.hint)
        known = None
    return folder / str(table.get("secret_file", usual)), known.reveal() if known else None


def configuration(answers: Answers, text: str | None, section: str) -> Change:
    """Return the change of the configuration: a new one, or a section more in the one that is there."""
    url, invited = _provider(answers.provider)
    try:
        group = grp.getgrnam("pbx-meter").gr_gid if os.geteuid() == 0 else None
    except KeyError:  # the package makes it
        group = None
    if text is not None:
        named = "upstream" in tomllib.loads(text)
        if url and named:
            click.echo(f"{answers.file} names a provider already; [upstream] stays as it is.")
        more = draft.upstream(url) if url and not named else ""
        if section or more:
            _try(text + section + more, answers.file, known=_wrong(text, answers.file))
        return changes.change(answers.file, text + section + more, group=group)
    id_ = answers.id_ or invited or _agreed(answers, "Id of this agent", surroundings.name())
    tenant = answers.tenant or _agreed(answers, "Id of the tenant that takes every call", id_)
    zone = answers.timezone or _agreed(answers, "Time zone of periods", surroundings.timezone())
    if url is None and answers.asks:
        typed = click.prompt(
            "The provider's URL or invitation, if you have one", default="", show_default=False
        )
        url, invited = _provider(typed)
        id_ = answers.id_ or invited or id_
    whole = (
        draft.agent(
            id_=id_, state_dir=answers.state_dir, timezone=zone,
            socket=Path("/run/pbx-meter/agent.sock") if Path(sys.prefix) == _PACKAGE else None,
        )
        + section + draft.tenant(tenant) + (draft.upstream(url) if url else "")
    )  # fmt: skip
    _try(whole, answers.file)
    return changes.change(answers.file, whole, group=group)


def _agreed(answers: Answers, what: str, proposed: str) -> str:
    return str(click.prompt(what, default=proposed)).strip() if answers.asks else proposed


def _provider(given: str | None) -> tuple[str | None, str | None]:
    """Return the provider's URL, and the agent's id if it was his invitation."""
    if not given or "#" not in given:
        return (given or "").strip().rstrip("/") or None, None
    try:
        invited = messages.read_invitation(given)
    except Unverified as error:
        fail(USAGE, str(error), "copy the provider's line whole, in quotes")
    return invited.url, invited.agent


def _try(text: str, file: Path, known: Sequence[Problem] = ()) -> None:
    """Load a configuration before it is written.

    Raises:
        ConfigError: What was typed can't stand there; `known` are problems that stood there before.
    """
    new = [problem for problem in _wrong(text, file) if problem not in known]
    if new:
        raise ConfigError(new)


def _wrong(text: str, file: Path) -> list[Problem]:
    """Return what is wrong with a configuration, tried in another folder: secrets need not be there yet."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for pbx in _pbxs(tomllib.loads(text)):
            stub = (folder / str(pbx.get("secret_file", ""))).resolve()
            if stub != folder and stub.is_relative_to(folder):  # never a file that is there
                stub.parent.mkdir(exist_ok=True, parents=True)
                stub.touch(0o600)
                stub.write_text("stub")
        tried = folder / file.name
        tried.write_text(text, "utf-8", "surrogateescape")
        try:
            load(tried)
        except ConfigError as error:
            return [replace(problem, file=file) for problem in error.problems]
    return []


def carry_out(answers: Answers, wanted: Sequence[Change], reload: Callable[[], None] | None) -> None:
    """Show what changes, make it if somebody agrees, and look whether the agent would work."""
    todo = [change for change in wanted if change.is_one]
    if answers.prints:
        for change in todo:
            _print(change)
        return
    for change in todo:
        click.echo("\n".join(change.lines()) + "\n")
    if reload is not None:
        click.echo("and then: asterisk -rx 'manager reload'\n")
    stuck = next((change for change in todo if changes.refused(change)), None)
    if stuck is not None:
        fail(PROBLEM, f"{stuck.file} can't be written by this user; nothing was changed", "type it as root")
    if todo and answers.asks and not click.confirm("Make these changes?", default=True):
        fail(PROBLEM, "nothing was changed", "with --print it is only shown")
    for change in todo:
        changes.make(change)
    if reload is not None:
        reload()
    click.echo("Written." if todo else "All of it is there already.")
    _check(answers)


def _print(change: Change) -> None:
    """Print a file to be copied by hand, or what changes in one that is there."""
    if change.before is not None:
        click.echo("\n".join(change.lines()) + "\n")
        return
    click.echo(f"### {change.file}, mode {change.mode:o}")
    click.echo("the secret, alone on a line\n" if change.hidden else change.text)


def _check(answers: Answers) -> None:
    """End with `check`, and with what is left to type."""
    config = load(answers.file)
    with as_owner(config.agent.state_dir):
        found = asyncio.run(checking.check(config, Clock()))
    console.print(showing.findings(found), soft_wrap=True)
    elsewhere = "" if answers.file == Path("/etc/pbx-meter/config.toml") else f" --config {answers.file}"
    bad = {finding.about for finding in found if finding.mark is checking.Mark.BAD}
    if bad - {"upstream"}:
        fail(PROBLEM, "the configuration is written, but the agent would not work yet",
             f"mend that, then: pbx-meter check{elsewhere}")  # fmt: skip
    # Who was not invited yet can't be enrolled: that is the next step, not a fault.
    if config.upstream is None or bad:
        tenants = ", ".join(tenant.id for tenant in config.tenant)
        click.echo(f"With a provider's invitation for the agent {config.agent.id} and the tenant {tenants}:")
        click.echo(f"  pbx-meter enrol{elsewhere} 'LINE'")
    packed = Path(sys.prefix) == _PACKAGE
    click.echo("Start it:")
    click.echo("  systemctl restart pbx-meter" if packed else f"  pbx-meter run{elsewhere}")
