"""A second witness: what a PBX's own call records tell of the same legs, added up independently of the fold.

Rules of this file:
- it shares no arithmetic with `meter.fold`: a second witness that repeats the first one's
  reasoning proves nothing;
- call records count whole seconds, cut off. Two instants that are cut off keep their order,
  so no two legs are made to overlap that did not;
- who parses records (connectors) says what each leg tells; nothing is known of files here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from meter.model import Direction, Instant, Known, Leg, Level
from meter.tenancy import Claims, Kind, Tenancy


@dataclass(frozen=True, slots=True)
class Witnessed:
    """One leg as call records tell it, in whole seconds.

    Attributes:
        channel: The PBX's own name of it: what makes rows tell of one leg.
        endpoint: Its full endpoint.
        leg: The PBX's own id of it; "": the records don't say (a dialled leg's).
        call: The call it belongs to.
        direction: Which side began it.
        claims: What it says about whose it is.
        start, answer, end: Its life; answer None: never answered.
        asked_by: Channels that it was in one record with: their claims count after its own.
    """

    channel: str
    endpoint: str
    leg: str
    call: str
    direction: Direction
    claims: Claims
    start: Instant
    answer: Instant | None
    end: Instant
    asked_by: tuple[Claims, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """Legs of one direction: how many begin and are answered in the time, and how long they talked in it."""

    legs: int = 0
    answered: int = 0
    answered_ms: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What call records add up to.

    Attributes:
        peaks: Each level's highest value, and the first instant of it; None if it is 0.
        traffic: By direction.
    """

    peaks: dict[Level, tuple[int, Instant | None]]
    traffic: dict[Direction, Flow]


def judged(witnessed: Witnessed, pbx: str, rules: Tenancy, row: int = 0) -> Leg | None:
    """Return a witnessed leg as the ledger would keep it; None: an extension's, which no ledger keeps.

    Records don't tell when a dialled leg was made: dialled by a phone it is taken to begin with
    the record, dialled by a trunk leg with the answer (an IVR may have talked long before).
    """
    # A trunk's own number is short; what looks like a telephone number is not taken for one on trust.
    listed = rules.lists_trunks(pbx) and rules.redacted(witnessed.endpoint) == witnessed.endpoint
    what = rules.judge(pbx, witnessed.endpoint, listed=listed)
    if what.kind is Kind.EXTENSION:
        return None
    tenant = None
    if what.kind is Kind.TRUNK:
        tenant = rules.tenant_of(pbx, witnessed.claims, witnessed.asked_by)
    start = witnessed.start
    forwarded = any(rules.judge(pbx, c.trunk).kind is Kind.TRUNK for c in witnessed.asked_by if c.trunk)
    if forwarded and witnessed.direction is Direction.OUT and witnessed.answer is not None:
        start = witnessed.answer
    return Leg(
        row=row,
        pbx=pbx,
        leg=witnessed.leg or what.shown + witnessed.channel.removeprefix(witnessed.endpoint),
        endpoint=what.shown,
        trunk=what.rule,
        direction=witnessed.direction,
        call=witnessed.call,
        tenant=tenant,
        start=start,
        start_known=Known.CALL_LOG,
        answer=witnessed.answer,
        answer_known=None if witnessed.answer is None else Known.CALL_LOG,
        end=witnessed.end,
        end_known=Known.CALL_LOG,
    )


def told(legs: Sequence[Leg], start: Instant, end: Instant) -> Told:
    """Add up ended trunk legs of one tenant over `[start, end)` by sweep line."""
    flows = {
        direction: Flow(
            legs=sum(start <= leg.start < end for leg in own),
            answered=sum(leg.answer is not None and start <= leg.answer < end for leg in own),
            answered_ms=sum(_talked(leg, start, end) for leg in own),
        )
        for direction in Direction
        for own in [[leg for leg in legs if leg.direction is direction]]
    }
    return Told(_peaks(legs, start, end), flows)


def _talked(leg: Leg, start: Instant, end: Instant) -> int:
    if leg.answer is None or leg.end is None:
        return 0
    return max(0, min(leg.end, end) - max(leg.answer, start))


def _peaks(legs: Iterable[Leg], start: Instant, end: Instant) -> dict[Level, tuple[int, Instant | None]]:
    turns: list[tuple[Instant, int, str, bool]] = []
    for leg in legs:
        last = end if leg.end is None else leg.end
        for since, talks in ((leg.start, False), (leg.answer, True)):
            if since is not None and max(since, start) < min(last, end):
                turns += [(max(since, start), 1, leg.call, talks), (min(last, end), -1, leg.call, talks)]
    turns.sort(key=lambda turn: turn[0])
    up: Counter[str] = Counter()
    talking: Counter[str] = Counter()
    highest: dict[Level, tuple[int, Instant | None]] = dict.fromkeys(Level, (0, None))
    for at, group in groupby(turns, key=lambda turn: turn[0]):
        for _, change, call, talks in group:
            (talking if talks else up)[call] += change
        now = {
            Level.CHANNELS: up.total(),
            Level.CALLS: sum(count > 0 for count in up.values()),
            Level.ANSWERED: sum(count > 0 for count in talking.values()),
        }
        for level, value in now.items():
            if value > highest[level][0]:
                highest[level] = (value, at)
        for counter in (up, talking):
            for call in [call for call, count in counter.items() if not count]:
                del counter[call]
    return highest
