"""A serving provider closes its months, waits for approval, and mails: in real time of the books, over a real SMTP conversation."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from delivery.reporting import document
from meter.periods import DAY_MS
from meter.signature import sha256_hex
from provider import jobs, settings
from provider.jobs import addressees
from provider.month.mailing import approve
from provider.partners import Partner, Placement, problems
from provider.storage.opening import Storage, open_storage
from tests.fleet.agents import PERIOD, Agent, Tenant
from tests.fleet.receivers import run
from tests.fleet.test_month import enrol, take

#: 2025-11-01T00:30 in Amsterdam, and the 3rd of November there at six.
NOVEMBER = 1_761_953_400_000
THE_THIRD = 1_762_146_000_000

NORTH, SOUTH, OPERATOR = "north@partner.example", "south@partner.example", "billing@provider.example"


class Sink:
    """Takes mail. `refuse`: answers that it is busy, so often."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, EmailMessage]] = []
        self.asked: list[tuple[str, EmailMessage]] = []
        self.refuse = 0

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuse:
            self.refuse -= 1
            return "451 busy"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if any(message.iter_attachments()):  # what is told of the fleet brings none
            self.taken += [(recipient, message) for recipient in envelope.rcpt_tos]
        elif "approval" in message["Subject"]:
            self.asked += [(recipient, message) for recipient in envelope.rcpt_tos]
        return "250 taken"

    def to(self, recipient: str) -> list[EmailMessage]:
        return [message for whom, message in self.taken if whom == recipient]


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Sink, int]]:
    taking = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(taking), "127.0.0.1", 0)
    yield taking, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
def written(tmp_path: Path, sink) -> Callable[[str], Path]:
    """Write settings; give their file."""

    def write(approves: str) -> Path:
        file = tmp_path / "provider.toml"
        file.write_text(
            f'[smtp]\nhost = "127.0.0.1"\nport = {sink[1]}\ntls = "none"\nsender = "usage@provider.example"\n'
            f'[operator]\nemail = ["{OPERATOR}"]\n'
            f'[month]\ntimezone = "Europe/Amsterdam"\nclose_on = 3\nat = "06:00"\napprove = "{approves}"\n'
            '[brand]\nname = "Provider"\n'
        )
        return file

    return write


class Clock:
    def __init__(self) -> None:
        self.at = NOVEMBER

    def __call__(self) -> int:
        return self.at


@asynccontextmanager
async def recurring(storage: Storage, file: Path, clock: Clock) -> AsyncIterator[None]:
    """Let the jobs run while the block lasts."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(jobs.recur(storage, settings.load(file), clock, every_s=0.05))
        try:
            yield
        finally:
            running.cancel()


async def until(holds: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def revisions(storage: Storage) -> list[tuple[int, str | None]]:
    return [(one.revision, one.approved_by) for one in await storage.closings.revisions(PERIOD)]


async def delivered(storage: Storage, count: int) -> bool:
    rows = await storage.post.letters(settled_since=0)
    return [row.state for row in rows if row.kind == "month"].count("delivered") == count


@pytest.fixture
async def two(tmp_path: Path, database: str | None) -> AsyncIterator[tuple[Storage, list[Agent]]]:
    """Two agents that have lived their month, one of each partner."""
    agents = [Agent("ams-01", [Tenant("acme", "ACME B.V.")]), Agent("rot-01", [Tenant("globex", "Globex")])]
    async with open_storage(tmp_path, database) as storage:
        await enrol(storage, agents)
        partners = [
            Partner("north", "North", language="nl", email=(NORTH,)),
            Partner("south", "South", language="it", email=(SOUTH,)),
        ]
        placed = [
            Placement("ams-01", "acme", partner="north"),
            Placement("rot-01", "globex", partner="south"),
        ]
        assert await storage.partners.change(partners, placed, problems) == ()
        for agent in agents:
            await take(storage, *agent.month(interims=False))
        yield storage, agents


async def test_a_month_is_closed_on_its_day_and_waits(two, written, sink) -> None:
    """Nothing happens before the day; then the month is closed, waits for a person, and is mailed once approved:
    each partner his own report, the operator the whole, each once.
    """
    storage, _ = two
    file, clock = written("human"), Clock()
    mails = sink[0]
    async with recurring(storage, file, clock):
        # At the start what was never closed is: the month before, of which nothing is known.
        await until(lambda: storage.closings.revisions("2025-09"))
        assert await revisions(storage) == []
        clock.at = THE_THIRD - 60_000
        await asyncio.sleep(0.3)  # several turns of the jobs
        assert await revisions(storage) == []
        clock.at = THE_THIRD
        await until(lambda: revisions(storage))
        assert await revisions(storage) == [(1, None)]
        await until(lambda: len(mails.asked) == 2)  # September's and October's: neither was approved
        assert mails.taken == []
        whom, asking = mails.asked[-1]
        assert whom == OPERATOR
        assert f"pbx-meter-provider approve {PERIOD} --revision 1" in asking.get_body().get_content()

        mails.refuse = 1
        to = addressees(settings.load(file), "2025-11-03")
        done = await approve(storage, PERIOD, to, by="bookkeeper", now=clock.at)
        again = await approve(storage, PERIOD, to, by="bookkeeper", now=clock.at)
        assert ((done.new, done.letters), (again.new, again.letters)) == ((True, 3), (False, 0))
        clock.at += 60_000
        await until(lambda: delivered(storage, 2))
    clock.at += 3_600_000
    async with recurring(storage, file, clock):  # a restart finds the one that was put off
        await until(lambda: delivered(storage, 3))
    assert sorted(whom for whom, _ in mails.taken) == [OPERATOR, NORTH, SOUTH]
    (north,) = mails.to(NORTH)
    names = [part.get_filename() for part in north.iter_attachments()]
    assert {name.rpartition(".")[2] for name in names} >= {"csv", "xlsx"}
    sheet = next(part for part in north.iter_attachments() if part.get_filename().endswith(".csv"))
    assert b"acme" in sheet.get_content().encode()
    assert b"globex" not in sheet.get_content().encode()
    (whole,) = mails.to(OPERATOR)
    sheet = next(part for part in whole.iter_attachments() if part.get_filename().endswith(".csv"))
    assert all(name in sheet.get_content() for name in ("acme", "globex"))


async def test_what_comes_late_is_a_revision_by_itself(two, written, sink) -> None:
    """Where nobody has to approve, a late correction makes a second revision on the next day, and only those
    whom it concerns get mail again.
    """
    storage, agents = two
    file, clock = written("itself"), Clock()
    mails = sink[0]
    clock.at = THE_THIRD
    async with recurring(storage, file, clock):
        await until(lambda: len(mails.taken) == 3)
        assert await revisions(storage) == [(1, "itself")]
        await take(storage, agents[0].correct("acme", lift=3))
        await asyncio.sleep(0.3)  # several turns of the jobs on the same day
        assert await revisions(storage) == [(1, "itself")]
        clock.at += DAY_MS
        await until(lambda: len(mails.taken) == 5)
    assert await revisions(storage) == [(1, "itself"), (2, "itself")]
    assert sorted(whom for whom, _ in mails.taken[3:]) == [OPERATOR, NORTH]


async def test_two_that_serve_close_once(two, written, sink) -> None:
    """Two processes over the same books close a month once, and mail once."""
    storage, _ = two
    file, clock = written("itself"), Clock()
    mails = sink[0]
    clock.at = THE_THIRD
    async with recurring(storage, file, clock), recurring(storage, file, clock):
        await until(lambda: len(mails.taken) == 3)
        await asyncio.sleep(0.5)  # a second one would come now
    assert await revisions(storage) == [(1, "itself")]
    assert len(mails.taken) == 3


@pytest.mark.timeout(300)  # a dozen processes one after the other
async def test_by_hand(two, tmp_path: Path, database: str | None, written) -> None:
    """The commands: close says what is missing, report writes every format, approve writes the letters."""
    storage, _ = two
    gone = Placement("gone-01", "initech", since="2025-09-15", customer="7")
    assert await storage.partners.change([], [gone], problems) == ()
    file = written("human")

    code, said = await run(tmp_path, database, "close", PERIOD, config=file)
    assert (code, "missing: initech of gone-01: no final; nothing came" in said) == (1, True), said
    code, said = await run(
        tmp_path, database, "report", PERIOD, "--format", "json", "--out", str(tmp_path), config=file
    )
    assert code == 0, said
    report = document.read(await asyncio.to_thread(Path(said.strip()).read_bytes))
    assert (report.heap.tenants, report.heap.missing) == (3, 1)
    code, said = await run(
        tmp_path,
        database,
        "report",
        PERIOD,
        "--partner",
        "south",
        "--format",
        "csv",
        "--out",
        "-",
        config=file,
    )
    assert (code, "globex" in said, "acme" in said) == (0, True, False), said
    code, said = await run(tmp_path, database, "approve", PERIOD, "--revision", "2", config=file)
    assert (code, "no revision" in said or "not the newest" in said) == (1, True), said
    code, said = await run(tmp_path, database, "approve", PERIOD)
    assert (code, "no [smtp]" in said and "--no-mail" in said) == (1, True), said
    code, said = await run(tmp_path, database, "close", PERIOD)
    assert (code, "was closed in Europe/Amsterdam" in said) == (1, True), said
    words = ("statement", PERIOD, "rot-01", "globex", "--out")
    code, said = await run(tmp_path, database, *words, str(tmp_path))
    assert (code, said.strip()) == (0, str(tmp_path / f"statement-{PERIOD}-rot-01-globex.html")), said
    (proof,) = [one.proof for one in report.tenants if one.tenant == "globex"]
    page = await asyncio.to_thread(Path(said.strip()).read_text)
    assert proof.sha256 in page
    assert proof.kid in page
    assert 'lang="it"' in page  # as South reads
    code, said = await run(tmp_path, database, *words, "-", "--format", "jws")
    assert (code, sha256_hex(said.strip())) == (0, proof.sha256)
    code, said = await run(tmp_path, database, "statement", PERIOD, "rot-01", "acme")
    assert (code, "acme of rot-01 is not in" in said) == (1, True), said
    code, said = await run(tmp_path, database, "approve", PERIOD, "--by", "me", config=file)
    assert (code, "3 letters" in said) == (0, True), said
    code, said = await run(tmp_path, database, "revisions", "--json", config=file)
    assert (code, '"approved_by": "me"' in said) == (0, True), said
    code, said = await run(tmp_path, database, "letters", config=file)
    assert (code, said.count("waiting")) == (0, 3), said
    code, said = await run(
        tmp_path, database, "letters", "--again", PERIOD, "--partner", "north", config=file
    )
    assert (code, said.count("waiting")) == (0, 4), said
    code, said = await run(tmp_path, database, "close", "2999-01", config=file)
    assert (code, "has not ended" in said) == (1, True), said
    code, said = await run(tmp_path, database, "close", "1999-01", config=file)
    assert code == 1, said
    code, said = await run(tmp_path, database, "close", "November", config=file)
    assert (code, "write a month like 2026-11" in said) == (2, True), said
