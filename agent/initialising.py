"""`pbx-meter init`: from a PBX that is there to a configuration that meters it.

What is found is proposed, everything that would change is shown, and nothing is touched before somebody
agrees. A configuration that is there is added to, never written anew. It can be typed again: what is
right stays as it is.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from agent import changes, surroundings
from agent.changes import Change
from agent.initial import (
    PLACEHOLDER,
    Answers,
    Table,
    answers_of,
    as_told,
    asked,
    carry_out,
    configuration,
    kept_section,
    secret_file,
    secret_of,
    with_answers,
)
from agent.surroundings import Beside
from agent.terminal import PROBLEM, USAGE, fail
from config import draft
from config.draft import Noted
from config.values import is_loopback
from connectors.asterisk import account, proposing

#: A secret that somebody made up is not shorter than this, or it is not kept.
_SHORTEST: Final = 16

_CLICKS: Final = """\
On the 3CX (version 20, Enterprise licence), once:
  Admin Console > Integrations > API > Add; Client ID, for instance 900: for this agent alone
  tick "3CX Configuration API Access"; Department DEFAULT, Role System Admin
    (System Owner may read the call log too, which shows calls between two polls)
  Save, and copy the API key: it is shown once
  if the agent is not in the PBX's network: Security > IP whitelist
"""


@click.group()
def init() -> None:
    """Look at the PBX, propose a configuration, and write it."""


@init.command()
@with_answers("pbx1")
@click.option(
    "--asterisk-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("/etc/asterisk"),
    show_default=True, help="Asterisk's configuration.",
)  # fmt: skip
@click.option("--asterisk", "program", default="asterisk", show_default=True, help="Asterisk's program.")
@click.option(
    "--cdr", type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/var/log/asterisk/cdr-csv/Master.csv"), show_default=True, help="Its call records, if it keeps such.",
)  # fmt: skip
@click.option("--account", "username", default="meter", show_default=True, help="The AMI account to make.")
@click.option(
    "--trunk", "trunks", multiple=True, help="A trunk, as PJSIP/kpn or a glob, instead of those found."
)
@click.option("--extensions", help="The expression for extensions, instead of the one found.")
def asterisk(**given: Any) -> None:
    """Write an AMI account with least rights and a configuration for the Asterisk of this machine."""
    with as_told():
        _asterisk(answers_of(given), **given)


@init.command("3cx")
@with_answers("cloud")
@click.option("--url", help="https://pbx.example.3cx.eu, with :5001 if it has a port.")
@click.option("--client-id", help="The Client ID under Integrations > API.")
@click.option(
    "--key-file", type=click.File("r"),
    help="The file with the API key; - reads it from standard input. Or set PBX_METER_3CX_KEY.",
)  # fmt: skip
def threecx(**given: Any) -> None:
    """Write a configuration for a 3CX."""
    with as_told():
        _threecx(answers_of(given), **given)


# --- an Asterisk ---------------------------------------------------------------------------------


def _asterisk(
    answers: Answers,
    *,
    asterisk_dir: Path,
    program: str,
    cdr: Path,
    username: str,
    trunks: tuple[str, ...],
    extensions: str | None,
) -> None:
    if not (asterisk_dir / account.CONF).exists():
        fail(PROBLEM, f"no Asterisk is configured in {asterisk_dir}: there is no {account.CONF}",
             "name its folder with --asterisk-dir; a PBX on another machine is written by hand, see README")  # fmt: skip
    beside = surroundings.look(asterisk_dir, program, cdr)
    door = account.door(beside.manager)
    text = changes.read(answers.file)
    kept = kept_section(answers, text, "asterisk", lambda pbx: _is_at(pbx, door))
    username = str(kept.get("username", username))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", username) or username == "general":
        fail(USAGE, "an account's name has letters, digits, dash and underscore", "--account meter")
    usual = secret_file(answers, text, "ami-secret")
    file, secret = secret_of(answers, kept, usual)
    wanted = []
    if secret is None:
        secret = _own_secret(beside, username) or secrets.token_urlsafe(32)
        wanted.append(changes.change(file, secret + "\n", mode=0o600, hidden=True))
    theirs = _account(answers, beside, username, secret)
    section = "" if kept else _proposed(answers, beside, username, usual, trunks, extensions)
    wanted += [*theirs, configuration(answers, text, section)]
    if door.enabled and door.wide:
        click.echo(
            "The AMI answers on every address of this machine; bindaddr = 127.0.0.1 would keep it inside."
        )
    reload = partial(_reload, program) if any(change.is_one for change in theirs) else None
    carry_out(answers, wanted, reload)


def _is_at(pbx: Table, door: account.Door) -> bool:
    """Whether a section's Asterisk is the one that answers here."""
    host = str(pbx.get("host"))
    here = host == door.host or (is_loopback(host) and is_loopback(door.host))
    return here and pbx.get("port", 5038) == door.port


def _own_secret(beside: Beside, username: str) -> str | None:
    """Return the secret of an account that this command wrote before; None: there is none, or nobody made it up."""
    there = account.held(beside.manager, username)
    if there is None or Path(there.file) != beside.folder / account.OWN:
        return None
    return there.get("secret") if len(there.get("secret")) >= _SHORTEST else None


def _account(answers: Answers, beside: Beside, username: str, secret: str) -> list[Change]:
    """Return what changes in Asterisk's folder: the account, and what lets it in. Nothing: it serves already."""
    there = account.held(beside.manager, username)
    to = beside.folder / account.place(beside.manager)
    texts: dict[Path, str] = {}
    if there is None or not account.serves(there, secret):
        if there is not None and Path(there.file) != beside.folder / account.OWN:
            fail(PROBLEM, f"the AMI has an account {username} already, in {there.file}; its secret or its rights "
                 "are not those of the agent",
                 "take another one with --account NAME, or give it read = call, write = reporting and its secret to the agent")  # fmt: skip
        shown = PLACEHOLDER if answers.prints else secret
        made = account.account(username, shown, account.door(beside.manager).permit, beside.release)
        before = changes.read(to) if to.name == account.CUSTOM else None
        texts[to] = f"{before.rstrip()}\n\n{made}" if before and before.strip() else made
    for name, mend in account.opened(beside.manager, str(to.relative_to(beside.folder)) if texts else None):
        file = beside.folder / name
        texts[file] = mend(texts[file] if file in texts else changes.read(file) or "")
    like = surroundings.access(beside.folder)
    return [
        changes.change(file, text, mode=like.mode, owner=like.owner, group=like.group)
        for file, text in texts.items()
    ]


def _proposed(
    answers: Answers,
    beside: Beside,
    username: str,
    secret: str,
    trunks: Sequence[str],
    extensions: str | None,
) -> str:
    """Return the section of this Asterisk, as proposed and agreed."""
    found = proposing.proposal(beside.files, beside.carried, beside.release[0] if beside.release else None)
    why = {trunk.endpoint: trunk.why for trunk in found.trunks}
    click.echo(f"{beside.product}, configured in {beside.folder}")
    for trunk in found.trunks:
        click.echo(f"  trunk       {trunk.endpoint}  {trunk.why}")
    if found.extensions is not None:
        click.echo(f"  extensions  {found.extensions}  takes {len(found.phones)} phones")
    for stray in found.neither:
        click.echo(f"  neither     {draft.shown(stray.endpoint)}  {stray.why}")
    chosen = list(trunks or why)
    if answers.asks and not trunks:
        typed = click.prompt("Trunks, with commas between", default=", ".join(why), show_default=bool(why))
        chosen = [name if "/" in name else f"PJSIP/{name}" for name in re.split(r"[,\s]+", typed) if name]
    if not chosen:
        click.echo("No trunk was found, so nothing would count: name them with --trunk.", err=True)
    rule = extensions or found.extensions
    if answers.asks and extensions is None:
        rule = (
            click.prompt("Extensions, a regular expression", default=rule or "", show_default=bool(rule))
            or None
        )
    ours = rule == found.extensions
    door = account.door(beside.manager)
    return draft.asterisk(
        name=answers.name,
        product=f"{beside.product}, as {beside.folder} describes it",
        host=door.host,
        port=door.port,
        username=username,
        secret_file=secret,
        trunks=[Noted(trunk, why.get(trunk, "")) for trunk in dict.fromkeys(chosen)],
        extensions=rule,
        exclude=found.exclude if ours else None,
        phones=len(found.phones) if ours else 0,
        neither=[f"{n.endpoint} {n.why}".strip() for n in found.neither if n.endpoint not in chosen],
    )


def _reload(program: str) -> None:
    if surroundings.say(program, "-rx", "manager reload") is None:
        click.echo(
            "Asterisk did not take the account in. Once it runs: asterisk -rx 'manager reload'", err=True
        )


# --- a 3CX ---------------------------------------------------------------------------------------


def _threecx(answers: Answers, *, url: str | None, client_id: str | None, key_file: Any) -> None:
    text = changes.read(answers.file)
    kept = kept_section(
        answers,
        text,
        "3cx",
        lambda pbx: url.rstrip("/") == pbx.get("url") if url else pbx.get("name") == answers.name,
    )
    section, usual = "", secret_file(answers, text, "3cx-key")
    if not kept:
        if answers.asks or answers.prints:
            click.echo(_CLICKS)
        url = (url or asked(answers, "URL of the 3CX", "--url", "https://pbx.example.3cx.eu")).rstrip("/")
        client_id = client_id or asked(answers, "Client ID", "--client-id", "900")
        section = draft.threecx(name=answers.name, url=url, client_id=client_id, secret_file=usual)
    # Access by call records alone needs no key.
    keys = [] if kept.get("access") == "cdr" else list(_key(answers, kept, usual, key_file))
    carry_out(answers, [*keys, configuration(answers, text, section)], None)


def _key(answers: Answers, kept: Table, usual: str, key_file: Any) -> Iterator[Change]:
    """Give the change of the file with the API key, if there is a key to be written."""
    file, known = secret_of(answers, kept, usual)
    key = key_file.read().strip() if key_file else os.environ.get("PBX_METER_3CX_KEY", "")
    if not key and known is None:
        if answers.asks:  # a pipe has no echo to be turned off
            key = click.prompt("API key", hide_input=sys.stdin.isatty()).strip()
        elif answers.prints:
            key = PLACEHOLDER
        else:
            fail(
                USAGE,
                "--key-file is missing",
                "--key-file FILE, or - for standard input, or PBX_METER_3CX_KEY",
            )
    if not key.isprintable():
        fail(USAGE, "the API key has more than one line", "copy it anew")
    if key:
        yield changes.change(file, key + "\n", mode=0o600, hidden=True)
