"""Asterisk's lists of endpoints -> extension list. Pure.

Which of them are extensions, and which are trunks, is the operator's rule, applied
elsewhere: here every device that the lists name is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from connectors.asterisk.actions import Answer
from connectors.connector import Extension

#: Device states of lines and phones; the others (Queue:, Custom:, park:, …) are no devices.
_DEVICES = ("PJSIP/", "SIP/", "IAX2/", "DAHDI/")


def of_pjsip(answer: Answer) -> list[str]:
    """`PJSIPShowEndpoints` -> full endpoints."""
    return ["PJSIP/" + row["objectname"] for row in answer.items if row.get("objectname")]


def of_devices(answer: Answer) -> list[str]:
    """`DeviceStateList` -> full endpoints: every device whose state is known."""
    names = (row.get("device", "") for row in answer.items)
    # `DAHDI/I1/congestion` is the state of a whole span.
    return [name for name in names if name.startswith(_DEVICES) and name.count("/") == 1 and name[-1] != "/"]


def of_peers(answer: Answer) -> list[str]:
    """`SIPpeers` or `IAXpeerlist` -> full endpoints."""
    return [
        f"{row['channeltype']}/{row['objectname']}"
        for row in answer.items
        if row.get("objectname") and row.get("channeltype")
    ]


def extensions(endpoints: Iterable[str]) -> tuple[Extension, ...]:
    """Return each endpoint once, in the order of the alphabet."""
    return tuple(
        Extension(number=endpoint.partition("/")[2], endpoint=endpoint) for endpoint in sorted(set(endpoints))
    )


def registered(answer: Answer, known: Iterable[str]) -> tuple[str, ...]:
    """`PJSIPShowRegistrationsOutbound` -> the endpoints that look like trunks.

    A registration names its endpoint only where `line = yes` is set; otherwise the
    custom (and FreePBX's way) is to give both the same name, taken if such an
    endpoint is `known`.
    """
    known = set(known)
    found = set()
    for row in answer.items:
        if row.get("event") != "OutboundRegistrationDetail":
            continue
        named, same = "PJSIP/" + row.get("endpoint", ""), "PJSIP/" + row.get("objectname", "")
        if row.get("endpoint"):
            found.add(named)
        elif same in known:
            found.add(same)
    return tuple(sorted(found))
