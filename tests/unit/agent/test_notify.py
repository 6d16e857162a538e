"""What systemd hears: real datagrams on a real socket, and the time of a clock that is advanced."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import notify
from agent.clock import Clock


class Rounds(Clock):
    """A clock that lets so many rounds pass at once, and stands then."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.done = asyncio.Event()
        self._left = rounds

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self._left:
            self.done.set()
            await asyncio.Event().wait()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """Systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as found:
        found.bind(str(tmp_path / "notify"))
        yield found


def heard(ear: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(ear.recv(4096).decode())
        except BlockingIOError:
            return said


async def fed(systemd: notify.Systemd, *stuck: str | None) -> Rounds:
    """Feed for so many rounds, in each of which that loop is stuck."""
    clock, names = Rounds(len(stuck)), iter(stuck)
    feeding = asyncio.ensure_future(notify.feed(systemd, clock, lambda: next(names), lambda: "fine"))  # noqa: TID251 - the test's own
    await asyncio.wait_for(clock.done.wait(), 5)
    feeding.cancel()
    await asyncio.wait([feeding])
    return clock


async def test_the_watchdog_is_fed_while_loops_turn(ear: socket.socket) -> None:
    """Each round feeds the watchdog and tells the status, three times within its interval."""
    clock = await fed(notify.Systemd(ear.getsockname(), 30.0), None, None)

    assert heard(ear) == ["WATCHDOG=1\nSTATUS=fine"] * 2
    assert clock.waits == [10.0, 10.0]


async def test_a_stuck_loop_is_not_fed_for(ear: socket.socket) -> None:
    """While a loop does not turn nothing is fed; once it turns again, it is."""
    await fed(notify.Systemd(ear.getsockname(), 30.0), None, "sampling", "sampling", None)

    assert heard(ear) == ["WATCHDOG=1\nSTATUS=fine"] * 2


async def test_nobody_is_told_where_systemd_is_not() -> None:
    """Started by hand there is nothing to tell, and the loop ends at once."""
    systemd = notify.found({}, pid=1)

    assert systemd == notify.Systemd(None, None)
    systemd.tell("READY=1")
    await asyncio.wait_for(notify.feed(systemd, Rounds(1), lambda: None, lambda: ""), 5)


def test_a_socket_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """A datagram that can't be sent is let go."""
    notify.Systemd(str(tmp_path / "nobody")).tell("READY=1")


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"NOTIFY_SOCKET": "/run/n"}, notify.Systemd("/run/n", None)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000"}, notify.Systemd("\0n", 30.0)),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7"},
            notify.Systemd("/run/n", 1e-6),
        ),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "8"},
            notify.Systemd("/run/n", None),
        ),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, notify.Systemd("/run/n", None)),
        ({"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "x"}, notify.Systemd(None, None)),
    ],
)
def test_who_started_it_stands_in_the_environment(environ: dict[str, str], found: notify.Systemd) -> None:
    """NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read as sd_watchdog_enabled(3) says."""
    assert notify.found(environ, pid=7) == found


def test_which_loop_is_late() -> None:
    """A loop is late after the time that it may take, not at it."""
    allowed = {"sampling": 10, "closing": 100}

    assert notify.late({"sampling": 0, "closing": 0}, allowed, 10) is None
    assert notify.late({"sampling": 0, "closing": 0}, allowed, 11) == "sampling"
    assert notify.late({"sampling": 101, "closing": 0}, allowed, 101) == "closing"
