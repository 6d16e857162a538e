"""Channel names become endpoints, states become directions."""

import pytest

from connectors.asterisk.channels import direction_at_birth, direction_of, endpoint_of
from meter.model import Direction


@pytest.mark.parametrize(
    ("channel", "endpoint"),
    [
        ("PJSIP/101-0000001f", "PJSIP/101"),
        ("PJSIP/trunk-kpn-0000001f", "PJSIP/trunk-kpn"),
        ("PJSIP/trunk-kpn2-0000001f", "PJSIP/trunk-kpn2"),
        ("SIP/carrier.example-00000002", "SIP/carrier.example"),
        ("SIP/101-00000002<ZOMBIE>", "SIP/101"),
        ("IAX2/office-2-4711", "IAX2/office-2"),
        ("DAHDI/3-1", "DAHDI/3"),
        ("DAHDI/i1/02079460001-1a", "DAHDI/i1/02079460001"),
        ("SCCP/101-00000004", "SCCP/101"),  # unknown technologies are devices
        ("PJSIP/nodash", "PJSIP/nodash"),
        ("Zoë/a-1", "Zoë/a"),
    ],
)
def test_endpoint_is_all_before_the_last_dash(channel, endpoint):
    """The endpoint is the channel's name up to its last dash, dashes of its own included."""
    assert endpoint_of(channel) == endpoint


@pytest.mark.parametrize(
    "channel",
    [
        "Local/101@queues-00000003;1",
        "Local/101@queues-00000003;2",
        "Announcer/ARI-00000001",
        "Recorder/ARI-00000001",
        "CBAnn/1000-00000001",
        "CBRec/1000-00000001",
        "Message/ast_msg_queue",
        "Surrogate/PJSIP/101-00000001",
        "AsyncGoto/SIP/101-00000001",
        "Snoop/1795286668.1-00000001",
        "DAHDI/pseudo-1804289383",
        "OutgoingSpoolFailed",
        "",
    ],
)
def test_no_device_has_no_endpoint(channel):
    """Local halves, announcers, recorders and other channels without a device never count."""
    assert endpoint_of(channel) is None


@pytest.mark.parametrize(
    ("state", "direction"),
    [
        (3, Direction.OUT),
        (4, Direction.IN),
        (5, Direction.OUT),
        (0, Direction.UNKNOWN),
        (6, Direction.UNKNOWN),
    ],
)
def test_states_prove_directions(state, direction):
    """Ring proves a caller, Dialing and Ringing a called leg; Down and Up prove nothing by themselves."""
    assert direction_of(state) is direction


@pytest.mark.parametrize(
    ("channel", "state", "requested", "direction"),
    [
        ("PJSIP/kpn-1", 4, False, Direction.IN),
        ("PJSIP/kpn-1", 0, False, Direction.OUT),  # originated by AMI: nobody's call yet
        ("PJSIP/kpn-1", 0, True, Direction.OUT),
        ("SIP/kpn-1", 0, False, Direction.UNKNOWN),  # chan_sip makes inbound legs Down, Ring follows
        ("SIP/kpn-1", 0, True, Direction.OUT),
        ("PJSIP/kpn-1", 6, False, Direction.UNKNOWN),
    ],
)
def test_birth_proves_direction(channel, state, requested, direction):
    """A leg that another one asked for goes out; so does one born Down, where the driver makes callers Ring."""
    assert direction_at_birth(channel, state, requested=requested) is direction
