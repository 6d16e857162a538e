"""The demo, as whoever has just cloned this sees it: a process, what it prints, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

#: As short as it may be; all of it must be over within the bound.
SECONDS, BOUND_S = "15", 50


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Give the demo's own folder for temporary files; its name is short, for a socket's name has to fit in."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def demo(
    temporary: Path, *options: str, stdout: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "agent", "demo", "--seconds", SECONDS, *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(temporary), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def ports(said: str) -> list[int]:
    """Return the ports that the demo says it listens on."""
    return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", said)]


def listens(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def left_behind(temporary: Path, said: str) -> list[object]:
    """Return what is still there: files, folders, ports."""
    return [*temporary.iterdir(), *(port for port in ports(said) if listens(port))]


@pytest.mark.timeout(BOUND_S + 10)
async def test_the_demo_keeps_its_promises(temporary: Path) -> None:
    """Without a terminal it tells the whole way in calm lines, ends by itself with 0 and leaves nothing behind."""
    kept = temporary / "kept"
    async with asyncio.timeout(BOUND_S), demo(temporary, "--keep", str(kept)) as process:
        output, _ = await process.communicate()
    said = output.decode()

    assert process.returncode == 0, said
    for promised in (
        "the agent has logged in over AMI",
        "the agent has a token of the 3CX",
        "30 users of ACME B.V., 42 users of Globex",
        "ACME B.V. is over: ",
        "Subject: ACME B.V. zit boven de capaciteit (17 lijnen, 16 afgesproken)",
        "Er is geen enkele oproep geblokkeerd.",
        "the billing period is over",
        "/final/1 counted, with a signed receipt",
        "peaks: 19 channels, 17 calls, 17 answered; users: 30",
        "the 3CX's call log is read: ",
        "peaks: 9 channels, 9 calls, 9 answered; users: 42",
        "cloud: method polled, every 0.5 s: ",
        "channels, by the 3CX's own call log 9",
        "users 42, by the 3CX's own count 42",
        "PROVED (tamper-evident, no more):",
        "deploy/manager.d/pbx-meter.conf",
        "pbx-meter check",
    ):
        assert promised in said
    assert said.count("peaks equal what truly was") == 2
    assert [line for line in said.splitlines() if len(line) > 80 and str(kept) not in line] == []
    assert "NOT  " not in said
    assert "\x1b" not in said
    assert len(ports(said)) == 4
    assert "<html" in (kept / "mail.html").read_text().lower()
    assert len((kept / "records.jws").read_text().splitlines()) == len(
        (kept / "receipts.jws").read_text().splitlines()
    )
    shutil.rmtree(kept)
    assert left_behind(temporary, said) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_can_be_stopped(temporary: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it within three seconds, with 0, in the middle of the day, and nothing is left behind."""
    async with asyncio.timeout(BOUND_S), demo(temporary) as process:
        assert process.stdout is not None
        said = b""
        while b"09:00" not in said:
            said += await process.stdout.readline()
        assert len(left_behind(temporary, said.decode())) == 1 + 4  # its folder, its ports
        process.send_signal(number)
        async with asyncio.timeout(3):
            rest, _ = await process.communicate()

    assert process.returncode == 0, rest.decode()
    assert "Nothing is left behind." in rest.decode()
    assert "Traceback" not in rest.decode()
    assert left_behind(temporary, said.decode()) == []


async def test_the_picture_moves_on_a_terminal(temporary: Path) -> None:
    """On a terminal it draws on the other page, and gives the first one back when it is stopped."""
    shown, terminal = pty.openpty()
    async with asyncio.timeout(BOUND_S), demo(temporary, stdout=terminal) as process:
        os.close(terminal)
        loop, drawn, waiting = asyncio.get_running_loop(), bytearray(), asyncio.Event()

        def read() -> None:
            try:
                drawn.extend(os.read(shown, 65536))
            except OSError:  # the other end is closed
                loop.remove_reader(shown)
            waiting.set()

        loop.add_reader(shown, read)
        while b"OVER" not in drawn:
            waiting.clear()
            await waiting.wait()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        loop.remove_reader(shown)
    while b"Stopped." not in drawn:
        drawn += os.read(shown, 65536)
    os.close(shown)

    assert b"\x1b[?1049h" in drawn
    assert drawn.rindex(b"\x1b[?1049l") > drawn.rindex(b"\x1b[?1049h")
    assert "┃".encode() in drawn
    assert left_behind(temporary, "") == []
