"""Bytes of an AMI stream -> whole messages. Pure: no socket, no clock.

Rules:

1. Chunks may be cut anywhere; the messages are the same however they were cut.
2. Nothing is decoded here. A message is the bytes between two blank lines; only
   those that begin like something needed are given on, the rest (on a busy PBX
   two of three are VarSet) is dropped after one look at its first bytes.
3. One message is at most `LIMIT` bytes. A longer one is a fault: it is told once,
   after the messages before it, and nothing is read any more.

Text that begins like nothing known is dropped, not a fault: a value that holds a
blank line (Asterisk before 13.23 does not escape them in VarSet) looks the same.
"""

from __future__ import annotations

from typing import Final

from connectors.errors import Garbled

#: What ends a message.
BLANK_LINE: Final = b"\r\n\r\n"

#: Bytes of one message. The longest real ones (a VarSet of 8 KiB) are far below.
LIMIT: Final = 1024 * 1024

#: `Asterisk Call Manager/11.0.0`; astmanproxy says `Asterisk Call Manager Proxy/…`.
_GREETING: Final = b"Asterisk Call Manager"
_GREETING_LIMIT: Final = 256

#: `Newc` of `Event: Newchannel`.
_KEY: Final = slice(7, 11)

_TOO_LONG: Final = f"A message of the PBX is longer than {LIMIT} bytes."


class Frames:
    """Cuts one connection's bytes into messages.

    Attributes:
        greeting: The PBX's first line, without its end; None until it is there.
        fault: What broke the stream; None while it is whole. Look after every
            `feed`: the messages that it returned came before the fault.
    """

    def __init__(self, wanted: tuple[bytes, ...]) -> None:
        """Give on the messages whose first bytes are one of `wanted`, each of at least 11 bytes."""
        self.greeting: str | None = None
        self.fault: Garbled | None = None
        self._wanted = wanted
        # One look-up of four bytes passes over what isn't needed faster than a comparison with every prefix.
        self._keys = frozenset(start[_KEY] for prefix in wanted for start in (prefix, b"\r\n" + prefix))
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the wanted messages that `chunk` completes, in order.

        After a fault the answer is always empty.
        """
        if self.fault is not None:
            return []
        if self.greeting is None:
            chunk = self._greeted(chunk)
        rest = self._rest
        if rest:
            seen = len(rest)
            rest += chunk
            # The blank line may lie across the seam; what was searched before is not searched again.
            if rest.find(BLANK_LINE, max(0, seen - len(BLANK_LINE) + 1)) < 0:
                self._keep(b"")
                return []
            chunk = bytes(rest)
            rest.clear()
        parts = chunk.split(BLANK_LINE)
        tail = parts.pop()
        if len(chunk) > LIMIT:
            parts = self._within_limit(parts)
        if self.fault is None:
            self._keep(tail)
        keys = self._keys
        candidates = [part for part in parts if part[_KEY] in keys]
        # Some Asterisk modules end a message with one line end too many.
        stripped = [part.removeprefix(b"\r\n") for part in candidates]
        return [message for message in stripped if message.startswith(self._wanted)]

    def _greeted(self, chunk: bytes) -> bytes:
        """Take the greeting line off; return what follows it."""
        self._rest += chunk
        line, end, after = bytes(self._rest).partition(b"\r\n")
        if end and line.startswith(_GREETING) and len(line) <= _GREETING_LIMIT:
            self.greeting = line.decode("latin-1")
            self._rest.clear()
            return after
        if end or len(line) > _GREETING_LIMIT or not _GREETING.startswith(line[: len(_GREETING)]):
            self._break("The other side does not greet like an Asterisk Manager Interface.")
        return b""

    def _keep(self, tail: bytes) -> None:
        self._rest += tail
        # A message of exactly LIMIT bytes may already show three bytes of the blank line after it.
        if len(self._rest) > LIMIT + len(BLANK_LINE) - 1:
            self._break(_TOO_LONG)

    def _within_limit(self, parts: list[bytes]) -> list[bytes]:
        for place, part in enumerate(parts):
            if len(part) > LIMIT:
                self._break(_TOO_LONG)
                return parts[:place]
        return parts

    def _break(self, message: str) -> None:
        self.fault = Garbled(message, hint="Is `port` the port of the Asterisk Manager Interface (5038)?")
        self._rest.clear()
