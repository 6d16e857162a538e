"""Commands for what the agent guards: its key, its chain, its enrolment, and records that travel by file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from agent import app, changes, configured, desk, keys, upstream
from agent.clock import Clock
from agent.store import ledger, records
from agent.store.database import Store
from agent.terminal import PROBLEM, UNREACHABLE, USAGE, as_owner, complaints, fail, stored, with_config
from config import draft
from config.load import load
from config.model import Config, Upstream
from delivery import http
from meter import messages, signature
from meter.signature import Unverified


@click.group(name="keys")
def key_commands() -> None:
    """The key that signs records."""


@key_commands.command()
@with_config
def show(file: Path) -> None:
    """Print the public key and its thumbprint. The private one is never shown."""
    public = keys.load(load(file).agent.state_dir).public
    click.echo(public.json())
    click.echo(f"thumbprint: {public.thumbprint}")


@key_commands.command()
@with_config
def change(file: Path) -> None:
    """Seal a key-change record: from the next record on a new key signs."""
    config = load(file)
    state_dir = config.agent.state_dir
    plan, now = configured.plan_of(config), Clock().now()
    new = stored(config, lambda db: desk.change_key(db, plan, state_dir, now), write=True)
    stored(
        config, lambda db: keys.current(db, state_dir), write=True
    )  # once that is on disk: it takes its place
    click.echo(f"the new key signs from the next record on; thumbprint: {new.thumbprint}")


@click.group()
def chain() -> None:
    """The chain of sealed records."""


@chain.command()
@with_config
@click.option("--offline", is_flag=True, help="Don't ask the provider where its books end.")
def new(file: Path, *, offline: bool) -> None:
    """Begin a new chain, after this agent was restored from a backup."""
    config = load(file)
    position = None
    if config.upstream is not None and not offline:
        position = asyncio.run(_position(config))
    begun = stored(config, lambda db: desk.new_chain(db, position), write=True)
    after = "" if begun.continues is None else f", after the receiver's record {begun.continues['sequence']}"
    click.echo(f"chain {begun.id} begins{after}; restart the agent: systemctl restart pbx-meter")


@chain.command()
@with_config
@click.argument("record_id")
def replace(file: Path, record_id: str) -> None:
    """Seal a correction in the place of a summary that the provider refused (RECORD_ID as `summaries` shows it)."""
    config = load(file)
    plan, now = configured.plan_of(config), Clock().now()
    state_dir = config.agent.state_dir
    sealed = stored(config, lambda db: desk.replace_refused(db, plan, state_dir, record_id, now), write=True)
    click.echo(f"sealed {sealed.id}, number {sealed.sequence}")


async def _position(config: Config) -> upstream.Position:
    key = keys.load(config.agent.state_dir)
    store = Store(config.agent.state_dir)
    await store.open()
    try:
        async with http.open_session() as session:
            at = await app.receiver(config, store, Clock(), session)
            if at is None:
                return upstream.Position(None)
            answer = await at.position(key)
    finally:
        await store.close()
    if not isinstance(answer, upstream.Position):
        fail(UNREACHABLE, answer.why, answer.hint or "try again, or --offline if the provider agrees")
    return answer


@click.command()
@with_config
@click.argument("invitation")
def enrol(file: Path, invitation: str) -> None:
    """Make this agent's key known to the provider, once. INVITATION is the provider's line, whole, in quotes.

    A configuration that names no provider yet gets the invitation's, as [upstream].
    """
    config = load(file)
    try:
        invited = messages.read_invitation(invitation)
    except Unverified as error:
        fail(USAGE, str(error), "copy the provider's line whole, in quotes")
    if invited.agent != config.agent.id:
        fail(PROBLEM, f"the invitation is for the agent {invited.agent}, this one is {config.agent.id}",
             "ask for one for this agent, or correct [agent] id")  # fmt: skip
    if config.upstream is not None and config.upstream.url != invited.url:
        fail(PROBLEM, f"the invitation is for {invited.url}, [upstream] says otherwise",
             f'write under [upstream]: url = "{invited.url}"')  # fmt: skip
    if config.upstream is None:
        try:
            Upstream.model_validate({"url": invited.url})
        except ValueError:
            fail(PROBLEM, f"the invitation is for {invited.url}; plain http goes to this machine only",
                 "ask the provider for one with https://")  # fmt: skip
    config.agent.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with as_owner(config.agent.state_dir):
        key = keys.load_or_make(config.agent.state_dir)
    found = asyncio.run(_enrol(config, invited, key))
    if isinstance(found, upstream.Judged):
        fail(UNREACHABLE if found.step is upstream.Step.RETRY else PROBLEM, found.why, found.hint)
    receiver, enrolled = found
    stored(config, lambda db: ledger.keep_fact(db, "receiver", receiver.json()), write=True)
    click.echo(
        f"enrolled as {enrolled.agent} for {', '.join(enrolled.tenants)}; the receiver's key is pinned"
    )
    if config.upstream is None:
        _name(file, invited.url)


def _name(file: Path, url: str) -> None:
    """Write the provider into a configuration that has none."""
    section = draft.upstream(url)
    try:
        changes.make(changes.change(file, (changes.read(file) or "") + section))
    except OSError as error:
        fail(
            PROBLEM,
            f"{file} can't be written: {error.strerror or error}",
            f'add [upstream] with url = "{url}"',
        )
    click.echo(
        f"{file} has this now, and an agent that runs needs: systemctl reload pbx-meter\n{section}", nl=False
    )


async def _enrol(
    config: Config, invited: messages.Invitation, key: signature.PrivateKey
) -> tuple[signature.PublicKey, messages.Enrolled] | upstream.Judged:
    ca_file = config.upstream.ca_file if config.upstream else None
    async with http.open_session() as session:
        return await upstream.enrol(
            session, invited, key, now=Clock().wall, tls=configured.trust(ca_file) if ca_file else None
        )


# --- files -----------------------------------------------------------------------------------


@click.command()
@with_config
@click.option("--since", default=1, show_default=True, help="The first sequence number.")
@click.option(
    "--chain", "number", type=int, help="Which chain of this agent's, from 1; default: the present one."
)
@click.option("--tenant", help="Only this tenant's records: his own chain.")
@click.option("--output", "-o", type=click.File("w"), default="-", help="Where to; default: standard output.")
def export(file: Path, since: int, number: int | None, tenant: str | None, output: Any) -> None:
    """Write sealed records, the very same JWS, one a line: for the provider's import, or for `verify`."""
    config = load(file)
    found = stored(config, lambda db: list(records.every(db, since=since, number=number)))
    gone = [r.sequence for r in found if r.jws is None]
    for record in found:
        if record.jws is not None and (tenant is None or record.tenant == tenant):
            output.write(record.jws + "\n")
    if gone:
        complaints.print(f"{len(gone)} records are kept only as hashes by now, the first is {gone[0]}")


@click.command(name="import")
@with_config
@click.argument("receipts", type=click.File("r"))
def import_(file: Path, receipts: Any) -> None:
    """Keep the receipts that the provider's import wrote to a file."""
    config = load(file)
    pinned = stored(config, lambda db: ledger.fact(db, "receiver"))
    if pinned is None:
        fail(PROBLEM, "the receiver's key is not known here", "pbx-meter enrol 'LINE'")
    receiver = signature.public_key(pinned)
    lines = receipts.read().splitlines()
    kept, wrong = stored(config, lambda db: desk.take_receipts(db, lines, receiver), write=True)
    click.echo(f"{kept} receipts kept")
    for problem in wrong:
        complaints.print(problem, markup=False)
    if wrong:
        raise SystemExit(PROBLEM)


@click.group(name="outbox")
def outbox_commands() -> None:
    """Mail and webhooks that wait or are parked."""


@outbox_commands.command()
@with_config
def retry(file: Path) -> None:
    """Let every parked row go again."""
    now = Clock().now()
    count = stored(load(file), lambda db: desk.retry_parked(db, now), write=True)
    click.echo(f"{count} rows wait again")


@outbox_commands.command(name="list")
@with_config
def list_(file: Path) -> None:
    """Show the parked rows and why they are parked."""
    for row in stored(load(file), desk.parked):
        click.echo(f"{row.id} ({row.lane}): {row.why} -> {row.hint}")


#: All of them, for the program's main group.
COMMANDS = (key_commands, chain, enrol, export, import_, outbox_commands)
