"""Anything at every door: a short run in every test run, ten minutes each with `-m soak`.

FUZZ_S sets how many seconds a long run takes.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter import signature
from tests.fuzz.targets import KEY, TARGETS, cut, requests

LONG_S = float(os.environ.get("FUZZ_S", "600"))
SHORT, ROUND = 30, 300
#: What a stranger may make the provider hold, in bytes: `AT_ONCE` bodies of a mebibyte, and copies of some.
BOUND_BYTES = 250 * 1024 * 1024

ASKED = {"request": requests(), "seed": st.integers(0, 1000)}
KNOCK = b"GET /v1/agents/ams-01/position HTTP/1.1\r\nHost: x\r\n\r\n"


def run(target: Callable[..., None], examples: int, **drawn: st.SearchStrategy) -> None:
    """Run a target once with so many examples; it is given what is drawn, else whatever it draws itself."""
    rules = settings(
        max_examples=examples, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    rules(given(**drawn or {"data": st.data()})(target))()


def run_long(target: Callable[..., None], **drawn: st.SearchStrategy) -> None:
    """Run round after round; each draws anew."""
    give_up, rounds = time.monotonic() + LONG_S, 0
    while time.monotonic() < give_up:
        run(target, ROUND, **drawn)
        rounds += 1
    print(f"\n{rounds * ROUND} examples at most in {LONG_S:.0f} s")


@pytest.mark.parametrize("name", TARGETS)
def test_briefly(name: str) -> None:
    """Nothing but what is documented comes out."""
    run(TARGETS[name], SHORT)


@pytest.mark.soak
@pytest.mark.timeout(LONG_S * 2 + 300)
@pytest.mark.parametrize("name", TARGETS)
def test_for_long(name: str) -> None:
    """Nor for ten minutes."""
    run_long(TARGETS[name])


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


def _first(answer: bytes) -> bytes:
    """Return the first of several answers: what follows its body may have been taken for another request."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return head + end + (body[: int(length[1])] if length else body)


class Provider:
    """A real provider in a process of its own, which knows one agent."""

    def __init__(self, folder: Path) -> None:
        program = Path(sys.executable).with_name("pbx-meter-provider")
        folder.mkdir()
        self.log = (folder / "log").open("w+")
        subprocess.run([program, "--data", folder, "enrol-token", "ams-01", "--tenant", "acme"],
                       check=True, capture_output=True)  # fmt: skip
        self.process = subprocess.Popen(
            [program, "--data", folder, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=self.log, text=True
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r"port (\d+)", self.process.stdout.readline())
        assert found
        self.port = int(found[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, pieces: list[bytes], patience_s: float = 0.2) -> bytes:
        """Send what there is and return the first answer; nothing: it waits for more, or cut the line."""
        answer = b""
        with self.connect() as line, suppress(OSError):  # it may have had enough before all was sent
            for piece in pieces:
                line.sendall(piece)
            line.settimeout(patience_s)
            while not _whole(answer) and (more := line.recv(65536)):
                answer += more
        return _first(answer)

    def is_well(self) -> bool:
        """Whether it still runs and refuses a stranger as it always does."""
        said = self.ask([KNOCK], 10)
        return self.process.poll() is None and b" 401 " in said.partition(b"\r\n")[0]

    def resident(self, what: str = "VmRSS") -> int:
        """How much memory it holds, in bytes; `VmHWM`: the most that it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * 1024

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    it = Provider(tmp_path / "books")
    yield it
    it.end()


def knock(provider: Provider) -> Callable[[bytes, int], None]:
    def timeless(answer: bytes) -> bytes:
        if b" 400 " in answer.partition(b"\r\n")[0]:
            return b"400"  # what is no HTTP is said back as far as it had arrived, before anybody looked at a name
        return re.sub(rb"Date: [^\r]*", b"", answer)

    def door(request: bytes, seed: int) -> None:
        """Whatever is asked of a known agent and of an unknown one gets the same answer, never a 5xx, never a receipt."""
        # Names of one length; neither can be told from the other by what is answered.
        known, unknown = (
            timeless(provider.ask(cut(request.replace(b"AGENT", name), seed))) for name in (b"ams-01", b"zzz-09")
        )  # fmt: skip
        # A line that was cut before all was sent may lose the answer: that tells nobody anything.
        assert {known, unknown} & {b"400"} or not (_whole(known) and _whole(unknown)) or known == unknown
        assert provider.process.poll() is None
        for status in re.findall(rb"HTTP/1\.[01] (\d{3})", known):
            assert status[:1] not in (b"2", b"5"), (known, provider.logged()[-3000:])

    return door


def test_the_door_briefly(provider: Provider) -> None:
    """A stranger can't crash the provider, make it fail, or learn from it whether an agent exists."""
    run(knock(provider), SHORT, **ASKED)
    assert provider.is_well()
    assert "provider.failed" not in provider.logged()


@pytest.mark.soak
@pytest.mark.timeout(LONG_S * 2 + 300)
def test_the_door_for_long(provider: Provider) -> None:
    """Nor for ten minutes, and its memory does not grow with them."""
    run(knock(provider), ROUND, **ASKED)
    before = provider.resident()
    run_long(knock(provider), **ASKED)
    assert provider.is_well()
    assert "provider.failed" not in provider.logged()
    assert provider.resident() - before < BOUND_BYTES / 2


def test_a_crowd_of_strangers(provider: Provider) -> None:
    """Three hundred strangers who each send nearly a mebibyte and don't end make it hold a bounded amount, and it gets well."""
    assert provider.is_well()
    before = provider.resident()
    head = b"POST /v1/summaries HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
    # It gets past the first look at its header.
    header = signature.sign(b"{}", KEY, signature.TYP_RECORD).split(".")[0]
    body = header.encode() + b"." + b"A" * 1_000_000
    crowd = [provider.connect() for _ in range(300)]
    try:
        for line in crowd:
            line.settimeout(2)
            with suppress(OSError):
                line.sendall(head + body)
        give_up = time.monotonic() + 15
        while b" 503 " not in provider.ask([KNOCK], 5):  # all its places are taken
            assert time.monotonic() < give_up
        held = provider.resident("VmHWM") - before
        print(f"\n300 strangers made it hold {held / 2**20:.0f} MiB")
        assert held < BOUND_BYTES
    finally:
        for line in crowd:
            line.close()
    give_up = time.monotonic() + 10
    while not provider.is_well():
        assert time.monotonic() < give_up
