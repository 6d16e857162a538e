"""The least that somebody would write on another library to count channels: no ledger, no page, no record.

    SECRET=... python -m bench.counters panoramisk|pyst2 HOST PORT USERNAME

Says `ready` once it hears events, and counts until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any, Final

PREFIX: Final = "PJSIP/trunk-"


class Channels:
    """The trunk channels that are up."""

    def __init__(self) -> None:
        self.up: set[str] = set()
        self.peak = 0

    def began(self, channel: str, unique: str) -> None:
        """Count one more."""
        if channel.startswith(PREFIX):
            self.up.add(unique)
            self.peak = max(self.peak, len(self.up))

    def ended(self, unique: str) -> None:
        """Count one less."""
        self.up.discard(unique)


def with_panoramisk(host: str, port: int, username: str, secret: str) -> None:
    """Count on panoramisk's events."""
    from panoramisk import Manager  # noqa: PLC0415 - each counter holds its own library alone

    found = Channels()
    manager = Manager(host=host, port=port, username=username, secret=secret)
    manager.register_event("Newchannel", lambda _, event: found.began(event.Channel, event.Uniqueid))
    manager.register_event("Hangup", lambda _, event: found.ended(event.Uniqueid))
    manager.connect(run_forever=True, on_startup=_ready)


async def _ready(_: Any) -> None:
    print("ready", flush=True)


def with_pyst2(host: str, port: int, username: str, secret: str) -> None:
    """Count on pyst2's events."""
    warnings.simplefilter("ignore")  # its threads use what newer Pythons warn about
    from asterisk.manager import Manager  # noqa: PLC0415 - likewise

    found = Channels()
    manager = Manager()
    manager.register_event(
        "Newchannel", lambda event, _: found.began(event.get_header("Channel"), event.get_header("Uniqueid"))
    )
    manager.register_event("Hangup", lambda event, _: found.ended(event.get_header("Uniqueid")))
    manager.connect(host, port)
    manager.login(username, secret)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    library, host, port, username = sys.argv[1:]
    count = {"panoramisk": with_panoramisk, "pyst2": with_pyst2}[library]
    count(host, int(port), username, os.environ["SECRET"])
