"""Killed again and again, without a provider for the whole run: nothing that was said is lost or said twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.asterisk.simulated.calls import Call
from meter.model import Instant
from meter.periods import period_of
from tests.acceptance.around import until
from tests.acceptance.harness import AS_TRIED, KPN, KPN2, Site, site
from tests.acceptance.truth import hang_up, ring, talk, true_peaks

LEVELS = ("channels", "calls", "answered")
#: A killed agent loses at most so much.
LOSS_MS = 2_000


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[Site]:
    """Give an enrolled agent that does not run, and whose provider has gone; periods last 5 minutes."""
    changes = [*AS_TRIED, ("capacity = 16", "capacity = 4")]
    async with site(tmp_path / "lonely", changes, ahead_ms=0) as it:
        it.begin_period()
        await it.serve()
        await it.enrol("acme", "globex")
        await it.stop_serving()
        yield it


class Outages:
    """Kills an agent, and remembers when it did not run."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.spans: list[tuple[Instant, Instant, Instant | None]] = []

    async def strike(self, *, forward_ms: int = 0, linked: bool = True) -> None:
        """Kill the agent this very moment and start it again, `forward_ms` later by its clock."""
        killed_at = self.site.now()
        await self.site.kill()
        self.site.forward(forward_ms)
        back_at = self.site.now()
        await self.site.run(linked=linked)
        self.spans.append((killed_at, back_at, self.site.now() if linked else None))
        if linked:
            await committed(self.site)


async def committed(site: Site) -> None:
    """Wait until everything so far is on disk."""
    now = site.now()
    await until(lambda: site.stored("SELECT heard_at FROM pbxs")[0][0] > now, what="a commit")


def records(site: Site, kind: str = "interim") -> int:
    return int(site.stored("SELECT count(*) FROM records WHERE kind = ?", kind)[0][0])


async def sealed_one(site: Site, kind: str = "interim") -> None:
    """Wait for the instant at which the next record of a kind is sealed."""
    before = records(site, kind)
    await until(lambda: records(site, kind) > before, what=f"another {kind}")


async def test_killed_all_along(lonely):
    """After kill -9 at the worst moments and a provider that came last, its books equal the sealed records exactly."""
    await lonely.run()
    period = period_of(lonely.now(), "5min", None)
    outages = Outages(lonely)
    stay = talk(lonely, count=2)
    ring(lonely, KPN2)
    await lonely.level(2)
    await sealed_one(lonely)
    await outages.strike()  # the very moment at which a record was sealed

    more = talk(lonely, count=3)
    await until(lambda: lonely.stored("SELECT id FROM notices"), what="a notice")
    await outages.strike()  # the very moment at which the notice was a row
    await until(lambda: lonely.mailbox.mails, what="the mail of a notice that survived")
    await lonely.level(5)
    await committed(lonely)
    hang_up(*more)
    await lonely.level(2)

    over = ring(lonely, count=4)  # six lines: the peak, which is seen whole only after the kill
    await outages.strike()  # before a notice can have been written
    await lonely.level(6)
    await sealed_one(lonely)
    hang_up(*over)
    await lonely.level(2)

    # The agent is off over the end of the period, and killed again while it closes it.
    await outages.strike(forward_ms=period.end - lonely.now() + 500, linked=False)
    await until(lambda: records(lonely, "final"), what="a final")
    await outages.strike()
    await until(lambda: records(lonely, "final") == 2, what="both finals")
    assert all(row[-1] is None for row in lonely.sealed())  # nobody has taken any of them yet

    # The provider comes, and the agent is killed while it catches up.
    await lonely.serve()
    await until(lambda: any(row[-1] for row in lonely.sealed()), what="a first receipt", within_s=20)
    await outages.strike()
    shown = await lonely.level(2)
    assert shown["trouble"] == []
    # Right after both tenants' next interims have their receipts nothing is sealed for most of a second.
    before = len(lonely.sealed())
    await until(
        lambda: len(lonely.sealed()) >= before + 2 and all(row[-1] for row in lonely.sealed()),
        what="two more records, and a receipt for every one",
        within_s=30,
    )
    await lonely.agent.stop()

    rows = lonely.sealed()
    assert lonely.taken() == rows
    assert {row[5] for row in rows} == {"counted"}
    assert [row[1] for row in rows] == list(range(1, len(rows) + 1))
    assert max(Counter(row[2] for row in rows).values()) == 1
    await _proved_and_right(lonely, len(rows), period.name)
    _gaps(lonely, outages)

    _counted_on(lonely, stay)
    ids = [mail.message["Message-ID"] for mail in lonely.mailbox.mails]
    assert len(set(ids)) == len(lonely.stored("SELECT id FROM notices WHERE tenant = 'acme'"))


def _counted_on(site: Site, stay: list[Call]) -> None:
    """Calls that stayed up through it all are one leg each, up since they began."""
    for call in stay:
        ((start, end),) = site.stored("SELECT started, ended FROM legs WHERE leg = ?", call.caller.uniqueid)
        assert end is None
        assert abs(start - call.caller.created) < 1000


async def _proved_and_right(site: Site, count: int, period: str) -> None:
    """The public key proves the whole chain; the finals in the books are true, and folded again they are the same."""
    file = site.folder / "records.jws"
    exported, key, again, booked, agents = await asyncio.gather(
        site.meter("export", "--output", str(file)),
        site.meter("keys", "show"),
        site.meter("recompute", "--period", period, "--json"),
        site.provider("summaries", "--json"),
        site.provider("agents", "--json"),
    )
    (agent,) = agents.rows
    assert (agent["counted"], agent["refused"], agent["missing"]) == (count, 0, [])
    assert (exported.code, again.code) == (0, 0), again.out
    said = await site.meter("verify", str(file), "--key", key.out.splitlines()[0])
    assert said.code == 0, said.out
    assert f"numbers 1 to {count} are complete from the very first" in said.out
    for tenant, trunk in (("acme", KPN), ("globex", KPN2)):
        (row,) = [
            r for r in booked.rows if (r["tenant"], r["period"], r["state"]) == (tenant, period, "final")
        ]
        truth = true_peaks(line for line in site.asterisk.exchange.lines if line.endpoint == trunk)
        assert {level: row[f"peak_{level}"] for level in LEVELS} == truth
        assert again.json[tenant]["differences"] == []
        assert again.json[tenant]["sealed"] == f"{tenant}/{period}/final/1"


def _gaps(site: Site, outages: Outages) -> None:
    """Each time that the agent was killed is a gap `agent_down` that begins where it was last heard, within 2 s."""
    gaps = site.stored("SELECT started, ended FROM gaps WHERE cause = 'agent_down' ORDER BY started")
    causes = {cause for (cause,) in site.stored("SELECT DISTINCT cause FROM gaps")}
    # A machine that stands still for two seconds says so, too.
    assert causes - {"agent_stalled"} == {"not_installed", "agent_down"}
    lost = []
    for killed_at, back_at, linked_at in outages.spans:
        (gap,) = [(start, end) for start, end in gaps if start <= killed_at < end]
        lost.append(killed_at - gap[0])
        assert back_at <= gap[1]
        assert linked_at is None or gap[1] <= linked_at
    print(f"\nkilled {len(lost)} times; lost before each, in ms: {lost}")
    assert max(lost) <= LOSS_MS
