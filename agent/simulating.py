"""`pbx-meter simulate`: a simulated PBX that lives office days again and again, or one scenario."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count
from pathlib import Path

import click

from agent.clock import Clock
from connectors import office
from connectors.asterisk.simulated import day
from connectors.asterisk.simulator import EXTENSIONS, TRUNKS, Account, SimulatedAsterisk
from connectors.threecx.simulated import day as day_on_3cx
from connectors.threecx.simulated import scenario
from connectors.threecx.simulated.timeline import Call
from connectors.threecx.simulated.tokens import Client
from connectors.threecx.simulator import SimulatedThreeCX


async def asterisk(
    *, host: str, port: int, username: str, secret: str, speed: float, seed: int, begin: float
) -> None:
    """Serve AMI and live office days, `speed` times as fast as real ones, the first from `begin` o'clock.

    Raises:
        click.ClickException: It can't listen there.
    """
    clock = Clock()
    account = Account(username, secret)
    pbx = SimulatedAsterisk(clock.now, accounts=(account,))
    try:
        where = await _listening(pbx.start(host, port))
        click.echo(f"a simulated Asterisk answers at {host}:{where}, account {username}")
        click.echo(f"trunks: {', '.join(TRUNKS)}; extensions: {EXTENSIONS[0]} to {EXTENSIONS[-1]}")
        click.echo(f"a day passes {speed:g} times as fast as a real one; Ctrl-C ends it")
        begin_s = begin * 3600
        for number in count(seed):
            await day.play(
                pbx.exchange,
                office.day(office.Office(TRUNKS, EXTENSIONS), number),
                speed=speed,
                from_s=begin_s,
            )
            begin_s = 0
    finally:
        await pbx.stop()


async def threecx(
    *,
    port: int,
    client_id: str,
    secret: str,
    speed: float,
    seed: int,
    begin: float,
    script: Path | None,
    cdr: tuple[str, int] | None,
) -> None:
    """Serve the XAPI on loopback, and live office days as `asterisk` does, or one scenario from now on.

    After a scenario it goes on answering, so that an agent can read the call log.

    Raises:
        click.ClickException: It can't listen there, or the scenario can't be played.
    """
    output = None if cdr is None else ("connect", *cdr)
    # The call log is for System Owners only.
    pbx = SimulatedThreeCX(Clock().now, clients=(Client(client_id, secret, "system_owners"),), cdr=output)
    calls = None if script is None else _written_down(pbx, script)
    try:
        await _listening(pbx.start(port=port))
        click.echo(f"a simulated 3CX answers at {pbx.url}; Ctrl-C ends it")
        click.echo("Write into the agent's configuration, with the secret that this one was started with:\n")
        click.echo(_sections(pbx.url, client_id, cdr))
        if calls is None:
            await _live(pbx, speed, seed, begin)
        else:
            await _perform(pbx, calls)
    finally:
        await pbx.stop()


async def _live(pbx: SimulatedThreeCX, speed: float, seed: int, begin: float) -> None:
    """Live one office day after another."""
    click.echo(f"a day passes {speed:g} times as fast as a real one")
    begin_s = begin * 3600
    for number in count(seed):
        await day_on_3cx.play(
            pbx.exchange,
            office.day(day_on_3cx.office(pbx.directory), number),
            speed=speed,
            from_s=begin_s,
            advance=pbx.advance,
        )
        begin_s = 0


def _written_down(pbx: SimulatedThreeCX, script: Path) -> list[Call]:
    """Return the calls of a scenario, written down on the 3CX from now on."""
    try:
        return scenario.schedule(pbx.exchange, scenario.read(script))
    except (
        ValueError,
        OverflowError,
    ) as error:  # it can't be read, names no trunk, or a time that never comes
        raise click.ClickException(f"the scenario can't be played: {error}") from error


async def _perform(pbx: SimulatedThreeCX, calls: list[Call]) -> None:
    """Let the calls of a scenario pass, then answer on."""
    exchange = pbx.exchange
    last = max((call.end for call in calls if call.end is not None), default=exchange.now())
    click.echo(f"the scenario has {len(calls)} calls and takes {(last - exchange.now()) / 1000:.0f} s")
    while (next_at := exchange.next_at) is not None:
        await asyncio.sleep(max(0, next_at - exchange.now()) / 1000)
        await pbx.advance()
    click.echo("the scenario is over; its call log can still be read")
    await asyncio.Event().wait()


def _sections(url: str, client_id: str, cdr: tuple[str, int] | None) -> str:
    """Return what an agent needs to follow this 3CX, ready to be pasted."""
    records = "" if cdr is None else f'cdr = {{ listen = "{cdr[0]}:{cdr[1]}" }}\n'
    return (
        '[[pbx]]\nname = "cloud"\nkind = "3cx"\n'
        f'url = "{url}"\nclient_id = "{client_id}"\nsecret_file = "3cx-key"\n{records}\n'
        '[[tenant]]\nid = "globex"\nmatch = { trunks = ["3CX/*"], departments = ["*"] }\n'
    )


async def _listening(start: Awaitable[int]) -> int:
    """Return the port on which a simulator listens now."""
    try:
        return await start
    except OSError as error:
        raise click.ClickException(f"{error}\n  -> --port 0 takes any free port") from error
