"""What it costs the provider to take records: real keys, real records, on this machine.

    python -m bench.provider                 SQLite, in a folder of its own
    python -m bench.provider --database URL  a PostgreSQL that is empty

It prints, per second and per process: bare Ed25519 verifications; records judged and
committed over the seam, many agents at once; the same over HTTP to a `serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.util import urlsafe_b64decode

from bench.figures import Figure, Scale
from bench.installation import cpu_s
from meter import messages, signature
from meter.canonical import canonical_bytes
from meter.signature import PrivateKey, sha256_hex
from provider import clock, enrolment, keys
from provider.receiving import receive
from provider.storage.opening import Storage, open_storage

ROOT = Path(__file__).parents[1]
AGENTS: Final = 400
RECORDS: Final = 10
AT_ONCE: Final = 80
WHY: Final = (
    "One record costs the receiver more than its signature: by the profile, two pydantic validations (its place, its "
    "schema) take more than the verification, five readings of JSON about as much, the receipt's signature a third of it; "
    "SQLite is in a thread beside them. Reading the payload once for place and schema is the next step."
)
URL = "http://127.0.0.1:1"
TAKEN = 201


def sealed(agent: str, key: PrivateKey, count: int) -> list[str]:
    """Seal a chain of interims, one after the other, as agents send them."""
    template = json.loads((ROOT / "tests" / "golden" / "interim.json").read_text())
    tokens: list[str] = []
    for number in range(1, count + 1):
        record = copy.deepcopy(template)
        record |= {"source": f"/agents/{agent}", "id": f"acme/2026-11/interim/{number}"}
        record["data"]["agent"]["id"] = agent
        before = sha256_hex(tokens[-1]) if tokens else None
        record["data"] |= {
            "chain": {"id": "c-1", "continues": None},
            "sequence": number,
            "previous_sha256": before,
            "tenant_sequence": number,
            "tenant_previous_sha256": before,
            "revision": number,
        }
        tokens.append(signature.sign(canonical_bytes(record), key, signature.TYP_RECORD))
    return tokens


def verifications(tokens: Sequence[str], key: PrivateKey) -> float:
    """Return how many signatures the library alone verifies in a second."""
    public = Ed25519PublicKey.from_public_bytes(key.public.raw)
    given = [
        (urlsafe_b64decode(t.rpartition(".")[2].encode()), t.rpartition(".")[0].encode()) for t in tokens
    ]
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 1:
        for one in given:
            public.verify(*one)
        done += len(given)
    return done / (time.perf_counter() - began)


async def each(chains: dict[str, list[str]], at_once: int, post: Callable[[str], Awaitable[None]]) -> float:
    """Post every chain in order, so many chains at once; return records per second."""
    waiting = list(chains.values())

    async def sender() -> None:
        while waiting:
            for token in waiting.pop():
                await post(token)

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(at_once)))
    return sum(map(len, chains.values())) / (time.perf_counter() - began)


async def enrolled(
    storage: Storage, receiver: PrivateKey, prefix: str, agents: int, count: int
) -> dict[str, Any]:
    """Make agents known, and seal what they will send."""
    chains = {}
    for number in range(agents):
        agent, key = f"{prefix}-{number}", signature.new_key()
        line = await enrolment.invite(
            storage.books, agent=agent, tenants=["acme"], url=URL, receiver=receiver, now=clock.now()
        )
        ask = messages.seal_enrolment(line, key)
        assert await enrolment.enrol(ask, storage.books, audience=URL, receiver=receiver, now=clock.now())
        chains[agent] = sealed(agent, key, count)
    return chains


async def over_http(
    folder: Path, database: str | None, chains: dict[str, list[str]], at_once: int
) -> tuple[float, float]:
    """Post to a `serve` of its own; return records a second, and CPU seconds that each cost the `serve`."""
    words = ["--data", str(folder), *(["--database", database] if database else []), "serve", "--port", "0"]
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from provider.cli import main; main()", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout
        url = (await server.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

            async def post(token: str) -> None:
                head = {"Content-Type": "application/jose"}
                async with session.post(f"{url}/v1/summaries", data=token, headers=head) as answer:
                    assert answer.status == TAKEN, answer.status
                    await answer.read()

            before = cpu_s(server.pid)
            rate = await each(chains, at_once, post)
            return rate, (cpu_s(server.pid) - before) / sum(map(len, chains.values()))
    finally:
        server.terminate()
        await server.wait()


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run found.

    Attributes:
        record_bytes: One sealed record.
        bare: Verifications a second, of the library alone.
        seam: Records a second, judged and committed in this process.
        seam_cpu_us: CPU that each of those cost.
        http: Records a second, over HTTP to a `serve`.
        http_cpu_us: CPU that each cost the `serve`.
        file_bytes: Of the books, a record; None: a database elsewhere.
    """

    record_bytes: int
    bare: float
    seam: float
    seam_cpu_us: float
    http: float
    http_cpu_us: float
    file_bytes: float | None


async def taken(agents: int, records: int, at_once: int, database: str | None = None) -> Taken:
    """Seal, send and measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receiver = keys.load_or_make(folder)
        async with open_storage(folder, database) as storage:
            first = await enrolled(storage, receiver, "seam", agents, records)
            second = await enrolled(storage, receiver, "http", agents, records)

            async def post(token: str) -> None:
                reply = await receive(token, storage.books, receiver=receiver, now=clock.now())
                assert reply.status == TAKEN, reply.status

            key = signature.new_key()
            some = sealed("bare", key, records)
            bare = verifications(some, key)
            spent = time.process_time()
            seam = await each(first, at_once, post)
            spent = (time.process_time() - spent) / (agents * records)
        http, cpu = await over_http(folder, database, second, at_once)
        size = None if database else (folder / "books.db").stat().st_size / (agents * records * 2)
    return Taken(len(some[0]), bare, seam, 1e6 * spent, http, 1e6 * cpu, size)


def measure(scale: Scale) -> list[Figure]:
    """Return what the provider takes, beside the bare verifications."""
    agents = scale.of(AGENTS, 4)
    found = asyncio.run(taken(agents, RECORDS, min(AT_ONCE, agents)))
    per_core = 1e6 / found.http_cpu_us
    how = f"records of {found.record_bytes:,} bytes, {agents} agents of {RECORDS}, {min(AT_ONCE, agents)} at once, SQLite, synchronous=FULL"
    return [
        Figure("bare Ed25519 verifications", found.bare, "a second", "cryptography alone, one core"),
        Figure("records taken, in one process without HTTP", found.seam, "a second", how),
        Figure(
            "records verified, stored, receipted over HTTP",
            found.http,
            "a second",
            "the sender has the other core",
        ),
        Figure("the same for each CPU second of the receiver", per_core, "a second"),
        Figure(
            "over HTTP per core, of the bare figure", 100 * per_core / found.bare, "%", "", (">=", 25), WHY
        ),
        Figure("the books, a record", found.file_bytes, "bytes"),
    ]


def main() -> None:
    """Measure with what the command line says, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database")
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--records", type=int, default=RECORDS, help="of each agent")
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    given = parser.parse_args()
    found = asyncio.run(taken(given.agents, given.records, given.at_once, given.database))
    for what, value in asdict(found).items():
        print(f"{what:16} {value if value is None else round(value)}")


if __name__ == "__main__":
    main()
