"""A correction lays itself over the ledger, is proved by recompute, and changes nothing that was."""

from __future__ import annotations

import json

import pytest

from agent import configured, correcting, desk, keys
from agent.correcting import CallRecords, Rules
from agent.sealing import Halted
from agent.store import corrections, ledger, records
from config.load import load
from meter import signature
from meter.chain import examine
from meter.events import LegStarted, Sighting
from meter.model import Direction
from meter.periods import HOUR_MS
from meter.tenancy import Claims
from meter.witness import Witnessed

MINUTE = 60_000
SHARED = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-shared"] }\ncapacity = 2'
KPN = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }\ncapacity = 2'


def rules(config, db) -> Rules:
    key = bytes.fromhex(ledger.fact(db, "redaction_key"))
    return Rules(configured.tenancy(config, key), {p.name: p.trunks for p in config.pbx}, frozenset())


async def drafted(parts, config, told=None):
    def work(db):
        plan = configured.plan_of(config)
        period = desk.period_named(db, "acme", "2026-11")
        return correcting.draft(db, plan, "acme", period, rules(config, db), told)

    return await parts.store.read(work)


async def sealed(parts, config, draft, now, reason="the trunk was missing"):
    plan, state_dir = configured.plan_of(config), config.agent.state_dir
    return await parts.store.write(lambda db: correcting.seal_draft(db, plan, state_dir, draft, reason, now))


async def recomputed(parts, config):
    plan = configured.plan_of(config)
    return await parts.store.read(
        lambda db: desk.recompute(db, plan, "acme", desk.period_named(db, "acme", "2026-11"))
    )


async def facts(parts):
    return await parts.store.read(
        lambda db: [db.execute(f"SELECT * FROM {t}").fetchall() for t in ("legs", "gaps", "merges", "terms")]
    )


@pytest.fixture
async def november(awake, office, configure, clock, at):
    """An agent that sealed November for acme under rules that named the wrong trunk: two calls counted for nobody."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(configure(tenants=[SHARED])) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        first, second = here.call(), here.call()
        await here.live(2 * MINUTE)
        here.hang_up(first, second)
        await here.live(MINUTE)
        clock.advance(6 * HOUR_MS)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()
        yield parts


async def test_wrong_rules_are_judged_again(november, configure, clock):
    """Under corrected rules the same legs are a peak of 2; the correction names the final, recompute equals it, and the ledger is what it was."""
    config = configure(tenants=[KPN])
    before = await facts(november)
    draft = await drafted(november, config)
    changes = {path: (old, new) for path, old, new in draft.differences}
    assert changes["levels.channels.peak"] == (0, 2)
    assert changes["traffic.in.legs"] == (0, 2)
    assert changes["unassigned.legs"] == (2, 0)
    assert not any(path.startswith(("coverage", "users", "period")) for path in changes)

    record = await sealed(november, config, draft, clock.now())

    data = json.loads(signature.unverified_payload(record.jws, signature.TYP_RECORD))["data"]
    final = (await november.store.read(lambda db: [r for r in records.every(db) if r.kind == "final"]))[0]
    assert data["replaces"] == {"id": final.id, "sha256": final.sha256}
    assert (data["kind"], data["revision"], data["reason"]) == ("correction", 2, "the trunk was missing")
    assert await facts(november) == before
    again = await recomputed(november, config)
    assert (again.sealed.id, again.differences) == (record.id, ())
    rows = await november.store.read(lambda db: [r.jws for r in records.every(db)])
    assert examine(rows, [keys.load(config.agent.state_dir).public]).good


async def test_an_extensions_leg_is_withdrawn(awake, office, configure, clock, at, tmp_path):
    """A leg that the present rules take for an extension's is stated no longer, by the correction and by its recompute; the ledger keeps it."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(configure()) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        here.tell(LegStarted(clock.now(), Sighting("x.1", "x.1", "PJSIP/201", Direction.OUT)))
        await here.live(MINUTE)
        here.hang_up("x.1")
        clock.advance(6 * HOUR_MS)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()
        before = await facts(parts)
        file = tmp_path / "agent.toml"
        file.write_text(file.read_text().replace('"1[0-9]{2}"', '"[12][0-9]{2}"'))
        config = load(file)

        draft = await drafted(parts, config)
        changes = {path: (old, new) for path, old, new in draft.differences}
        assert changes["unclassified.legs"] == (1, 0)
        record = await sealed(parts, config, draft, clock.now(), "a range of extensions was missing")

        again = await recomputed(parts, config)
        assert (again.sealed.id, again.differences) == (record.id, ())
        assert again.content["unclassified"] == {"legs": 0, "endpoints": []}
        assert await facts(parts) == before


async def test_the_neighbour_is_named(awake, office, configure, clock, at):
    """When legs go from one tenant to another, the operator is told whose period is to be corrected too."""
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(configure(tenants=[KPN])) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        here.hang_up(here.call(), here.call())
        clock.advance(6 * HOUR_MS)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()

        globex = KPN.replace("acme", "globex")
        draft = await drafted(parts, configure(tenants=[SHARED, globex]))
        same = await drafted(parts, configure(tenants=[KPN]))

    assert {path: (old, new) for path, old, new in draft.differences}["traffic.in.legs"] == (2, 0)
    assert [note for note in draft.notes if "globex" in note] == [
        "globex: 2 legs change too; correct that tenant's period as well"
    ]
    assert not any("correct that tenant" in note for note in same.notes)


async def test_the_same_again_changes_nothing(november, configure, clock):
    """A correction under the same rules as the last one has no differences; back under the old rules it says what the final said."""
    right, wrong = configure(tenants=[KPN]), None
    first = await drafted(november, right)
    await sealed(november, right, first, clock.now())
    assert (await drafted(november, right)).differences == []

    wrong = configure(tenants=[SHARED])
    back = await drafted(november, wrong)
    await sealed(november, wrong, back, clock.now(), "it was right after all")
    assert {p: new for p, _, new in back.differences} == {p: old for p, old, _ in first.differences}
    assert (await recomputed(november, wrong)).differences == ()


async def test_revisions_do_not_branch(november, configure, clock):
    """Of two corrections that were drafted from one revision, the second is not sealed."""
    config = configure(tenants=[KPN])
    draft = await drafted(november, config)

    assert (await sealed(november, config, draft, clock.now())).revision == 2
    assert await sealed(november, config, draft, clock.now()) is None


async def test_a_gap_is_filled(awake, office, configure, clock, at):
    """Three calls that came and went while the agent was off are in the correction as call log, and stay in the next one; coverage is whole, and a lower bound."""
    clock.start_at(at("2026-11-30T20:00Z"))
    config = configure()
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        long = here.call()
        await here.live(MINUTE)
        off = clock.now()
    clock.advance(HOUR_MS)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot(long)
        await here.live(MINUTE)
        clock.advance(5 * HOUR_MS)
        here.snapshot(long)
        await here.live(MINUTE)
        await parts.closing.seal_due()
        # Seconds, cut off, as Asterisk's are. The first call is the one that the ledger has.
        legs = [
            Witnessed(f"PJSIP/pbx1-kpn-{n}", "PJSIP/pbx1-kpn", leg, leg, Direction.IN, Claims("PJSIP/pbx1-kpn"),
                      start // 1000 * 1000, start // 1000 * 1000, end // 1000 * 1000)
            for n, (leg, start, end) in enumerate((
                (long, off - MINUTE, off + 7 * HOUR_MS),
                ("x.1", off + MINUTE, off + 3 * MINUTE),
                ("x.2", off + 2 * MINUTE, off + 4 * MINUTE),
                ("x.3", off + 2 * MINUTE, off + 5 * MINUTE),
            ))
        ]  # fmt: skip
        told = CallRecords("pbx1", legs, (off - 2 * MINUTE, off + 8 * HOUR_MS), "0" * 64)

        draft = await drafted(parts, config, told)
        changes = {path: (old, new) for path, old, new in draft.differences}
        assert changes["levels.channels.peak"] == (1, 4)
        assert changes["levels.channels.peak_source"] == ("seen", "call_log")
        assert changes["traffic.in.legs"] == (1, 4)
        gaps = [gap["cause"] for gap in draft.after["coverage"]["gaps"]["list"]]
        assert gaps == ["not_installed"]
        assert draft.after["levels"]["channels"]["lower_bound"] is True

        record = await sealed(parts, config, draft, clock.now(), "the agent was off")
        kept = await parts.store.read(lambda db: corrections.of(db, record))
        assert kept == draft.amendment
        assert (await recomputed(parts, config)).differences == ()
        assert (await drafted(parts, config)).differences == []  # what records told stays told
        assert (await drafted(parts, config, told)).differences == []  # and is not told twice


async def test_no_correction_is_sealed_by_a_clock_that_is_behind(november, configure, clock):
    """What is stored already is later than the clock."""
    parts, config = november, configure(tenants=[KPN])
    draft = await drafted(parts, config)
    assert draft is not None
    behind = clock.now() - HOUR_MS

    with pytest.raises(Halted, match="behind"):
        await sealed(parts, config, draft, behind)
