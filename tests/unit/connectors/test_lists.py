"""Asterisk's lists become extension lists."""

from connectors.asterisk import lists
from connectors.asterisk.actions import Answer
from connectors.connector import Extension


def answer(*rows: dict[str, str]) -> Answer:
    return Answer({"response": "Success"}, rows)


def test_devices_are_lines_and_phones_only():
    """Of the device states only PJSIP, SIP, IAX2 and DAHDI devices are endpoints; a span's state is none."""
    names = (
        "PJSIP/139",
        "SIP/a-b",
        "IAX2/x",
        "DAHDI/3",
        "DAHDI/I1/congestion",
        "Queue:sales",
        "Custom:x",
        "PJSIP/",
    )
    rows = answer(*({"device": name} for name in names), {})
    assert lists.of_devices(rows) == ["PJSIP/139", "SIP/a-b", "IAX2/x", "DAHDI/3"]


def test_peers_bear_their_technology():
    """SIPpeers and IAXpeerlist give full endpoints."""
    rows = answer(
        {"channeltype": "SIP", "objectname": "101"},
        {"channeltype": "IAX2", "objectname": "o"},
        {"objectname": "x"},
    )
    assert lists.of_peers(rows) == ["SIP/101", "IAX2/o"]


def test_every_endpoint_once():
    """The union of lists names each endpoint once, with its bare number."""
    assert lists.extensions(["PJSIP/101", "PJSIP/100", "PJSIP/101"]) == (
        Extension("100", "PJSIP/100"),
        Extension("101", "PJSIP/101"),
    )


def test_registrations_hint_at_trunks():
    """A registration's endpoint is a hint; without one, an endpoint of the same name."""
    rows = answer(
        {"event": "OutboundRegistrationDetail", "objectname": "kpn", "endpoint": ""},
        {"event": "OutboundRegistrationDetail", "objectname": "r2", "endpoint": "voip"},
        {"event": "OutboundRegistrationDetail", "objectname": "unknown"},
        {"event": "AuthDetail", "objectname": "kpn2"},
    )
    assert lists.registered(rows, ["PJSIP/kpn", "PJSIP/kpn2"]) == ("PJSIP/kpn", "PJSIP/voip")
