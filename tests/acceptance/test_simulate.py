"""`pbx-meter simulate`, as whoever has no PBX at hand sees it: a process, what it prints, and what can be done with that."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

METER = (sys.executable, "-I", "-m", "agent")
SIMULATE = (*METER, "simulate", "3cx", "--port", "0")
SECRET = "only-for-simulations"
BOUND_S = 30

SCENARIO = """\
[[call]]
cycle = "queue"
ring_s = 0.2
talk_s = 0.3
times = 2
every_s = 0.1

[[call]]
at = 0.4
cycle = "forward_to_mobile"
trunk = "10000"
out = "10001"
ring_s = 0.2
talk_s = 0.2
"""

AROUND = """\
[agent]
id = "ams-01"
state_dir = "state"
timezone = "Europe/Amsterdam"

"""


@asynccontextmanager
async def started(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    async with asyncio.timeout(BOUND_S):
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def said_until(process: asyncio.subprocess.Process, last: str) -> str:
    """Return what a process prints, up to a line that begins so."""
    assert process.stdout is not None
    said: list[str] = []
    while not said or not said[-1].startswith(last):
        line = (await process.stdout.readline()).decode()
        assert line, (said, await process.communicate())
        said.append(line)
    return "".join(said)


async def done(*command: str) -> tuple[int | None, str, str]:
    async with started(*command) as process:
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def ended(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Stop it, and expect that it ends at once, with 0 and without a word of complaint."""
    process.send_signal(number)
    async with asyncio.timeout(3):
        _, err = await process.communicate()

    assert (process.returncode, err.decode()) == (0, "")


def pasted(said: str) -> str:
    """Return the part of what was printed that goes into the configuration."""
    return said[said.index("[[pbx]]") : said.index("a day passes")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_what_it_prints_is_a_configuration_that_works(tmp_path: Path, number: signal.Signals) -> None:
    """With what is printed and the secret, `check` finds a 3CX that an agent would work with; a signal ends it cleanly."""
    file = tmp_path / "config.toml"
    key = tmp_path / "3cx-key"
    key.touch(mode=0o600)
    key.write_text(SECRET)
    async with started(*SIMULATE, "--client-id", "meter", "--speed", "600") as simulator:
        said = await said_until(simulator, "a day passes 600 times")
        file.write_text(AROUND + pasted(said))
        code, out, err = await done(*METER, "check", "--config", str(file))
        await ended(simulator, number)

    assert 'client_id = "meter"' in said
    assert SECRET not in said
    assert code == 0, out + err
    assert "3CX 20.0.9" in out


async def test_a_scenario_is_played_once_and_told_at_its_end(tmp_path: Path) -> None:
    """Each call of a scenario leaves one call record, then it is over, and the 3CX answers on until it is stopped."""
    file = tmp_path / "scenario.toml"
    file.write_text(SCENARIO)
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.put_nowait(line)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        cdr = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with started(*SIMULATE, "--scenario", str(file), "--cdr", cdr) as simulator:
            said = await said_until(simulator, "the scenario is over")
            told = [await lines.get() for _ in range(3)]
            port = int(said.split("http://127.0.0.1:", 1)[1].split(";")[0])
            with socket.socket() as knocking:
                answers = knocking.connect_ex(("127.0.0.1", port)) == 0
            await ended(simulator, signal.SIGINT)

    assert "the scenario has 3 calls and takes 1 s" in said
    assert f'cdr = {{ listen = "{cdr}" }}' in said
    assert lines.empty()
    assert [line.split(b",")[0] for line in told] == [b"Call 1", b"Call 2", b"Call 3"]
    assert answers


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ('[[call]]\ncycle = "dance"', "call 1: no cycle is called 'dance'"),
        ('[[call]]\ncycle = "inbound"\ntrunk = "77"', "77 is no trunk of this 3CX"),
        ('[[call]]\ncycle = "inbound"\nwhen = 3', "call 1: nothing is called when"),
        ('[[call]]\ncycle = "inbound"\nat = inf', "infinity"),
        ("[[call]", "scenario.toml: "),
    ],
)
async def test_a_bad_scenario_is_one_clear_line(tmp_path: Path, written: str, complaint: str) -> None:
    """What can't be played is said in one line, before anything listens, with an exit code that is not 0."""
    file = tmp_path / "scenario.toml"
    file.write_text(written)

    code, out, err = await done(*SIMULATE, "--scenario", str(file))

    assert (code, out) == (1, "")
    assert err.startswith("Error: the scenario can't be played: ")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["asterisk", "3cx"])
async def test_a_port_that_is_taken_is_said_with_a_way_out(kind: str) -> None:
    """Where somebody listens already, it says so and how any free port is had."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = await done(*METER, "simulate", kind, "--port", str(taken.getsockname()[1]))

    assert code == 1
    assert "--port 0 takes any free port" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("address", ["5015", "127.0.0.1:", "127.0.0.1:0", ":5015", "host:port"])
async def test_call_records_need_an_address(address: str) -> None:
    """`--cdr` takes a host and a port, and says so."""
    code, _, err = await done(*SIMULATE, "--cdr", address)

    assert code == 2
    assert "write HOST:PORT, as in 127.0.0.1:5015" in err
