"""What following real calls costs: CPU seconds per 1,000 calls on a real Asterisk 22, without media.

The service follows with least rights, once with and once without Asterisk's event filter, and once more while
somebody watches its status page: store, page and upstream, a provider of its own, are as the example configuration has
them. On the same calls two bare counters on panoramisk and pyst2 listen, with the same rights, that do nothing else. Asterisk's own CPU is
taken on as many calls before that, while nobody listens. All CPU is the kernel's account of each process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from bench import calls
from bench.figures import Figure, Scale, unmeasured
from bench.installation import PBX, Watched, configured, cpu_s, service, shows
from tests.acceptance.around import free_port
from tests.asterisk import roots
from tests.asterisk.instance import Instance

CALLS: Final = 1_000
PER_S: Final = 40
#: Each agent's AMI account, and whether somebody watches its page.
AGENTS: Final = {
    "least rights": ("meter", False),
    "with the event filter": ("meter-filtered", False),
    "its page watched": ("meter", True),
}
LIBRARIES: Final = ("panoramisk", "pyst2")
TRUNKS: Final = ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared")
WHY: Final = (
    "A call is told in about five separate reads of a line, each of which wakes an idle process whose caches Asterisk and "
    "SIPp have used meanwhile: by the profile, waking, polling and reading take more than framing, parsing and counting "
    "together, which hot cost 0.1 ms a call. Reading less often would help and would blur instants: two legs that "
    "overlap for less than the wait would be one change. It is not done."
)
_ROOT: Final = Path(__file__).parents[1]
_PROVIDER: Final = (sys.executable, "-c", "from provider.cli import main; main()")


async def said(*words: str) -> str:
    """Run a command and return what it says."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=_ROOT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, words
    return out.decode().strip()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, ...]]:
    """Run a provider; give the words by which it is told something."""
    command = (*_PROVIDER, "--data", str(folder / "books"))
    process = await asyncio.create_subprocess_exec(
        *(*command, "serve", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        yield (*command, url)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def following(
    instance: Instance, account: str, folder: Path, provider: tuple[str, ...], *, watched: bool
) -> AsyncIterator[int]:
    """Run the whole agent on an account, enrolled; give its pid."""
    *command, url = provider
    folder.mkdir()  # noqa: ASYNC240 - before anything is measured
    pbx = Watched(instance.host, instance.ami_port, account, instance.accounts[account].secret)
    page = free_port()
    file = configured(
        folder, TRUNKS, pbx, capacity=500,
        rest=f'\n[upstream]\nurl = "{url}"\n\n[page]\nlisten = "127.0.0.1:{page}"\n',
    )  # fmt: skip
    text = file.read_text(encoding="utf-8").replace("ams-01", folder.name)
    file.write_text(text, encoding="utf-8")
    tenants = [word for number in range(len(TRUNKS)) for word in ("--tenant", f"tenant-{number}")]
    line = await said(*command, "enrol-token", folder.name, *tenants, "--url", url)
    await said(sys.executable, "-I", "-m", "agent", "enrol", "--config", str(file), line)
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(service(file, folder / "log"))
        await shows(
            file,
            lambda s: s["pbxs"][PBX]["observed"] and 0 < s["records"]["sealed"] == s["records"]["receipted"],
        )
        if watched:
            await stack.enter_async_context(watching(f"http://127.0.0.1:{page}/events"))
        yield process.pid


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[None]:
    """Read the page's events, as a browser does."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, timeout=aiohttp.ClientTimeout(None)) as answer,
        asyncio.TaskGroup() as group,
    ):

        async def read() -> None:
            async for _ in answer.content.iter_any():
                pass

        reading = group.create_task(read())
        yield
        reading.cancel()


@asynccontextmanager
async def counting(library: str, instance: Instance) -> AsyncIterator[int]:
    """Run a bare counter; give its pid."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.counters", library, instance.host, str(instance.ami_port), "meter"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=_ROOT,
        env=os.environ | {"SECRET": instance.accounts["meter"].secret},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        await process.wait()


async def spent(instance: Instance, number: int) -> dict[str, float]:
    """Return the CPU seconds per 1,000 calls of Asterisk, by itself and followed, and of each who follows."""
    process = instance._process  # noqa: SLF001 - nobody else needs it
    assert process is not None
    asterisk = process.pid
    before = cpu_s(asterisk)
    await calls.place(instance, number, PER_S)
    found = {"asterisk": cpu_s(asterisk) - before}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(serving(folder))
            pids = {
                how: await stack.enter_async_context(
                    following(instance, account, folder / f"agent-{place}", provider, watched=watched)
                )
                for place, (how, (account, watched)) in enumerate(AGENTS.items())
            }
            for library in LIBRARIES:
                pids[library] = await stack.enter_async_context(counting(library, instance))
            pids["asterisk, followed by all of them"] = asterisk
            start = {who: cpu_s(pid) for who, pid in pids.items()}
            await calls.place(instance, number, PER_S)
            found |= {who: cpu_s(pid) - start[who] for who, pid in pids.items()}
    return {who: 1000 * cpu / number for who, cpu in found.items()}


def measure(scale: Scale) -> list[Figure]:
    """Return what each spends."""
    if lacks := roots.missing():
        return unmeasured(["the whole agent on a real Asterisk"], lacks)
    with calls.around() as (instance, _):
        found = asyncio.run(spent(instance, scale.of(CALLS, 10)))
        how = f"{scale.of(CALLS, 10):,} calls, {PER_S} a second, Asterisk {instance.version}"
    unit, own = "CPU s per 1,000 calls", found["asterisk"]
    counters = {library: found[library] for library in LIBRARIES}
    agents = {how: found[how] for how in AGENTS}
    return [
        Figure("Asterisk itself, nobody following", own, unit, how),
        Figure("Asterisk itself, followed by all of them", found["asterisk, followed by all of them"], unit),
        *(Figure(f"bare counter on {library}", cpu, unit) for library, cpu in counters.items()),
        *(
            Figure(
                f"the whole agent, {rights}",
                cpu,
                unit,
                bar=None if AGENTS[rights][1] else ("<=", min(counters.values())),
                why=WHY,
            )
            for rights, cpu in agents.items()
        ),
        *(
            Figure(
                f"the whole agent, {rights}, of Asterisk's own",
                100 * cpu / own,
                "%",
                "aim: 2 %",
                None if AGENTS[rights][1] else ("<=", 5),
                WHY,
            )
            for rights, cpu in agents.items()
        ),
    ]
