"""The grammar of Asterisk's channel names, and what a channel's state proves. Pure.

A name is `TECHNOLOGY/rest-serial`. The endpoint is everything before the *last*
dash, because endpoint names hold dashes themselves:

    PJSIP/trunk-kpn-0000001f       PJSIP/trunk-kpn
    IAX2/office2-4711              IAX2/office2
    DAHDI/3-1                      DAHDI/3
    DAHDI/i1/0201234567-1a         DAHDI/i1/0201234567   (PRI: a telephone number!)
    Local/101@queues-00000003;1    none: no device
"""

from __future__ import annotations

from typing import Final

from meter.model import Direction

#: Technologies without a device behind them: halves of Local channels, announcers,
#: recorders, spies, media ports of applications, and names that Asterisk before 12
#: gives to channels in mid-transfer. A technology that is *not* listed is taken for
#: a device: better a leg shown as unclassified than a line that nobody counts.
_NO_DEVICE: Final = frozenset(
    technology.lower()
    for technology in (
        "Announcer",
        "AsyncGoto",
        "AudioSocket",
        "Bridge",
        "CBAnn",
        "CBRec",
        "ConfBridgeRecorder",
        "Feature",
        "Local",
        "Message",
        "MulticastRTP",
        "Null",
        "Parked",
        "Recorder",
        "Snoop",
        "Stasis",
        "Substitution",
        "Surrogate",
        "Transfered",
        "UnicastRTP",
        "WebSocket",
    )
)

#: The timing channels of old conferences: no line behind them.
_PSEUDO: Final = ("DAHDI/pseudo", "Zap/pseudo")

#: Technologies that make an inbound channel in state Ring, so that Down proves a
#: leg that is dialled. chan_sip makes both kinds Down.
_DOWN_PROVES_OUT: Final = ("PJSIP/", "IAX2/", "DAHDI/")


def endpoint_of(channel: str) -> str | None:
    """Return the full endpoint (`PJSIP/kpn`) of a channel name.

    None: no device is behind the channel, so it never counts. A name without a
    technology (`OutgoingSpoolFailed`) has none either.
    """
    technology, slash, _ = channel.partition("/")
    if not slash or technology.lower() in _NO_DEVICE or channel.startswith(_PSEUDO):
        return None
    endpoint, dash, _ = channel.rpartition("-")
    # A dash inside the technology is no serial's.
    return endpoint if dash and len(endpoint) > len(technology) + 1 else channel


def direction_of(state: int) -> Direction:
    """Return what a channel's state proves by itself, at any time.

    Asterisk's AST_STATE_*: Ring (4) is set on the side that calls in, Dialing (3)
    and Ringing (5) on the side that is called. The others say nothing.
    """
    if state == 4:  # noqa: PLR2004 -- Asterisk's own numbers, named above
        return Direction.IN
    return Direction.OUT if state in (3, 5) else Direction.UNKNOWN


def direction_at_birth(channel: str, state: int, *, requested: bool) -> Direction:
    """Return what the event of a channel's birth proves.

    Args:
        channel: Its name.
        state: Its state at birth.
        requested: Another channel asked for it: it was born into that one's call
            (Linkedid is not its own Uniqueid).
    """
    if requested:
        return Direction.OUT
    if state == 0 and channel.startswith(_DOWN_PROVES_OUT):
        return Direction.OUT
    return direction_of(state)
