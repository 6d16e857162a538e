"""`pbx-meter`: the commands. What they share, exit codes included, is in agent.terminal."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.live import Live

from agent import checking, configured, custody, desk, evidence, initialising, keys, service, showing
from agent import status as status_of
from agent.clock import Clock
from agent.service import until_stopped
from agent.store import agreements, records
from agent.store.database import Database
from agent.terminal import (
    PROBLEM,
    UNREACHABLE,
    USAGE,
    Commands,
    as_owner,
    complaints,
    console,
    fail,
    stored,
    with_config,
    with_config_as,
    with_json,
)
from config.load import load, load_agent
from meter import chain as chains
from meter import signature
from meter.signature import Unverified

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_PORT = click.IntRange(0, 65_535)

#: How often `status --watch` asks, in s.
WATCH_EVERY_S = 1.0


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pbx-meter")
def main() -> None:
    """Meter concurrent external calls and users of a PBX, beside the PBX, never in the way of a call."""


@main.command()
@with_config
def run(file: Path) -> None:
    """Follow the PBXs, meter, notify, seal and ship, until stopped."""
    service.run(file)


@main.command()
@with_config
def reload(file: Path) -> None:
    """Let the running agent read its configuration again: no PBX whose section is the same has a gap by it."""
    socket = load_agent(file).socket
    found = asyncio.run(status_of.reload(socket))
    if found is None:
        _nobody_answers(socket)
    for problem in found["problems"]:
        complaints.print(problem, markup=False, highlight=False, soft_wrap=True)
    if found["problems"]:
        raise SystemExit(PROBLEM)
    for said, names in (
        ("followed without a gap", found["kept"]),
        ("followed anew", found["anew"]),
        ("followed no longer", found["gone"]),
    ):
        if names:
            console.print(f"{said}: {', '.join(names)}", markup=False, highlight=False, soft_wrap=True)


@main.command()
@with_config
@with_json
def check(file: Path, *, as_json: bool) -> None:
    """Look at every door: PBXs, trunks, extensions, tenants, mail, provider. Exit 0 only if the agent would work."""
    config = load(file)
    with as_owner(config.agent.state_dir):
        found = asyncio.run(checking.check(config, Clock()))
    if as_json:
        click.echo(
            json.dumps([{"mark": f.mark, "about": f.about, "said": f.said, "hint": f.hint} for f in found])
        )
    else:
        console.print(showing.findings(found), soft_wrap=True)
    bad = sum(f.mark is checking.Mark.BAD for f in found)
    if bad:
        raise SystemExit(PROBLEM)
    if not as_json:
        console.print("The agent would work. Start it with: pbx-meter run")


@main.command()
@with_config
@with_json
@click.option("--watch", is_flag=True, help="Ask again every second, until stopped.")
def status(file: Path, *, as_json: bool, watch: bool) -> None:
    """Ask the running agent for levels, peaks, links, coverage and what waits."""
    socket = load_agent(file).socket
    if watch:
        asyncio.run(until_stopped(_watch(socket, as_json=as_json)))
        return
    found = asyncio.run(_ask(socket))
    click.echo(json.dumps(found)) if as_json else console.print(showing.status(found))


async def _watch(socket: Path, *, as_json: bool) -> None:
    """Show the status anew each second: on a page of its own in a terminal, else one JSON a line."""
    clock = Clock()
    if as_json or not console.is_terminal:
        while True:
            click.echo(json.dumps(await _ask(socket)))
            await clock.sleep(WATCH_EVERY_S)
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(showing.status(await _ask(socket)), refresh=True)
            await clock.sleep(WATCH_EVERY_S)


async def _ask(socket: Path) -> dict[str, Any]:
    found = await status_of.ask(socket)
    if found is None:
        _nobody_answers(socket)
    return found


def _nobody_answers(socket: Path) -> NoReturn:
    fail(
        UNREACHABLE,
        f"no agent answers at {socket}",
        "start it: systemctl start pbx-meter, or pbx-meter run",
    )


@main.command()
@with_config
@with_json
@click.option("--tenant", help="Only this one's.")
@click.option("--all", "every", is_flag=True, help="Interims and minute-series too.")
def summaries(file: Path, tenant: str | None, *, every: bool, as_json: bool) -> None:
    """List sealed records and what the provider said of them."""
    config = load(file)
    found = [
        r
        for r in stored(config, lambda db: list(records.every(db)))
        if (tenant is None or r.tenant == tenant) and (every or r.kind in ("final", "correction"))
    ]
    if as_json:
        for r in found:
            click.echo(json.dumps({
                "sequence": r.sequence, "id": r.id, "kind": r.kind, "tenant": r.tenant, "period": r.period,
                "sha256": r.sha256, "status": r.status, "why": r.why,
            }))  # fmt: skip
    elif found:
        console.print(showing.summaries(found))
    else:
        console.print("no such record yet; interims too: pbx-meter summaries --all")


@main.command()
@with_config
@with_json
@click.option("--tenant", help="Which; all of them without.")
@click.option("--period", help="Which (2026-11); the youngest without.")
def recompute(file: Path, tenant: str | None, period: str | None, *, as_json: bool) -> None:
    """Fold a period again from the ledger alone, and compare it with what was sealed."""
    config = load(file)
    plan = configured.plan_of(config)

    def work(db: Database) -> dict[str, desk.Recomputed]:
        return desk.recompute_each(db, plan, [tenant] if tenant else agreements.tenants(db), period)

    found = stored(config, work)
    if as_json:
        click.echo(json.dumps({
            t: {"content": r.content, "sealed": r.sealed.id if r.sealed else None, "differences": r.differences}
            for t, r in found.items()
        }))  # fmt: skip
    else:
        for result in found.values():
            console.print(showing.figures(result.content))
            if result.sealed is not None:
                same = "every figure equals" if not result.differences else "differs from"
                console.print(f"{same} the sealed record {result.sealed.id} ({result.sealed.sha256[:12]})")
                for difference in result.differences:
                    console.print(f"  {difference}", markup=False, style="bold red")
    if any(r.differences for r in found.values()):
        raise SystemExit(PROBLEM)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key", "jwk", multiple=True, help="The agent's public JWK, or a file with it; default: this agent's."
)
@with_config_as("config_file")
def verify(file: Path, jwk: tuple[str, ...], config_file: Path) -> None:
    """Say what a file of signed records proves, without asking anybody."""
    if not jwk:
        jwk = (keys.load(load(config_file).agent.state_dir).public.json(),)
    try:
        known = [
            signature.public_key(text if text.lstrip().startswith("{") else Path(text).read_text("utf-8"))
            for text in jwk
        ]
        lines = file.read_text("utf-8").splitlines()
    except (Unverified, OSError, UnicodeError) as error:
        fail(USAGE, f"--key or FILE can't be used: {error}", "pbx-meter keys show prints the public key")
    verdict = chains.examine(lines, known)
    for line in verdict.lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not verdict.good:
        raise SystemExit(PROBLEM)


# --- without a PBX ---------------------------------------------------------------------------


@main.group()
def simulate() -> None:
    """Simulated PBXs, to try an agent on."""


def with_days(command: F) -> F:
    """Add the options of a simulated office's days."""
    for option in (
        click.option("--seed", default=1, show_default=True, help="The same seed is the same day."),
        click.option(
            "--begin",
            type=click.FloatRange(0, 24),
            default=9.0,
            show_default=True,
            help="The hour at which the first day begins.",
        ),
        click.option(
            "--speed",
            type=click.FloatRange(0.01, 10_000),
            default=60.0,
            show_default=True,
            help="How much faster than a real day.",
        ),
    ):
        command = option(command)
    return command


@simulate.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=_PORT, default=5038, show_default=True, help="Where to listen; 0: any free port."
)
@click.option("--username", default="meter", show_default=True)
@click.option("--secret", default="only-for-simulations", show_default=True)
@with_days
def asterisk(**options: Any) -> None:
    """An Asterisk that speaks AMI and lives an office's day, again and again, until stopped."""
    from agent import simulating  # noqa: PLC0415 - nobody else loads a simulator

    asyncio.run(until_stopped(simulating.asterisk(**options)))


def _address(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Return a HOST:PORT as its two parts; None: there is none."""
    if text is None:
        return None
    host, _colon, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:  # noqa: PLR2004 - TCP's bounds
        raise click.BadParameter("write HOST:PORT, as in 127.0.0.1:5015")
    return host, int(port)


@simulate.command("3cx")
@click.option(
    "--port",
    type=_PORT,
    default=5001,
    show_default=True,
    help="Where to listen, on 127.0.0.1; 0: any free port.",
)
@click.option("--client-id", default="900", show_default=True, help="The API client, a System Owner.")
@click.option("--secret", default="only-for-simulations", show_default=True, help="Its API key.")
@with_days
@click.option(
    "--scenario",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play the calls of this file (TOML or JSON) once, at their own speed, instead of days.",
)
@click.option(
    "--cdr", metavar="HOST:PORT", callback=_address, help="Send a call record there when each call ends."
)
def threecx(**options: Any) -> None:
    """A 3CX that speaks the XAPI over plain HTTP and lives an office's day, again and again, until stopped."""
    from agent import simulating  # noqa: PLC0415 - nobody else loads a simulator

    asyncio.run(until_stopped(simulating.threecx(**options)))


@main.command()
@click.option(
    "--seconds", type=click.IntRange(15, 90), default=75, show_default=True, help="How long it takes, about."
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the mail (HTML too), the records, their receipts and the public keys.",
)
def demo(seconds: int, keep: Path | None) -> None:
    """The whole way on this machine: two simulated PBXs, the agent, a mail, the provider, a closed period."""
    try:
        from agent.demo import playing  # noqa: PLC0415 - needs the demo extra
    except ModuleNotFoundError as error:
        if error.name != "aiosmtpd":
            raise
        fail(
            USAGE,
            "the demo needs a mailbox, and aiosmtpd is not installed",
            "pip install aiosmtpd, or make demo",
        )
    try:
        kept = asyncio.run(until_stopped(playing.play(seconds, keep)))
    except OSError as error:
        fail(
            PROBLEM,
            f"the demo can't be played: {error}",
            "it needs loopback, a temporary folder, and DIR of --keep",
        )
    if kept is False:
        raise SystemExit(PROBLEM)


for command in (*custody.COMMANDS, *evidence.COMMANDS, initialising.init):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
