"""Real calls for a measurement: SIPp calls in over a trunk, a phone rings and answers, at a steady rate.

Asterisk, its network and its dialplan are those of tests/asterisk. What differs is that calls come evenly and
are measured: each one's time from INVITE to 180 as SIPp saw it.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from tests.asterisk import configuration, network, roots
from tests.asterisk.configuration import TENANTS, free_port
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Network

GENERATION: Final = "22"
SCENARIO: Final = Path(__file__).with_name("inviting.xml")
TRUNK: Final = "trunk-kpn"
#: How long a call lasts once it is answered, and what it takes at most around that.
TALK_MS: Final = 1_000
_MORE_S: Final = 30.0
_batches: Final = count()


@contextmanager
def around() -> Iterator[tuple[Instance, Network]]:
    """Give a booted Asterisk 22 with its network."""
    with running(roots.root(GENERATION)) as instance, network.around(instance) as world:
        yield instance, world


async def place(instance: Instance, number: int, per_s: float) -> list[float]:
    """Place so many calls at that rate and wait until they are over; return each one's set-up time in ms.

    Raises:
        RuntimeError: A call did not go as it should.
    """
    where = instance.addresses
    host = where.parties[TRUNK][0]
    home = instance.home / f"calls-{next(_batches)}"
    home.mkdir()
    numbers = home / "numbers.csv"
    numbers.write_text(f"SEQUENTIAL\n{TENANTS['acme'].did(configuration.PHONE)};001-answer-100-wait-0\n")
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "sipp", f"{where.host}:{where.sip_port}", "-sf", str(SCENARIO)),
        *("-inf", str(numbers), "-i", host, "-p", str(free_port(host)), "-cp", str(free_port("0.0.0.0"))),
        *("-m", str(number), "-r", str(per_s), "-l", "2000", "-d", str(TALK_MS), "-nostdin"),
        *("-trace_rtt", "-rtt_freq", "1"),
        cwd=home,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(number / per_s + _MORE_S):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise RuntimeError(
            f"SIPp ended with {code}: {number} calls at {per_s:g} a second did not all succeed"
        )
    (file,) = home.glob("*_rtt.csv")
    with file.open(encoding="utf-8") as lines:
        return [float(row[1]) for row in csv.reader(lines, delimiter=";") if row and row[0][:1].isdigit()]
