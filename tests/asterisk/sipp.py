"""SIPp as the carriers and the phones around one Asterisk.

Two scenarios do everything. The *answering* one runs for as long as the
instance, once per address, and does what the caller's display name tells it: the
name goes through Asterisk to whoever is called in the end. The *calling* one reads
a line per call and starts each at its own time. No media is sent.

A display name is a script, `042-answer-300-bye-1500`: the script's id, what the
called party does (`answer`, `busy`, `ring`), after how many ms, then who hangs up
(`bye`: the called party, `wait`: it waits for the other's BYE), after how many ms.
A party that is called without one (a consultation) rings 200 ms, answers and waits.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.asterisk.configuration import free_port

_STOP_S: Final = 5.0
_SCENARIOS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Part:
    """What a called party does.

    Attributes:
        does: `answer`, `busy` or `ring` (for ever).
        after_ms: How long it rings before it does.
        then: `bye`: it hangs up after `talk_ms`; `wait`: the other side does.
        talk_ms: See `then`.
    """

    does: str = "answer"
    after_ms: int = 200
    then: str = "wait"
    talk_ms: int = 0

    def name(self, script: int) -> str:
        """Return the display name that asks for this part."""
        return f"{script:03d}-{self.does}-{self.after_ms}-{self.then}-{self.talk_ms}"


@dataclass(frozen=True, slots=True)
class Dialling:
    """One call that a SIPp makes.

    Attributes:
        script: The script's id.
        caller, dialled: The numbers.
        part: What the called party is told to do.
        extension: The phone that calls, "" for a carrier.
        at_ms: When, after the start of the process.
        then: `bye`: the caller hangs up after `talk_ms`; `wait`: the called side does;
            `cancel`: the caller gives up after `talk_ms` of ringing.
        talk_ms: See `then`.
    """

    script: int
    caller: str = field(repr=False)
    dialled: str = field(repr=False)
    part: Part
    extension: str = ""
    at_ms: int = 0
    then: str = "bye"
    talk_ms: int = 500

    def line(self) -> str:
        """Return it as a line of SIPp's injection file."""
        name = self.part.name(self.script)
        return ";".join(
            (
                name,
                self.caller,
                self.dialled,
                self.extension or "none",
                str(self.at_ms),
                self.then,
                str(self.talk_ms),
            )
        )


@dataclass(slots=True)
class Party:
    """One SIPp process; `home` holds its scenario, its calls and what it complained of."""

    name: str
    home: Path
    at: tuple[str, int]
    process: subprocess.Popen[bytes]

    def wait_until_bound(self) -> None:
        """Wait until it holds its port.

        Raises:
            TimeoutError: It does not get it.
        """
        for _ in range(int(_STOP_S / 0.02)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(self.at)
                except OSError:
                    return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
        raise TimeoutError(f"SIPp for {self.name} does not get its port: {self.complaints()}")

    def stop(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait(_STOP_S)

    def complaints(self) -> str:
        """Return how it ended and what it wrote about messages that were not in the scenario."""
        logs = sorted(self.home.glob(f"{self.name}.errors*.log"))
        said = "".join(path.read_text(errors="replace") for path in logs)
        return f"SIPp {self.name} ended with {self.process.returncode}: {said[:2000]}"


def answering(
    name: str, at: tuple[str, int], asterisk: tuple[str, int], home: Path, *, silent: bool
) -> Party:
    """Start a party that takes every call at `at` and does what the caller's name says; `silent`: it only rings."""
    more = ["-set", "silent", "1"] if silent else []
    return _start(name, home, at, asterisk, ["-sf", str(_SCENARIOS / "answering.xml"), *more])


def calling(name: str, host: str, asterisk: tuple[str, int], calls: Iterable[Dialling], home: Path) -> Party:
    """Start a party that makes `calls`; its process ends with 0 once all went as their scripts say."""
    lines = [call.line() for call in calls]
    numbers = home / f"{name}.csv"
    numbers.write_text("\n".join(["SEQUENTIAL", *lines]) + "\n")
    count = str(len(lines))
    # Every call exists at once and waits for its own time, so their order is the script's.
    every = ["-r", "500", "-l", count, "-m", count]
    return _start(
        name,
        home,
        (host, free_port(host)),
        asterisk,
        ["-sf", str(_SCENARIOS / "calling.xml"), "-inf", str(numbers), *every],
    )


def _start(name: str, home: Path, at: tuple[str, int], asterisk: tuple[str, int], more: list[str]) -> Party:
    command = ["setpriv", "--pdeathsig", "KILL", "sipp", f"{asterisk[0]}:{asterisk[1]}", *more]
    command += ["-i", at[0], "-p", str(at[1]), "-cp", str(free_port("0.0.0.0")), "-nostdin", "-trace_err"]
    command += ["-aa"]  # a NOTIFY of how a transfer goes is answered, and not more
    command += ["-error_file", str(home / f"{name}.errors.log"), "-max_retrans", "8"]
    process = subprocess.Popen(
        command,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return Party(name, home, at, process)
