"""The truth about trunk legs, from the SIP on the wire: neither AMI nor our own code has a say in it.

Each dialog between Asterisk and a trunk's address is one leg: from its first INVITE
to the BYE, or to the final error that answers the INVITE (a cancelled one: its 487).
A re-INVITE, a retransmission and a late answer change nothing.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, TypeAlias

from tests.asterisk.configuration import OUTSIDE, Addresses

#: Half-open, UTC ms; an end of None lasts.
Interval: TypeAlias = tuple[int, int | None]

#: Two things this close may have come to pass in the other order inside Asterisk.
SLACK_MS: Final = 50

_FOREVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class WireLeg:
    """One trunk leg as the wire shows it.

    Attributes:
        trunk: Its name, by the address.
        direction: "in": the carrier sent the INVITE; "out": Asterisk did.
        start_ms: The first INVITE (UTC ms).
        answer_ms: Its 2xx; None: it was not answered.
        end_ms: When the line is free again; None: no end was seen.
        call_id: SIP's own.
        script: The script that it belongs to, by display name or outside number; None: nobody's.
    """

    trunk: str
    direction: str
    start_ms: int
    answer_ms: int | None
    end_ms: int | None
    call_id: str
    script: int | None = None

    @property
    def up(self) -> Interval:
        """When it held a line."""
        return self.start_ms, self.end_ms

    @property
    def answered(self) -> Interval | None:
        """When it was answered and up; None: never."""
        return None if self.answer_ms is None else (self.answer_ms, self.end_ms)


@dataclass(frozen=True, slots=True)
class Packet:
    """One UDP datagram with SIP in it."""

    at_ms: int
    source: str
    target: str
    text: str


def legs(packets: Iterable[Packet], asterisk: str, trunks: Mapping[str, str]) -> list[WireLeg]:
    """Return every trunk leg in `packets`, in the order of their start.

    Args:
        packets: In the order of their time.
        asterisk: Its address.
        trunks: Each trunk's address, by its name.
    """
    names = {address: name for name, address in trunks.items()}
    found: dict[tuple[str, str], WireLeg] = {}
    for packet in packets:
        other = packet.target if packet.source == asterisk else packet.source
        if asterisk not in {packet.source, packet.target} or other not in names:
            continue
        key = (names[other], _header(packet.text, "Call-ID"))
        leg = found.get(key)
        if leg is not None:
            found[key] = _after(leg, packet)
        elif packet.text.startswith("INVITE ") and ";tag=" not in _header(packet.text, "To"):
            direction = "out" if packet.source == asterisk else "in"
            found[key] = WireLeg(key[0], direction, packet.at_ms, None, None, key[1], _script(packet.text))
    return sorted(found.values(), key=lambda leg: leg.start_ms)


def _after(leg: WireLeg, packet: Packet) -> WireLeg:
    if leg.end_ms is not None:
        return leg
    if packet.text.startswith("BYE "):
        return replace(leg, end_ms=packet.at_ms)
    status = re.match(r"SIP/2.0 (\d{3})", packet.text)
    if status is None or not _header(packet.text, "CSeq").endswith("INVITE") or leg.answer_ms is not None:
        return leg  # among others: every answer to a re-INVITE
    if status[1].startswith("2"):
        return replace(leg, answer_ms=packet.at_ms)
    return replace(leg, end_ms=packet.at_ms) if status[1] >= "300" else leg


def _header(text: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*([^\r\n]*)", text, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else ""


def _script(text: str) -> int | None:
    named = re.match(r'"?(\d{3})-', _header(text, "From"))
    dialled = re.match(rf"INVITE sip:{OUTSIDE}(\d{{3}})@", text)
    found = named or dialled
    return int(found[1]) if found else None


def cut(found: Iterable[WireLeg], at_ms: int) -> list[WireLeg]:
    """Return the legs as they were if Asterisk died at `at_ms`: what was up ended there."""
    return [
        replace(leg, end_ms=at_ms)
        if leg.start_ms < at_ms and (leg.end_ms is None or leg.end_ms > at_ms)
        else leg
        for leg in found
    ]


def channels(found: Iterable[WireLeg]) -> list[Interval]:
    """Return what counts on the level `channels`: every leg."""
    return [leg.up for leg in found]


def calls(
    found: Iterable[WireLeg], merges: Sequence[tuple[int, int, int]] = (), *, answered: bool = False
) -> list[Interval]:
    """Return what counts on the level `calls`, or on `answered`: when each call has a leg.

    Args:
        found: The legs, of one tenant say; those without a script are calls of their own.
        merges: (first script, second script, from when they are one call).
        answered: Count answered legs only.
    """
    by_call: dict[str, list[Interval]] = {}
    into = {second: (first, at_ms) for first, second, at_ms in merges}
    for leg in found:
        span = leg.answered if answered else leg.up
        if span is None:
            continue
        start, end = span
        first, at_ms = into.get(leg.script if leg.script is not None else -1, (None, _FOREVER))
        name = leg.call_id if leg.script is None else str(leg.script)
        if start < at_ms:
            by_call.setdefault(name, []).append((start, at_ms if end is None or end > at_ms else end))
        if first is not None and (end is None or end > at_ms):
            by_call.setdefault(str(first), []).append((max(start, at_ms), end))
    return [span for spans in by_call.values() for span in _united(spans)]


def _united(spans: Iterable[Interval]) -> list[Interval]:
    united: list[Interval] = []
    for start, end in sorted(spans, key=lambda span: span[0]):
        if united and (united[-1][1] is None or start <= united[-1][1]):
            last = united[-1][1]
            united[-1] = (united[-1][0], None if last is None or end is None else max(last, end))
        else:
            united.append((start, end))
    return united


def peak(spans: Iterable[Interval], widen_ms: int = 0) -> int:
    """Return how many of `spans` are up at once at most, each widened (or, negative, shrunk) at both ends."""
    steps = []
    for start, end in spans:
        begins, ends = start - widen_ms, _FOREVER if end is None else end + widen_ms
        if begins < ends:
            steps += [(begins, 1), (ends, -1)]
    level = highest = 0
    for _, step in sorted(steps):  # half-open: what ends at an instant goes before what begins
        level += step
        highest = max(highest, level)
    return highest


def peak_bounds(spans: Sequence[Interval], slack_ms: int = SLACK_MS) -> tuple[int, int]:
    """Return the lowest and the highest peak that `spans` allow, if each end may be off by `slack_ms`."""
    return peak(spans, -slack_ms), peak(spans, slack_ms)


def level(spans: Iterable[Interval], at_ms: int) -> int:
    """Return how many of `spans` are up at one instant."""
    return sum(start <= at_ms and (end is None or at_ms < end) for start, end in spans)


def answered_ms(found: Iterable[WireLeg]) -> int:
    """Return how long the legs were answered, together. Those without an end don't count."""
    return sum(
        leg.end_ms - leg.answer_ms for leg in found if leg.answer_ms is not None and leg.end_ms is not None
    )


_ETH_P_IP: Final = 0x0800
_PACKET_OUTGOING: Final = 4  # on lo every packet is seen twice
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 26, 35, 33
_BUFFER_BYTES: Final = 16 << 20
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


@dataclass(slots=True)
class Wire:
    """A capture of one instance's SIP: `with Wire(instance.addresses) as wire: …; wire.legs()`.

    It sees every datagram to or from Asterisk's SIP port from the moment the context
    is entered; times are the kernel's.

    Raises:
        RuntimeError: `legs` finds that the kernel dropped packets: there is no truth then.
    """

    addresses: Addresses
    _packets: list[tuple[int, bytes]] = field(default_factory=list, repr=False)
    _link: socket.socket = field(init=False, repr=False)
    _thread: threading.Thread = field(init=False, repr=False)

    def __enter__(self) -> Self:
        self._link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._link.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _attach(self._link, self.addresses.sip_port)
        self._link.settimeout(0.2)
        self._link.bind(("lo", _ETH_P_IP))
        self._thread = threading.Thread(target=self._capture, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        self._thread.join(5)

    def packets(self) -> list[Packet]:
        """Return every SIP message so far."""
        return [found for at_ms, data in list(self._packets) if (found := _packet(at_ms, data)) is not None]

    def legs(self) -> list[WireLeg]:
        """Return every trunk leg so far."""
        if self._link.fileno() >= 0:
            counts = self._link.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            dropped: int = struct.unpack("II", counts)[1]
            if dropped:
                raise RuntimeError(f"the kernel dropped {dropped} packets of the capture")
        return legs(self.packets(), self.addresses.host, self.addresses.trunks)

    def _capture(self) -> None:
        while True:
            try:
                data, ancillary, _, sender = self._link.recvmsg(65_536, 64)
            except TimeoutError:
                continue
            except OSError:  # closed
                return
            if sender[2] != _PACKET_OUTGOING:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self._packets.append((seconds * 1000 + nanoseconds // 1_000_000, data))


def _attach(link: socket.socket, port: int) -> None:
    """Let only UDP from or to `port` through, in the kernel: media would flood the capture."""
    program = [
        (0x30, 0, 0, 9),  # the protocol
        (0x15, 0, 6, 17),  # UDP, else drop
        (0xB1, 0, 0, 0),  # X: the length of the IP header
        (0x48, 0, 0, 0),  # source port
        (0x15, 2, 0, port),
        (0x48, 0, 0, 2),  # target port
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    link.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code))
    )


def _packet(at_ms: int, data: bytes) -> Packet | None:
    words = (data[0] & 0x0F) * 4
    text = data[words + 8 :].decode(errors="replace")
    if " " not in text[:16] and not text.startswith("SIP/2.0"):
        return None  # a keep-alive
    return Packet(at_ms, socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), text)
