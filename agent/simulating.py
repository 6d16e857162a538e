"""`pbx-meter simulate asterisk`: an office's day on a simulated PBX, again and again."""

from __future__ import annotations

from itertools import count

import click

from agent.clock import Clock
from connectors import office
from connectors.asterisk.simulated import day
from connectors.asterisk.simulator import EXTENSIONS, TRUNKS, Account, SimulatedAsterisk


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
        where = await pbx.start(host, port)
    except OSError as error:
        raise click.ClickException(f"{error}\n  -> --port 0 takes any free port") from error
    try:
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
