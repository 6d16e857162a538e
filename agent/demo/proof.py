"""Whether everything that the demo promises has happened, found out from both sides' stores and the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.demo.script import Line, true_peaks
from agent.demo.stage import AGENT, CLOUD, ON_3CX, Stage
from agent.demo.story import Story
from agent.store import records
from agent.store.records import Sealed
from meter import chain, messages, signature
from meter.messages import Receipt
from meter.model import Level
from meter.signature import Unverified
from meter.statement import instant


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise: whether it was kept, and how."""

    kept: bool
    said: str


@dataclass(frozen=True, slots=True)
class Billed:
    """One tenant's final record.

    Attributes:
        id, sha256: The record.
        name: The tenant's.
        data: What it states.
        receipt: What the provider said of it, its signature checked; None: nothing.
    """

    id: str
    sha256: str
    name: str
    data: dict[str, Any] = field(repr=False)
    receipt: Receipt | None

    @property
    def on_3cx(self) -> bool:
        """Whether its tenant is the one on the 3CX."""
        return bool(self.data["tenant"]["id"] == ON_3CX)

    def peak(self, level: Level) -> int | None:
        """Return a peak that the record states; None: not known."""
        found: int | None = self.data["levels"][level.value]["peak"]
        return found

    def peak_by(self, level: Level) -> Mapping[str, int | None]:
        """Return a peak by `polls` and by the `call_log`; {}: there is no call log beside polls."""
        found: Mapping[str, int | None] = self.data["levels"][level.value].get("peak_by", {})
        return found


@dataclass(frozen=True, slots=True)
class Proof:
    """What the demo came to.

    Attributes:
        claims: Every promise.
        billed: The final records, in the order of the tenants.
        verdict: What the chain of records proves, in words.
        tokens, receipts: The records and their receipts, as `--keep` writes them.
    """

    claims: tuple[Claim, ...]
    billed: tuple[Billed, ...]
    verdict: chain.Verdict
    tokens: tuple[str, ...] = field(repr=False)
    receipts: tuple[str, ...] = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return all(claim.kept for claim in self.claims)


async def prove(story: Story) -> Proof:
    """Compare what the agent sealed with what the provider has and with what was true."""
    stage = story.stage
    sealed = await story.agent.store.read(lambda db: list(records.every(db)))
    books = await stage.receiver.books.records(AGENT)
    billed = tuple(
        _billed(stage, story.finals[t], story.tenants[t].name) for t in story.tenants if t in story.finals
    )
    tokens = tuple(row.token for row in books)
    verdict = chain.examine(tokens, [stage.key])
    counted = sum(row.status == "counted" for row in books)
    same = tokens == tuple(record.jws for record in sealed)[: len(tokens)]
    claims = (
        *_overrun(story, billed),
        *(_peaks(story, one) for one in billed),
        *(claim for one in billed if one.on_3cx for claim in (_polls(story, one), _legs(story), _users(story, one))),
        Claim(
            len(billed) == len(story.tenants)
            and all(one.receipt is not None and one.receipt.status == "counted" for one in billed),
            f"{len(billed)} of {len(story.tenants)} final records counted, "
            "each with a receipt that the provider's key has signed",
        ),
        Claim(
            bool(tokens) and same and counted == len(tokens),
            f"the provider's books hold {len(tokens)} records, {counted} counted, "
            + ("byte for byte those that the agent sealed" if same else "and NOT those that the agent sealed"),
        ),
        Claim(verdict.good, "the chain of records is complete and every signature is good"
              if verdict.good else "; ".join(verdict.problems[:3])),
    )  # fmt: skip
    return Proof(claims, billed, verdict, tokens, tuple(row.receipt for row in books))


def _billed(stage: Stage, final: Sealed, name: str) -> Billed:
    payload = json.loads(signature.verify(final.jws or "", [stage.key], signature.TYP_RECORD))
    try:
        receipt = messages.read_receipt(final.receipt or "", stage.receiver_key)
    except Unverified:
        receipt = None
    if receipt is not None and receipt.sha256 != final.sha256:
        receipt = None
    return Billed(final.id, final.sha256, name, payload["data"], receipt)


def _overrun(story: Story, billed: Iterable[Billed]) -> Iterable[Claim]:
    """The first tenant was over, its partner was told, and quickly."""
    first = next(iter(story.tenants.values()))
    letter = story.letter
    capacity = next((one.data["capacity"] for one in billed if one.name == first.name), None)
    overruns = capacity["overruns"] if capacity else None
    if letter is None or not overruns or not overruns["count"]:
        yield Claim(False, f"{first.name}'s overrun was not recorded, or no mail told of it")
        return
    began = min(instant(one["start"]) for one in overruns["worst"])
    yield Claim(
        True,
        f"{first.name} was over its {first.capacity} lines for {overruns['total_ms'] / 1000:.1f} s; "
        f"the mail was there {letter.at - began} ms after the line too many was taken",
    )


def _truth(story: Story, one: Billed) -> dict[Level, int]:
    """Return the peaks that truly were on the simulated PBX in the time of a record."""
    stage, period = story.stage, one.data["period"]
    lines: list[Line] = (
        [leg for leg in stage.threecx.exchange.legs if not leg.bridge]
        if one.on_3cx
        else [*stage.asterisk.exchange.lines]
    )
    return true_peaks(lines, instant(period["start"]), instant(period["end"]))


def _peaks(story: Story, one: Billed) -> Claim:
    truth = _truth(story, one)
    said = {level: one.peak(level) for level in Level}
    figures = ", ".join(f"{truth[level]} {level.value}" for level in Level)
    pbx = story.tenants[one.data["tenant"]["id"]].pbx
    if said == truth:
        return Claim(True, f"{one.name}'s peaks equal what truly was on the simulated {pbx}: {figures}")
    stated = ", ".join(f"{said[level]} {level.value}" for level in Level)
    return Claim(False, f"{one.name}'s record states {stated}, but truly there were {figures}")


def _polls(story: Story, one: Billed) -> Claim:
    """Polls see what is up when they look: some of what truly was."""
    truth = _truth(story, one)
    seen = {level: one.peak_by(level).get("polls") for level in Level}
    kept = all(found is not None and found <= truth[level] for level, found in seen.items())
    figures = ", ".join(f"{seen[level]} {level.value}" for level in Level)
    return Claim(kept, f"its polls alone saw {figures}, never more than there was" if kept else
                 f"its polls saw {figures}, which can't be")  # fmt: skip


def _legs(story: Story) -> Claim:
    """With the call log, every line that was taken is known, however shortly."""
    there = sum(not leg.bridge for leg in story.stage.threecx.exchange.legs)
    said = f"of {there} lines taken there, polls saw {story.seen}; with the call log {story.told} are known"
    return Claim(story.told == there, said)


def _users(story: Story, one: Billed) -> Claim:
    """Every user of the 3CX's list is one, but for its hot desks."""
    there = sum(not user.number.startswith("HD") for user in story.stage.threecx.directory.users)
    found = one.data["users"]["pbxs"].get(CLOUD, {})
    said = f"{one.name} has {found.get('count')} users; the 3CX itself counts {found.get('pbx_own_count')}"
    return Claim(found.get("count") == there, f"{said}, and its list holds {there}")


def keep_files(folder: Path, story: Story, proof: Proof) -> None:
    """Write mail, records, receipts and public keys into a folder."""
    files: dict[str, str | bytes] = {
        "records.jws": "".join(f"{token}\n" for token in proof.tokens),
        "receipts.jws": "".join(f"{receipt}\n" for receipt in proof.receipts),
        "agent-key.json": story.stage.key.json() + "\n",
        "provider-key.json": story.stage.receiver_key.json() + "\n",
    }
    if story.letter is not None:
        files |= {"mail.html": story.letter.body("html"), "mail.eml": story.letter.raw}
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
