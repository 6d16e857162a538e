"""chan_sip's inbound legs."""

from __future__ import annotations

import pytest

from connectors.asterisk import parse
from meter.events import LegStarted
from meter.model import Direction


@pytest.mark.parametrize(
    ("exten", "linkedid", "direction"),
    [("0100", "1.1", Direction.IN), ("s", "1.1", Direction.UNKNOWN), ("s", "1.0", Direction.OUT)],
)
def test_a_sip_leg_born_down(exten: str, linkedid: str, direction: Direction) -> None:
    """A chan_sip leg that is born Down with a number to go to and a call of its own came in."""
    message = (
        f"Event: Newchannel\r\nChannel: SIP/kpn-0000000a\r\nChannelState: 0\r\nContext: in\r\n"
        f"Exten: {exten}\r\nUniqueid: 1.1\r\nLinkedid: {linkedid}"
    )
    told = parse.event(message.encode(), 5)
    assert isinstance(told, LegStarted)
    assert direction is told.seen.direction
