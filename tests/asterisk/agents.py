"""An agent beside the test PBX: its configuration, and what it must have counted by the wire's account."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from agent.store import ledger
from config.load import load
from config.model import Config
from meter.model import Gap, Known, Leg
from tests.asterisk import wire as wires
from tests.asterisk.configuration import DID, TENANTS
from tests.asterisk.instance import Instance
from tests.asterisk.network import Placed
from tests.asterisk.proxy import Line
from tests.asterisk.wire import SLACK_MS, Interval, WireLeg

_HEAD = """\
[agent]
id = "test-01"
state_dir = "{home}/state"
timezone = "Europe/Amsterdam"
period = "{period}"
grace = "0s"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "{host}"
port = {port}
username = "{account}"
secret_file = "{home}/secret"
trunks = ["PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared"]
extensions = "^1[0-9]{{2}}$"
snapshot_every = "30s"
"""

_TENANT = """
[[tenant]]
id = "{name}"
match = {{ trunks = ["PJSIP/{trunk}"], accounts = ["{name}"], contexts = ["{name}-phones"], dids = ["{did}*"], extensions = "^{phones}[0-9]$" }}
capacity = {capacity}
packages = [4, 8, 16, 24, 32, 48]
alerts = ["noc@partner.example"]
"""


def configured(
    instance: Instance,
    home: Path,
    *,
    account: str = "meter",
    period: str = "5min",
    capacity: int = 4,
    smtp_port: int | None = None,
    upstream: str | None = None,
    line: Line | None = None,
    repeat: str | None = None,
) -> Path:
    """Write a configuration for an agent that follows `instance`, over `line` if one is given; return its file."""
    home.mkdir(parents=True, exist_ok=True)
    secret = home / "secret"
    secret.touch(0o600)
    secret.write_text(instance.accounts[account].secret)
    host, port = (instance.host, instance.ami_port) if line is None else ("127.0.0.1", line.port)
    text = _HEAD.format(home=home, host=host, port=port, account=account, period=period)
    for tenant in TENANTS.values():
        text += _TENANT.format(
            name=tenant.name,
            trunk=tenant.trunk,
            did=f"{DID}{tenant.digit}",
            phones=tenant.phones,
            capacity=capacity,
        )
        text += f'repeat = "{repeat}"\n' if repeat is not None else ""
    if smtp_port is not None:
        text += f'\n[smtp]\nhost = "127.0.0.1"\nport = {smtp_port}\nsender = "meter@partner.example"\n'
    else:
        text = text.replace('alerts = ["noc@partner.example"]\n', "")
    if upstream is not None:
        text += f'\n[upstream]\nurl = "{upstream}"\ninterim = "5s"\n'
    file = home / "pbx-meter.toml"
    file.write_text(text)
    return file


def loaded(file: Path) -> Config:
    """Load a configuration."""
    return load(file)


def levels(legs: Iterable[WireLeg], merges: Sequence[tuple[int, int, int]]) -> dict[str, list[Interval]]:
    """Return what the wire counts on each level, for the legs of one tenant."""
    mine = list(legs)
    return {
        "channels": wires.channels(mine),
        "calls": wires.calls(mine, merges),
        "answered": wires.calls(mine, merges, answered=True),
    }


def compare(placed: Placed, seen: list[WireLeg], content: dict[str, dict[str, Any]]) -> list[str]:
    """Compare what a record states with the wire: peaks of all levels, legs, answered seconds.

    Args:
        placed: The calls.
        seen: Every trunk leg on the wire.
        content: Each tenant's record content.

    Returns:
        One line a figure, for the reader of a test's output.

    Raises:
        AssertionError: A figure is not the wire's.
    """
    lines = []
    for tenant, stated in content.items():
        mine = [leg for leg in seen if placed.tenant(leg) == tenant]
        for level, spans in levels(mine, placed.merges).items():
            low, high = wires.peak_bounds(spans)
            peak = stated["levels"][level]["peak"]
            lines.append(f"{tenant} {level}: peak {peak}, wire {low}..{high}")
            assert low <= peak <= high, lines[-1]
        traffic = stated["traffic"]
        for way in ("in", "out"):
            there = [leg for leg in mine if leg.direction == way]
            answered = [leg for leg in there if leg.answer_ms is not None]
            wire_ms = wires.answered_ms(answered)
            found = traffic[way]
            lines.append(
                f"{tenant} {way}: {found['legs']} legs, {found['answered']} answered, "
                f"{found['answered_ms']} ms; wire {len(there)}, {len(answered)}, {wire_ms} ms"
            )
            assert (found["legs"], found["answered"]) == (len(there), len(answered)), lines[-1]
            # Each answer may be told as late as any edge; over many legs that is less than one per cent.
            assert abs(found["answered_ms"] - wire_ms) <= max(wire_ms / 100, len(answered) * SLACK_MS), lines[
                -1
            ]
        assert traffic["unknown"]["legs"] == 0
    return lines


# --- an agent that did not see everything ------------------------------------------------------

#: Ends of time.
_FOREVER: Final = 1 << 52
#: A leg's birth or end may be told so much later than it was on the wire, on a busy machine.
TOLD_MS: Final = 300
#: And no leg of the wire is another one for so little.
SAME_MS: Final = 1_000
#: Asterisk states the age of a leg in whole seconds.
AGE_MS: Final = 1_000
_HURRIED: Final = Path(__file__).parent.parent / "acceptance" / "hurried.py"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger of an agent holds, on the wire's clock.

    Attributes:
        gaps: Time that was not seen, in order.
        legs: Every leg of every tenant.
    """

    gaps: tuple[Gap, ...]
    legs: tuple[Leg, ...]

    @property
    def blind(self) -> list[tuple[int, int]]:
        """The gaps as intervals."""
        return [(gap.start, _FOREVER if gap.end is None else gap.end) for gap in self.gaps]


def kept(home: Path, *, ahead_ms: int = 0) -> Kept:
    """Read the ledger of an agent, running or not, whose clock is so far ahead of the wire's."""
    with closing(sqlite3.connect(f"file:{home / 'state' / 'meter.db'}?mode=ro", uri=True, timeout=5)) as raw:
        db = Database(raw)
        gaps = ledger.gaps(db, ["pbx1"], 0, _FOREVER)["pbx1"]
        legs = [leg for tenant in (*TENANTS, None) for leg in ledger.legs(db, tenant, 0, _FOREVER)]

    def at(instant: int) -> int:
        return instant - ahead_ms if instant else 0

    def ends(instant: int | None) -> int | None:
        return None if instant is None else at(instant)

    return Kept(
        tuple(replace(gap, start=at(gap.start), end=ends(gap.end)) for gap in gaps),
        tuple(replace(leg, start=at(leg.start), answer=ends(leg.answer), end=ends(leg.end)) for leg in legs),
    )


def observes(home: Path, since: int = 0) -> bool:
    """Say whether the ledger holds no running gap, and one that ended after `since`."""
    try:
        gaps = kept(home).gaps
    except sqlite3.OperationalError:  # it is not made yet
        return False
    return bool(gaps) and gaps[-1].end is not None and gaps[-1].end > since


def clipped(spans: Iterable[Interval], blind: Iterable[tuple[int, int]]) -> list[Interval]:
    """Return what is left of `spans` outside of the time that nobody watched."""
    left = [(start, _FOREVER if end is None else end) for start, end in spans]
    for begins, ends in blind:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, begins)), (max(start, ends), end))
            if piece[0] < piece[1]
        ]
    return list(left)


def _wider(spans: Iterable[tuple[int, int | None]], by_ms: int) -> list[tuple[int, int]]:
    return [(start - by_ms, _FOREVER if end is None else end + by_ms) for start, end in spans]


def peak_bounds(
    spans: Sequence[Interval], blind: Sequence[tuple[int, int]], slack_ms: int = SLACK_MS
) -> tuple[int, int]:
    """As `wire.peak_bounds`, of the time alone that was watched, whose ends are as uncertain."""
    low = clipped(_wider(spans, -slack_ms), _wider(blind, slack_ms))
    high = clipped(_wider(spans, slack_ms), _wider(blind, -slack_ms))
    return wires.peak(low), wires.peak(high)


def told(legs: Iterable[WireLeg], blind: Sequence[tuple[int, int]]) -> list[WireLeg]:
    """Return the legs whose tenant is known for sure.

    A snapshot shows of a leg on a shared trunk only where it is now, not where it came in: a
    leg that was born while nobody watched may stay unassigned (spec/metering.md, section 5).
    """
    return [
        leg
        for leg in legs
        if leg.trunk != "trunk-shared"
        or not any(start - TOLD_MS <= leg.start_ms < end + TOLD_MS for start, end in blind)
    ]


def level_bounds(spans: Sequence[Interval], at_ms: int, slack_ms: int = TOLD_MS) -> tuple[int, int]:
    """Return the lowest and the highest level that can have been known at an instant."""
    return wires.level(_wider(spans, -slack_ms), at_ms), wires.level(_wider(spans, slack_ms), at_ms)


def compare_watched(
    placed: Placed,
    seen: list[WireLeg],
    content: dict[str, dict[str, Any]],
    found: Kept,
    slack_ms: int = SLACK_MS,
) -> list[str]:
    """Compare records with the wire where the agent watched: peaks of all levels, coverage to the ms.

    Returns:
        One line a figure.

    Raises:
        AssertionError: A figure is not the wire's.
    """
    lines = []
    for tenant, stated in content.items():
        mine = [leg for leg in seen if placed.tenant(leg) == tenant]
        surely = levels(told(mine, found.blind), placed.merges)
        for level, spans in levels(mine, placed.merges).items():
            low, high = (
                peak_bounds(surely[level], found.blind, slack_ms)[0],
                peak_bounds(spans, found.blind, slack_ms)[1],
            )
            peak, whole = stated["levels"][level]["peak"], wires.peak_bounds(spans)
            lines.append(
                f"{tenant} {level}: peak {peak}, wire where watched {low}..{high}, in all {whole[0]}..{whole[1]}"
            )
            assert low <= peak <= high, _contradiction(lines[-1], stated["levels"][level], spans, found)
        adds_up(stated)
    return lines


def _contradiction(line: str, figures: dict[str, Any], spans: Sequence[Interval], found: Kept) -> str:
    """Say what a reader needs who asks whether it was the agent or only the order of things on a slow machine."""
    legs = [leg["leg"] for leg in (figures["evidence"] or {}).get("legs", ())]
    rows = [leg for leg in found.legs if leg.leg in legs]
    loose = peak_bounds(spans, found.blind, TOLD_MS)
    return f"{line} (within {TOLD_MS} ms {loose}), {figures['peak_source']}; gaps {found.blind}; {rows}"


def adds_up(content: dict[str, Any]) -> None:
    """Hold a record's coverage to the millisecond."""
    coverage = content["coverage"]
    assert coverage["observed_ms"] + coverage["gaps"]["total_ms"] == coverage["expected_ms"], coverage
    for level in content["levels"].values():
        assert sum(level["time_at_level_ms"].values()) == coverage["observed_ms"], level


def compare_legs(seen: Sequence[WireLeg], found: Kept, *, late_ms: int = 0, lag_ms: int = 0) -> str:
    """Compare the legs of the ledger with the wire's, one by one.

    A leg whose birth and end were watched is there with both and with its answer. What
    is there beside those is part of a leg on the wire: no leg and no time is invented.

    Args:
        seen: Every trunk leg on the wire.
        found: The ledger.
        late_ms: How late the line delivered at most.
        lag_ms: How late it delivered as a rule.

    Raises:
        AssertionError: They differ; the sentence says which leg.
    """
    pool = [row for row in (_known(leg, found.blind) for leg in found.legs) if row is not None]
    rest = []
    whole = 0
    for leg in seen:
        assert leg.end_ms is not None, leg
        edges = (leg.start_ms, leg.answer_ms or leg.start_ms, leg.end_ms)
        if any(start - SAME_MS <= edge < end + TOLD_MS for start, end in found.blind for edge in edges):
            rest.append(leg)
            continue
        same = [row for row in pool if _is(row, leg, late_ms)]
        assert same, f"the ledger lacks {leg}; near it: {_near(found, leg)}; gaps {found.blind}"
        pool.remove(
            min(
                same,
                key=lambda row: (
                    abs(row.start - leg.start_ms - lag_ms) + abs((row.end or 0) - edges[2] - lag_ms)
                ),
            )
        )
        whole += 1
    for row in sorted(pool, key=lambda row: row.start):
        inside = [leg for leg in rest if _within(row, leg, late_ms)]
        assert inside, f"no leg on the wire is {row}; gaps {found.blind}; left: {rest}"
        rest.remove(inside[0]) if len(inside) == 1 else None
    return f"{len(seen)} legs on the wire, {whole} watched whole, {len(pool)} in part"


def _known(row: Leg, blind: Sequence[tuple[int, int]]) -> Leg | None:
    """Return what a leg states outside of gaps: an end told within one is known at its start (section 7)."""
    if row.end is not None:
        for start, end in blind:
            if start < row.end < end:
                row = replace(row, end=start)
    return None if row.trunk is None or (row.end is not None and row.end <= row.start) else row


def _is(row: Leg, leg: WireLeg, late_ms: int) -> bool:
    def heard(stated: int | None, real: int | None) -> bool:
        if stated is None or real is None:
            return stated is real
        return -SLACK_MS <= stated - real <= late_ms + SAME_MS

    return (
        row.trunk == f"PJSIP/{leg.trunk}"
        and row.direction.value == leg.direction
        and heard(row.start, leg.start_ms)
        and heard(row.answer, leg.answer_ms)
        and heard(row.end, leg.end_ms)
    )


def _within(row: Leg, leg: WireLeg, late_ms: int) -> bool:
    early = SLACK_MS if row.start_known is Known.SEEN else AGE_MS
    answered = row.answer is None or (leg.answer_ms is not None and row.answer >= leg.answer_ms - early)
    end = _FOREVER if row.end is None else row.end
    return (
        row.trunk == f"PJSIP/{leg.trunk}"
        and row.start >= leg.start_ms - early
        and answered
        and end <= (leg.end_ms or _FOREVER) + late_ms + SAME_MS
    )


def _near(found: Kept, leg: WireLeg) -> list[Leg]:
    return [
        row
        for row in found.legs
        if row.trunk == f"PJSIP/{leg.trunk}" and abs(row.start - leg.start_ms) < 3 * AGE_MS
    ]


async def process(
    file: Path, log: Path, *, ahead_ms: int = 0, silent_s: float = 25
) -> asyncio.subprocess.Process:
    """Start an agent in a process of its own, its waits short, and its patience with a silent PBX given."""
    with log.open("ab") as to:
        return await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-I",
                str(_HURRIED),
                str(ahead_ms),
                str(silent_s),
                "run",
                "--config",
                str(file),
            ),
            stdout=to,
            stderr=to,
        )


async def ended(one: asyncio.subprocess.Process, how: signal.Signals = signal.SIGTERM) -> None:
    """End an agent's process, if it still runs."""
    if one.returncode is None:
        one.send_signal(how)
    async with asyncio.timeout(10):
        await one.wait()
