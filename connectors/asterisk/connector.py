"""Follows one Asterisk: keeps the promises of `connectors.connector.Connector`.

The order of one `serve`: connect, log in (events flow from here on and are kept),
ask which run of Asterisk this is, list the channels, tell the snapshot, then what
was kept, then everything as it comes. A snapshot again every `snapshot_every_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Final, NoReturn

from connectors.asterisk import ami, lists
from connectors.asterisk.actions import Answer
from connectors.asterisk.settings import Settings
from connectors.connector import CallsTold, ExtensionList, Now, Probe, Sink
from connectors.errors import Denied, Unreachable
from meter.events import Event, LegEnded, LegStarted, Snapshot
from meter.model import Instant

#: Two snapshots are at least so far apart, however often they are asked for.
_SNAPSHOT_APART_S: Final = 1.0

#: A leg that has been up for so long must have been told of by an event.
_TOLD_WITHIN_MS: Final = 5_000

#: Actions whose right `probe` shows.
_SHOWN: Final = (
    "CoreShowChannels",
    "CoreStatus",
    "CoreSettings",
    "PJSIPShowEndpoints",
    "DeviceStateList",
    "PJSIPShowRegistrationsOutbound",
)

#: Lists of endpoints, the best first: (action, the list's name, how to read it).
_LISTS: Final[tuple[tuple[str, str, Callable[[Answer], list[str]]], ...]] = (
    ("PJSIPShowEndpoints", "pjsip", lists.of_pjsip),
    ("DeviceStateList", "devices", lists.of_devices),
    ("SIPpeers", "peers", lists.of_peers),
    ("IAXpeerlist", "peers", lists.of_peers),
)


def opening(heard: Sequence[Event]) -> list[Event]:
    """Return what was heard since the login, the one snapshot first.

    A leg whose birth was heard is taken out of the snapshot: its own event follows
    and knows more (the first context and number, the instant). So is one whose hangup
    was heard: it is gone. So nothing counts twice, and nothing that is no more.
    """
    place, snapshot = next((n, event) for n, event in enumerate(heard) if isinstance(event, Snapshot))
    told = {event.seen.leg for event in heard if isinstance(event, LegStarted)}
    told |= {event.leg for event in heard[:place] if isinstance(event, LegEnded)}
    legs = tuple(leg for leg in snapshot.legs if leg.leg not in told)
    return [replace(snapshot, legs=legs), *(event for event in heard if event is not snapshot)]


class _Ear:
    """Stands between a link and the sink: holds events back until the first snapshot.

    It also notices deafness: an account without `read = call` gets no events, and
    nothing in AMI says so. Then a snapshot shows a leg that is new and old at once.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._early: list[Event] | None = []
        self._first: frozenset[str] = frozenset()
        self._heard_event = False
        self.deaf = False

    def __call__(self, events: Sequence[Event]) -> None:
        snapshots = [event for event in events if isinstance(event, Snapshot)]
        self._heard_event = self._heard_event or len(snapshots) < len(events)
        if self._early is None:
            self.deaf = not self._heard_event and any(map(self._untold, snapshots))
            self._sink(events)
            return
        self._early += events
        if snapshots:
            early, self._early = self._early, None
            self._first = frozenset(leg.leg for leg in snapshots[0].legs)
            self._sink(opening(early))

    def _untold(self, snapshot: Snapshot) -> bool:
        told_before = snapshot.requested_at - _TOLD_WITHIN_MS
        return any(
            leg.leg not in self._first and leg.created is not None and leg.created < told_before
            for leg in snapshot.legs
        )


class AsteriskConnector:
    """One Asterisk.

    Args:
        name: The configured name of the PBX.
        settings: How to reach it.
        now: Reads the clock.
    """

    method = "events"
    beside: Mapping[str, int] = MappingProxyType({})

    def __init__(self, name: str, settings: Settings, now: Now) -> None:
        self.name = name
        self.heard_at: Instant | None = None
        self._settings = settings
        self._now = now
        self._link: ami.Link | None = None
        self._wake: asyncio.Event | None = None
        self._next_at = 0.0  # the loop's time before which no further snapshot is asked for

    async def serve(self, sink: Sink) -> NoReturn:
        """As `Connector.serve`."""
        wake = asyncio.Event()
        ear = _Ear(sink)
        link = await ami.connect(self._settings, self._now, self._hear, ear, wake.set)
        try:
            await link.login()
            link.booted = _booted(await link.ask("CoreStatus"))
            self._wake = wake
            while True:
                wake.clear()
                self._next_at = asyncio.get_running_loop().time() + _SNAPSHOT_APART_S
                await link.list_channels()
                if ear.deaf:
                    raise _no_events(self._settings)
                self._link = link
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.snapshot_every_s):
                        await wake.wait()  # set by the link's end and by `resnapshot`
                link.check()
        finally:
            self._link = self._wake = None
            await link.close()

    def resnapshot(self) -> None:
        """As `Connector.resnapshot`. Several wishes within a second are one."""
        if self._wake is not None:
            asyncio.get_running_loop().call_at(self._next_at, self._wake.set)

    async def read_extensions(self) -> ExtensionList:
        """As `Connector.read_extensions`: PJSIP's own list if the account may, else the device states; and the peers."""
        if self._link is None:
            raise Unreachable(
                f"There is no connection to {self.name} now.", hint="It is read again once there is one."
            )
        return await _extensions(self._link, self._now)

    async def read_calls(self, since: Instant | None, *, soon: bool = False) -> CallsTold | None:  # noqa: ARG002 -- as the others'
        """As `Connector.read_calls`: events tell every call, so nothing is read."""
        return None

    async def probe(self) -> Probe:
        """As `Connector.probe`.

        Asterisk tells no account what it may *read*: `read = call` is among the
        rights only if an event happened to be heard meanwhile.
        """
        heard: list[Event] = []
        link = await ami.connect(self._settings, self._now, self._now, heard.extend, lambda: None)
        try:
            await link.login()
            commands = (await link.ask("ListCommands")).fields
            may = {action: action.lower() in commands for action in _SHOWN}
            version = (await link.ask("CoreSettings")).fields.get("asteriskversion", "")
            endpoints: tuple[str, ...] = ()
            with suppress(Denied):
                endpoints = tuple(e.endpoint for e in (await _extensions(link, self._now)).extensions)
            hints = lists.registered(await link.ask("PJSIPShowRegistrationsOutbound"), endpoints)
            if may["CoreShowChannels"]:
                await link.list_channels()
        finally:
            await link.close()
        needed = {"CoreShowChannels": True, "DeviceStateList": not may["PJSIPShowEndpoints"]}
        rights = [(action, allowed, needed.get(action, False)) for action, allowed in may.items()]
        if any(not isinstance(event, Snapshot) for event in heard):
            rights.append(("read = call", True, True))
        return Probe(
            product=f"Asterisk {version}" if version else "",
            rights=tuple(rights),
            endpoints=endpoints,
            trunk_hints=hints,
            up=sum(len(event.legs) for event in heard if isinstance(event, Snapshot)),
        )

    def _hear(self) -> Instant:
        self.heard_at = self._now()
        return self.heard_at


async def _extensions(link: ami.Link, now: Now) -> ExtensionList:
    """Read PJSIP's own list, or else the device states; and the peers of older channel drivers where they exist."""
    read: dict[str, list[str]] = {}
    refusals: list[str] = []
    for action, source, endpoints_of in _LISTS:
        if source == "devices" and read.get("pjsip"):
            continue
        answer = await link.ask(action)
        if answer.refusal is None:
            read.setdefault(source, []).extend(endpoints_of(answer))
        else:  # no right to it, or (chan_sip, from Asterisk 21 on) it doesn't exist
            refusals.append(f"{action}: {answer.refusal}")
    if not read:
        raise Denied(
            f"Asterisk gives no list of its endpoints ({'; '.join(refusals)}).",
            hint="The account in manager.conf needs `write = reporting`; then `asterisk -rx 'manager reload'`.",
        )
    source = next((source for source, endpoints in read.items() if endpoints), next(iter(read)))
    return ExtensionList(
        at=now(), source=source, extensions=lists.extensions(chain.from_iterable(read.values()))
    )


def _booted(status: Answer) -> str | None:
    """Name this run of Asterisk: when it started, by its own clock. None: the account may not ask."""
    date, time = status.fields.get("corestartupdate", ""), status.fields.get("corestartuptime", "")
    return f"{date} {time}" if date and time else None


def _no_events(settings: Settings) -> Denied:
    return Denied(
        f"Asterisk sends the account {settings.username!r} no events.",
        hint=f"The account [{settings.username}] in manager.conf needs `read = call` (and no `eventfilter` that "
        "leaves out Newchannel, Newstate, BridgeEnter and Hangup); then `asterisk -rx 'manager reload'`.",
    )
