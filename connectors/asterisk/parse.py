"""One whole AMI message -> what the meter hears of it. Pure: bytes and an instant in, values out.

Rules:

1. Every message gives a value, None, or raises Garbled; never another error.
2. Only the headers that are needed are looked for, by name, at line starts; the
   first of that name counts. Values may hold colons, be empty, or be Latin-1.
3. A needed header that is missing is Garbled: guessing would count wrongly in
   silence, a fresh snapshot does not.

The headers are those of Asterisk 13 to 22 (`ast_manager_build_channel_state_string`
in main/manager_channels.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from connectors.asterisk import channels
from connectors.errors import Garbled
from meter.events import Event, LegChanged, LegEnded, LegRenamed, LegStarted, Sighting
from meter.model import Direction, Instant

Fields: TypeAlias = Mapping[str, str]

#: AST_STATE_DOWN 0 … AST_STATE_UNKNOWN 10
_STATES: Final[Mapping[bytes | None, int]] = {b"%d" % state: state for state in range(11)}
_UP: Final = 6

_STATE: Final = b"\r\nChannelState: "
_UNIQUEID: Final = b"\r\nUniqueid: "
_LINKEDID: Final = b"\r\nLinkedid: "

#: What app_dial and AMI's Originate leave on the leg that they dialled.
_DIALLED_BY: Final = ("AppDial", "AppDial2")


def text(value: bytes) -> str:
    """Return a value as text. What is not UTF-8 is read as Latin-1, which never fails."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def fields(message: bytes) -> dict[str, str]:
    """Return a whole message's headers, names in lower case; the first of a name stays.

    For answers, which are few. Lines without a colon belong to a value of more than
    one line and are left out.
    """
    found: dict[str, str] = {}
    for line in message.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(text(name).lower(), text(value.removeprefix(b" ")))
    return found


def event(message: bytes, at: Instant) -> Event | None:
    """Return what an `Event:` message tells the meter; None if it tells nothing.

    Raises:
        Garbled: It lacks what such an event always has.
    """
    reader = _READERS.get(message[len(b"Event: ") :].partition(b"\r\n")[0])
    return None if reader is None else reader(message, at)


def listed(row: Fields, at: Instant) -> Sighting:
    """Return the leg of one `CoreShowChannel` row.

    Its creation is `at` minus Duration, which counts whole seconds: the truth is up
    to a second earlier. (The PBX's own clock plays no part in it.) A leg that is
    up proves its direction only if a dial left its mark on it.

    Raises:
        Garbled: The row lacks its id, its call, its name or its state.
    """
    channel, leg, call = row.get("channel"), row.get("uniqueid"), row.get("linkedid")
    state = _STATES.get(row.get("channelstate", "").encode())
    if channel is None or not leg or not call or state is None:
        raise _garbled("CoreShowChannel")
    direction = channels.direction_at_birth(channel, state, requested=False)
    if (
        direction is Direction.UNKNOWN
        and row.get("application") in _DIALLED_BY
        and row.get("applicationdata") == "(Outgoing Line)"
    ):
        direction = Direction.OUT
    age_s = _seconds(row.get("duration", ""))
    return Sighting(
        leg=leg,
        call=call,
        endpoint=channels.endpoint_of(channel),
        direction=direction,
        answered=state == _UP,
        created=None if age_s is None else at - age_s * 1000,
        account=row.get("accountcode", ""),
        context=row.get("context", ""),
        dialled=row.get("exten", ""),
    )


def _seconds(duration: str) -> int | None:
    """`HH:MM:SS`, hours without bound -> seconds; None if Asterisk left it empty."""
    parts = duration.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):  # noqa: PLR2004 -- hours, minutes, seconds
        return None
    hours, minutes, seconds = map(int, parts)
    return (hours * 60 + minutes) * 60 + seconds


def _find(message: bytes, header: bytes) -> bytes | None:
    """Return the value of the first `header` (CRLF, name, colon, space); None if the message has none."""
    place = message.find(header)
    if place < 0:
        return None
    start = place + len(header)
    end = message.find(b"\r\n", start)
    return message[start:end] if end >= 0 else message[start:]


def _ids(message: bytes) -> tuple[str, str]:
    """Return Uniqueid and Linkedid, each "" if the message has none."""
    leg, together, rest = message.partition(_UNIQUEID)[2].partition(_LINKEDID)
    if together and b"\r\n" not in leg:  # Asterisk writes one behind the other
        return text(leg), text(rest.partition(b"\r\n")[0])
    return text(_find(message, _UNIQUEID) or b""), text(_find(message, _LINKEDID) or b"")


def _started(message: bytes, at: Instant) -> Event:
    leg, call = _ids(message)
    name, state = _find(message, b"\r\nChannel: "), _STATES.get(_find(message, _STATE))
    if name is None or not leg or not call or state is None:
        raise _garbled("Newchannel")
    channel, dialled = text(name), text(_find(message, b"\r\nExten: ") or b"")
    direction = channels.direction_at_birth(channel, state, requested=call != leg)
    if direction is Direction.UNKNOWN and state == 0 and dialled not in ("", "s"):
        # chan_sip makes an inbound leg Down too; one that has a call of its own and a number
        # to go to was sent into the dialplan by the far end.
        direction = Direction.IN
    seen = Sighting(
        leg,
        call,
        channels.endpoint_of(channel),
        direction,
        state == _UP,
        None,
        text(_find(message, b"\r\nAccountCode: ") or b""),
        text(_find(message, b"\r\nContext: ") or b""),
        dialled,
    )
    return LegStarted(at, seen)


def _changed(message: bytes, at: Instant) -> Event:
    leg, call = _ids(message)
    state = _STATES.get(_find(message, _STATE))
    if not leg or state is None:
        raise _garbled("Newstate")
    return LegChanged(at, leg, call, state == _UP, channels.direction_of(state))


def _entered(message: bytes, at: Instant) -> Event:
    """Read that a leg entered a bridge.

    In a `basic` one, the bridge of a plain call, Asterisk gives all who are in it the oldest
    Linkedid and tells only of the one that entered (bridge_basic.c; seen on 16.28 and 22.10).
    A conference's bridge and a parking lot's don't merge.
    """
    leg, call = _ids(message)
    state = _STATES.get(_find(message, _STATE))
    if not leg or state is None:
        raise _garbled("BridgeEnter")
    basic = _find(message, b"\r\nBridgeType: ") == b"basic"
    bridge = text(_find(message, b"\r\nBridgeUniqueid: ") or b"") if basic else ""
    return LegChanged(at, leg, call, state == _UP, channels.direction_of(state), bridge)


def _renamed(message: bytes, at: Instant) -> Event:
    leg, _ = _ids(message)
    name = _find(message, b"\r\nNewname: ")
    if not leg or not name:
        raise _garbled("Rename")
    return LegRenamed(at, leg, channels.endpoint_of(text(name)))


def _ended(message: bytes, at: Instant) -> Event:
    leg, call = _ids(message)
    if not leg:
        raise _garbled("Hangup")
    return LegEnded(at, leg, call)


def _garbled(name: str) -> Garbled:
    return Garbled(
        f"Asterisk's {name} lacks what it always has (id, call, channel name, state).",
        hint="Asterisk 13 or newer is needed; is something between it and the agent changing the stream?",
    )


#: BridgeEnter is the first event that shows a leg's new call after two calls became
#: one; Rename is sent by Asterisk before 12 only.
_READERS: Final[dict[bytes, Callable[[bytes, Instant], Event]]] = {
    b"Newchannel": _started,
    b"Newstate": _changed,
    b"BridgeEnter": _entered,
    b"Rename": _renamed,
    b"Hangup": _ended,
}

#: How the messages begin that `event` can tell something of, for `framing.Frames`.
WANTED: Final = tuple(b"Event: " + name for name in _READERS)
