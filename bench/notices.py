"""How soon somebody hears of it: from the event on the wire to the row of the notice, and to the mail.

A simulated Asterisk tells 50 calls a second. A thousand of them, evenly spread, are the second on a trunk
whose tenant bought one line; the first brought a warning, whose mail is on its way at the same time. The wire's instant is taken before the event is written to the socket; the row's when
another process first reads it from the database, which it looks at each millisecond; the mail's when the SMTP
server has its last byte. The agent is the service, in a process of its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from agent.clock import Clock
from agent.store.database import NAME
from bench.figures import Figure, Scale, nearest_rank
from bench.installation import PBX, configured, now_ms, service, shows
from connectors.asterisk.simulated.exchange import RING, UP, Channel
from connectors.asterisk.simulator import SimulatedAsterisk
from tests.acceptance.around import Mailbox

OVERRUNS: Final = 1_000
CALLS_A_SECOND: Final = 50
#: The first of every four calls occupies the line, the second is too many, the others are somebody else's.
_CYCLE: Final = 4
_TALK_S: Final = 4.0
_LOOK_S: Final = 0.001
_WITHIN_S: Final = 60.0


def watch(file: Path, most: int, told: Connection) -> None:
    """Tell when each tenant's notice is first seen in the database (in a process of its own)."""
    seen: dict[str, int] = {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as db:
        version, last = None, 0
        told.send("ready")
        while len(seen) < most and not told.poll():
            time.sleep(_LOOK_S)
            if (now := db.execute("PRAGMA data_version").fetchone()) == version:
                continue
            version = now
            rows = db.execute(
                "SELECT rowid, tenant, notice ->> '$.kind' FROM notices WHERE rowid > ?", [last]
            ).fetchall()
            at = now_ms()
            seen.update((tenant, at) for _, tenant, kind in rows if kind == "over")
            last = max((row for row, *_ in rows), default=last)
        told.send(seen)


async def live(pbx: SimulatedAsterisk, overruns: int) -> dict[str, int]:
    """Let the calls come and go; return when each tenant's second line was taken, on the wire."""
    taken: dict[str, int] = {}
    up: deque[tuple[float, Channel]] = deque()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(overruns * _CYCLE):
        await asyncio.sleep(max(0.0, begun + number / CALLS_A_SECOND - loop.time()))
        tenant, place = divmod(number, _CYCLE)
        trunk = f"PJSIP/trunk-{tenant}" if place < 2 else "PJSIP/trunk-others"  # noqa: PLR2004 - see _CYCLE
        if place == 1:
            taken[f"tenant-{tenant}"] = now_ms()
        channel = pbx.exchange.make(trunk, RING)
        pbx.exchange.show(channel, UP)
        up.append((loop.time() + _TALK_S, channel))
        while up and up[0][0] <= loop.time():
            pbx.exchange.hang_up(up.popleft()[1])
    return taken


async def lateness(overruns: int) -> tuple[list[int], list[int]]:
    """Return how late each notice's row was, and its mail, in ms."""
    trunks = [f"PJSIP/trunk-{number}" for number in range(overruns)]
    mailbox = Mailbox(now_ms)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            SimulatedAsterisk(Clock().now, trunks=(*trunks, "PJSIP/trunk-others")) as pbx,
            open_(mailbox),
        ):
            smtp = f'\n[smtp]\nhost = "127.0.0.1"\nport = {mailbox.port}\nsender = "meter@partner.example"\n'
            file = configured(
                folder,
                trunks,
                capacity=1,
                tenant='alerts = ["noc@partner.example"]\nwarn_at = 100\n',
                rest=smtp,
            )
            text = file.read_text(encoding="utf-8").replace("port = 5038", f"port = {pbx.port}")
            file.write_text(
                text + '\n[[tenant]]\nid = "others"\nmatch = { trunks = ["PJSIP/trunk-others"] }\n',
                encoding="utf-8",
            )
            file.write_text(
                file.read_text(encoding="utf-8").replace(
                    'trunks = ["PJSIP/trunk-0"', 'trunks = ["PJSIP/trunk-others", "PJSIP/trunk-0"', 1
                ),
                encoding="utf-8",
            )
            async with service(file, folder / "log"):
                await shows(file, lambda s: s["pbxs"][PBX]["observed"], within_s=120)
                ours, theirs = multiprocessing.Pipe()
                process = multiprocessing.get_context("spawn").Process(
                    target=watch, args=(folder / "state" / NAME, overruns, theirs)
                )
                process.start()
                try:
                    assert await asyncio.to_thread(ours.recv) == "ready"
                    taken = await live(pbx, overruns)
                    async with asyncio.timeout(_WITHIN_S):
                        while len(over(mailbox)) < overruns:  # noqa: ASYNC110 - the mailbox keeps a list
                            await asyncio.sleep(0.05)
                    ours.send("enough")
                    seen: dict[str, int] = await asyncio.to_thread(ours.recv)
                finally:
                    process.kill()
                    process.join()
    rows = [at - taken[tenant] for tenant, at in seen.items() if tenant in taken]
    told = over(mailbox)
    mails = [told[tenant] - at for tenant, at in taken.items() if tenant in told]
    assert len(rows) == len(mails) == overruns, (len(rows), len(mails))
    return rows, mails


@asynccontextmanager
async def open_(mailbox: Mailbox) -> AsyncIterator[None]:
    """Let a mailbox be open in the block."""
    await mailbox.start()
    try:
        yield
    finally:
        await mailbox.stop()


def over(mailbox: Mailbox) -> dict[str, int]:
    """Return when each tenant's mail arrived that says it is over ("Tenant 17 is over its capacity ...")."""
    found = {}
    for mail in mailbox.mails:
        words = str(mail.message["Subject"]).split()
        if "over" in words:
            found[f"tenant-{words[words.index('Tenant') + 1]}"] = mail.at
    return found


def measure(scale: Scale) -> list[Figure]:
    """Return the middle and the slowest hundredth of both."""
    overruns = scale.of(OVERRUNS, 4)
    rows, mails = asyncio.run(lateness(overruns))
    how = f"{overruns:,} overruns under {CALLS_A_SECOND} calls a second"
    return [
        Figure("event on the wire -> row of the notice, p50", nearest_rank(rows, 50), "ms", how),
        Figure("event on the wire -> row of the notice, p99", nearest_rank(rows, 99), "ms", bar=("<=", 50)),
        Figure("event on the wire -> mail at the SMTP server, p50", nearest_rank(mails, 50), "ms"),
        Figure(
            "event on the wire -> mail at the SMTP server, p99",
            nearest_rank(mails, 99),
            "ms",
            bar=("<=", 500),
        ),
    ]
