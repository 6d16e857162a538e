"""Make tests/recordings/asterisk*/Master.csv: the call records that a real Asterisk writes, and what was dialled.

`python -m tests.asterisk.record_calls` makes them anew for every version: every kind of
call once, one after the other, and some at a time. Nothing in them is of this machine:
every number comes from a range that is kept for fiction (tests.asterisk.configuration).
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Final

from tests.asterisk import network, roots
from tests.asterisk.calls import Script
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.record import RECORDINGS, SCENARIOS

#: At a time: 2 legs of `acme` on its own trunk, 2 of a call that is forwarded, 1 of `globex`.
TOGETHER: Final = (
    *(replace(SCENARIOS["answered"][0], id=n, talk_ms=4_000) for n in (1, 2)),
    replace(SCENARIOS["forwarded"][0], id=3, talk_ms=4_000),
    replace(SCENARIOS["outbound"][0], id=4, talk_ms=4_000),
)


async def record(instance: Instance, around: Network) -> str:
    """Return the call records of every scenario, and of TOGETHER last."""
    for scripts in SCENARIOS.values():
        await _placed(around, scripts)
        await asyncio.sleep(1.1)  # the records count whole seconds: no two scenarios share one
    known = instance.call_records().count("\n")
    await _placed(around, TOGETHER)

    async def written() -> bool:
        return instance.call_records().count("\n") >= known + len(TOGETHER)

    await until(written, within_s=10)
    return instance.call_records()


async def _placed(around: Network, scripts: tuple[Script, ...]) -> None:
    async with around.place(scripts) as placed:
        await placed.finished()


def main() -> int:
    """Make them anew. 0: made, 1: a sentence says what is missing."""
    if lacks := roots.missing():
        print("no real Asterisk here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    for generation in roots.SUITES:
        with running(roots.root(generation)) as instance, network.around(instance) as around:
            text = asyncio.run(record(instance, around))
            (RECORDINGS / f"asterisk{generation}" / "Master.csv").write_text(text)
            print(*instance.complaints(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
