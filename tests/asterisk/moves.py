"""What a scripted call does half-way through AMI: transfers, and two calls that become one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Final

from tests.asterisk import ami, refer
from tests.asterisk.calls import Kind, Script

#: From one step of a call to the next: nobody transfers in the instant of answering.
_BREATH_S: Final = 0.3
_STEP_S: Final = 20.0
#: The kinds that need AMI half-way.
MOVING: Final = frozenset({Kind.BLIND_TRANSFER, Kind.ATTENDED_TRANSFER, Kind.JOINED})
_NAMED: Final = re.compile(r"(\d{3})-[a-z]+-\d+-[a-z]+-\d+")


@dataclass(slots=True)
class Moves:
    """The moves of one batch of scripts, begun as their legs enter bridges.

    A leg shows its script in the display name of one of its two sides.

    Attributes:
        scripts: By id.
        asterisk: Where its SIP listens.
        phones: The address of the phones.
        refused: What Asterisk would not do, or what did not come about.
        joined_ms: When two calls had become one (UTC ms), by the id of the script that joins.
    """

    scripts: dict[int, Script]
    asterisk: tuple[str, int]
    phones: str
    refused: list[str] = field(default_factory=list)
    joined_ms: dict[int, int] = field(default_factory=dict)
    #: Channels that entered a bridge, in that order, by script.
    _bridged: dict[int, list[str]] = field(default_factory=dict)
    _begun: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    #: When a phone's leg was transferred away, by its channel.
    _transferred: dict[str, int] = field(default_factory=dict)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: ami.Message, session: ami.Session, group: asyncio.TaskGroup) -> None:
        """Take one event; begin what it makes possible, as a task of `group`."""
        if event["Event"] == "AttendedTransfer":
            self._transferred[event["OrigTransfererChannel"]] = _now()
            self._heard.set()
        if event["Event"] != "BridgeEnter" or (number := self._script(event)) is None:
            return
        self._bridged.setdefault(number, []).append(event["Channel"])
        self._heard.set()
        script = self.scripts[number]
        if number in self._begun:
            return
        move = {
            Kind.BLIND_TRANSFER: self._transfer_blindly,
            Kind.ATTENDED_TRANSFER: self._transfer_attended,
            Kind.JOINED: self._join,
        }.get(script.kind)
        if move is not None:
            self._begun[number] = group.create_task(self._try(move(script, session), script))

    def undone(self) -> list[str]:
        """Say which moves did not come about: refused by Asterisk, never begun, or not ended."""
        wanted = [script for script in self.scripts.values() if script.kind in MOVING]
        unfinished = [s for s in wanted if s.id not in self._begun or not self._begun[s.id].done()]
        return [*self.refused, *(f"script {s.id} ({s.kind}) ended before its move did" for s in unfinished)]

    def stop(self) -> None:
        """Begin and end nothing more."""
        for task in self._begun.values():
            task.cancel()

    def _script(self, event: ami.Message) -> int | None:
        for header in ("CallerIDName", "ConnectedLineName"):
            if (named := _NAMED.fullmatch(event[header])) and int(named[1]) in self.scripts:
                return int(named[1])
        return None

    async def _try(self, move: Coroutine[None, None, None], script: Script) -> None:
        try:
            async with asyncio.timeout(_STEP_S):
                await move
        except TimeoutError:
            self.refused.append(f"script {script.id} ({script.kind}): its legs never came together")
        except (ami.Refused, refer.NotTaken) as error:
            self.refused.append(f"script {script.id} ({script.kind}): {error}")

    async def _transfer_blindly(self, script: Script, session: ami.Session) -> None:
        phone = await self._leg(script.id, f"PJSIP/{script.customer.phone}-")
        await asyncio.sleep(_BREATH_S)
        await session.act("BlindTransfer", Channel=phone, **_target(script))

    async def _transfer_attended(self, script: Script, session: ami.Session) -> None:
        """Do what a phone does: REFER in the one dialog, to replace the other one."""
        assert script.joins is not None
        own = f"PJSIP/{script.customer.phone}-"
        caller, consulted = await self._leg(script.id, own), await self._leg(script.joins, own)
        await asyncio.sleep(_BREATH_S)
        dialogs = [await refer.dialog(session, channel) for channel in (caller, consulted)]
        await asyncio.to_thread(refer.send, self.asterisk, self.phones, script.customer.phone, *dialogs)
        while caller not in self._transferred:
            await self._next()
        self.joined_ms[script.id] = self._transferred[caller]

    async def _join(self, script: Script, session: ami.Session) -> None:
        assert script.joins is not None
        ours = await self._leg(script.id, "PJSIP/trunk-")
        theirs = await self._leg(script.joins, "PJSIP/trunk-")
        await asyncio.sleep(_BREATH_S)
        await session.act("Bridge", Channel1=ours, Channel2=theirs, Tone="no")
        self.joined_ms[script.id] = _now()

    async def _leg(self, number: int, prefix: str) -> str:
        """Wait until a leg of a script, its channel beginning with `prefix`, is in a bridge; return it."""
        while True:
            for channel in self._bridged.get(number, ()):
                if channel.startswith(prefix):
                    return channel
            await self._next()

    async def _next(self) -> None:
        self._heard.clear()
        await self._heard.wait()


def _target(script: Script) -> dict[str, str]:
    exten = script.outside(script.onward) if script.onward else script.customer.colleague
    return {"Context": f"{script.tenant}-phones", "Exten": exten}


def _now() -> int:
    return time.time_ns() // 1_000_000
