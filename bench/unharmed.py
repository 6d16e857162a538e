"""Whether Asterisk's calls feel the agent: the time from INVITE to 180, as SIPp sees it, at 40 calls a second.

Three states: no agent, the agent, and the agent stopped in mid-stream (SIGSTOP: its connection stays, and nothing is
read from it). They take turns in short blocks of calls, in an order drawn anew for each turn, so that what else the
machine does falls on all alike. SIPp's clock goes in steps of some ms, so a block's mean says more than its
median. Judged by the blocks, not by single calls, which disturb each other: if the
state made no difference, its blocks could be swapped with those without an agent, turn by turn, and the
mean of their differences would come out as large by chance. That chance is p, over 10,000 drawn swaps; below 0.05
we call it a difference. Beside it stands the most by which two neighbouring blocks without an agent differ.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final

from bench import calls
from bench.figures import Figure, Scale, nearest_rank, unmeasured
from bench.installation import PBX, Watched, configured, service, shows
from tests.asterisk import roots
from tests.asterisk.instance import Instance

TURNS: Final = 9
CALLS: Final = 200  # a block
PER_S: Final = 40
STATES: Final = ("no agent", "agent", "agent stopped")
_SWAPS: Final = 10_000
_ALPHA: Final = 0.05


async def block(instance: Instance, state: str, number: int) -> list[float]:
    """Return the set-up times of a block of calls, in ms."""
    if state == "no agent":
        return await calls.place(instance, number, PER_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pbx = Watched(instance.host, instance.ami_port, "meter", instance.accounts["meter"].secret)
        file = configured(folder, ["PJSIP/trunk-*"], pbx, rest="\n[page]\nenabled = false\n")
        async with service(file, folder / "log") as process:
            await shows(file, lambda s: s["pbxs"][PBX]["observed"])
            if state == "agent stopped":
                process.send_signal(signal.SIGSTOP)
            try:
                return await calls.place(instance, number, PER_S)
            finally:
                process.send_signal(signal.SIGCONT)


async def turns(instance: Instance, number: int, each: int) -> dict[str, list[list[float]]]:
    """Return each state's blocks."""
    draw = random.Random(4)
    found: dict[str, list[list[float]]] = {state: [] for state in STATES}
    await calls.place(instance, each, PER_S)  # the first calls after a start are slower for everybody
    for _ in range(number):
        for state in draw.sample(STATES, len(STATES)):
            found[state].append(await block(instance, state, each))
    return found


def chance(differences: list[float]) -> float:
    """Return how likely swaps within the turns give a mean difference at least as large, either way (sign-flip test)."""
    draw = random.Random(40)
    seen = abs(fmean(differences))
    hits = sum(
        abs(fmean(one * draw.choice((-1, 1)) for one in differences)) >= seen - 1e-12 for _ in range(_SWAPS)
    )
    return (hits + 1) / (_SWAPS + 1)


def measure(scale: Scale) -> list[Figure]:
    """Return each state's set-up times, and how the two with an agent differ from the one without."""
    if lacks := roots.missing():
        return unmeasured(["call set-up time on a real Asterisk"], lacks)
    number, each = scale.of(TURNS, 1), scale.of(CALLS, 10)
    with calls.around() as (instance, _):
        found = asyncio.run(turns(instance, number, each))
    how = f"{number} blocks of {each} calls a state, {PER_S} calls a second, Asterisk {instance.version}"
    figures = []
    centres = {state: [fmean(block) for block in blocks] for state, blocks in found.items()}
    for state, blocks in found.items():
        times = [ms for one in blocks for ms in one]
        figures += [
            Figure(f"INVITE -> 180, {state}: mean", fmean(centres[state]), "ms", how),
            Figure(f"INVITE -> 180, {state}: p99", nearest_rank(times, 99), "ms"),
        ]
    alone = centres[STATES[0]]
    noise = max((abs(one - other) for one, other in pairwise(alone)), default=0.0)
    figures.append(
        Figure("noise: the most that two neighbouring blocks without an agent differ", noise, "ms")
    )
    for state in STATES[1:]:
        differences = [one - other for one, other in zip(centres[state], alone, strict=True)]
        figures += [
            Figure(f"difference, {state}", fmean(differences), "ms", "mean over the turns"),
            Figure(
                f"chance of such a difference by noise alone, {state}",
                chance(differences),
                "",
                "sign-flip test over the turns",
                (">=", _ALPHA),
            ),
        ]
    return figures
