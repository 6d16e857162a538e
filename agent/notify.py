"""What systemd hears of the agent: that it is ready, how it does, that its loops turn, that it stops.

The protocol is one datagram of `KEY=value` lines to the socket that NOTIFY_SOCKET names
(sd_notify(3)): less here than a library would take to be chosen, pinned and updated. An
agent that systemd did not start says nothing, and a datagram that can't be sent is let
go: nothing of this may touch the metering. If it goes on, the watchdog bites.

A bite costs a gap. So the watchdog is kept from food only for what metering needs: that
the event loop turns (or nothing here runs), and that the loops that `late` asks about do.
A PBX, a mail server or a provider that does not answer is no reason, nor is a full disk.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from agent.clock import Clock

log = structlog.get_logger(__name__)

#: The watchdog is fed so many times in its interval.
MEALS: Final = 3
#: How often the status is told where no watchdog is set, in s.
STATUS_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Systemd:
    """Who started the agent.

    Attributes:
        address: The socket that listens; None: it was not systemd.
        watchdog_s: Within which time the watchdog wants to be fed; None: there is none.
    """

    address: str | None = None
    watchdog_s: float | None = None

    def tell(self, *lines: str) -> None:
        """Send lines, as in `READY=1`. One that can't be sent is let go."""
        if self.address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
                to.sendto("\n".join(lines).encode(), self.address)
        except OSError as error:
            log.warning("systemd.deaf", error=error.strerror)


def found(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> Systemd:
    """Return who started this process, by its environment (sd_notify(3), sd_watchdog_enabled(3))."""
    address = environ.get("NOTIFY_SOCKET") or None
    if address is not None and address.startswith("@"):
        address = "\0" + address[1:]  # a name that is not in the file system
    period = environ.get("WATCHDOG_USEC", "")
    ours = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
    return Systemd(address, int(period) / 1e6 if period.isdigit() and ours and int(period) else None)


def late(turned_at: Mapping[str, int], allowed_ms: Mapping[str, int], now: int) -> str | None:
    """Return which loop has not turned for longer than it may; None: they all turn.

    Args:
        turned_at: When each loop last turned, in ms of `Clock.boot`.
        allowed_ms: How long each may take.
        now: The present `Clock.boot`.
    """
    return next((name for name, at in turned_at.items() if now - at > allowed_ms[name]), None)


async def feed(
    systemd: Systemd, clock: Clock, stuck: Callable[[], str | None], status: Callable[[], str]
) -> None:
    """Tell the status and feed the watchdog, until cancelled; while a loop is stuck, don't feed it.

    Args:
        systemd: Whom to tell.
        clock: The clock.
        stuck: Names a loop that does not turn; None: they all do.
        status: One line for `systemctl status`.
    """
    if systemd.address is None:
        return
    said: str | None = None
    while True:
        name = stuck()
        if name is None:
            systemd.tell("WATCHDOG=1", f"STATUS={status()}")
        elif name != said:
            log.error("loop.stuck", loop=name, watchdog_s=systemd.watchdog_s)
        said = name
        await clock.sleep(systemd.watchdog_s / MEALS if systemd.watchdog_s else STATUS_EVERY_S)
