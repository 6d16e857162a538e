"""The explanation is complete in every language and says nothing that the record does not."""

from __future__ import annotations

import re
from dataclasses import replace
from string import Formatter

import pytest

from agent import configured, desk, explaining
from meter.model import Cause
from meter.periods import HOUR_MS
from meter.statement import instant

MINUTE = 60_000


def fields(text) -> set[str]:
    texts = [text] if isinstance(text, str) else list(text.values())
    return {name for each in texts for _, name, _, _ in Formatter().parse(each) if name}


def test_every_language_says_everything():
    """All catalogues have the same keys, the same placeholders and both forms of every plural."""
    one, two = (explaining.wording(code).texts for code in explaining.LANGUAGES)
    assert one.keys() == two.keys()
    for key, text in one.items():
        if key.split(".")[0] in {"explain", "level", "peak", "legs", "capacity", "traffic", "gaps", "check"}:
            assert fields(text) == fields(two[key]), key
    with pytest.raises(ValueError, match="en, nl"):
        explaining.wording("tlh")


@pytest.mark.parametrize("language", explaining.LANGUAGES)
async def test_a_peak_is_followed_to_its_legs(awake, office, configure, clock, at, language):
    """The explanation of a sealed month names its peak, the two legs with their ids and times, the minutes, the gap, each package, and where to look."""
    config = configure(
        tenants=['id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }\ncapacity = 1\npackages = [1, 2]']
    )
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        first, second = here.call(), here.call()
        await here.live(2 * MINUTE)
        here.hang_up(first, second)
        clock.advance(6 * HOUR_MS)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()

        def work(db):
            plan = configured.plan_of(config)
            period = desk.period_named(db, "acme", "2026-11")
            found = desk.recompute(db, plan, "acme", period)
            statement, _ = desk.folded(db, plan, "acme", period, series=True)
            return explaining.Explained(
                statement, found.content, (found.sealed.id, found.sealed.sha256), 0, None
            )

        found = await parts.store.read(work)
    text = "\n".join(explaining.explain(found, language))

    assert found.record[0] == "acme/2026-11/final/1"
    assert found.record[0] in text
    for leg in (first, second):
        row = next(line for line in text.splitlines() if f"pbx1 {leg} " in line)
        assert re.search(r"21:01:00.* 21:03:00.* 21:01:00", row)
        assert "PJSIP/pbx1-kpn" in row
    minutes = [line.split()[1] for line in text.splitlines() if re.match(r"  21:0[0-4] ", line)]
    assert minutes == ["0", "2", "2", "?", "?"]
    words = explaining.wording(language)
    assert words.say("cause.agent_stalled") in text
    assert words.say("cause.not_installed") in text
    assert words.say("capacity.package", n=2, meant=words.say("capacity.fits")) in text
    assert re.search(rf"{re.escape(words.say('capacity.package', n=1, meant=''))}.*2 minu", text)
    assert re.search(r"grep -E '.*pbx1", text)
    assert "{" not in text
    changed = "\n".join(explaining.explain(replace(found, differences=2), language))
    assert words.say("explain.changed", record=found.record[0], n=2) in changed
    assert words.say("explain.changed", record=found.record[0], n=2) not in text
    assert found.record[1] not in changed  # the sealed bytes don't say this


async def test_only_the_legs_of_the_peak_are_named(awake, office, configure, clock, at):
    """A leg that had gone before the peak, one that came after it, and one that a gap of its PBX hid then are not named for it; the record's evidence names the same ones."""
    config = configure(
        tenants=[
            'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn", "PJSIP/pbx2-kpn"] }\ncapacity = 1\npackages = [2]'
        ],
        pbxs=["pbx1", "pbx2"],
    )
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        one, two = office(parts, "pbx1"), office(parts, "pbx2")
        one.snapshot()
        two.snapshot()
        await one.live(MINUTE)
        gone = one.call()
        await one.live(MINUTE)
        one.hang_up(gone)
        parts.sampling.lost("pbx2", clock.now(), Cause.LINK_LOST)
        await one.live(MINUTE)
        # pbx2 will say of its call that it began two seconds before these three.
        await one.live(2_000)
        three = [one.call() for _ in range(3)]
        await one.live(2_000)
        one.hang_up(*three)
        await one.live(1_000)
        two.snapshot("pbx2.hidden")
        await one.live(MINUTE)
        later = one.call()
        await one.live(MINUTE)
        one.hang_up(later)
        clock.advance(6 * HOUR_MS)
        one.snapshot()
        two.snapshot()
        await one.live(MINUTE)
        await parts.closing.seal_due()

        def work(db):
            plan = configured.plan_of(config)
            period = desk.period_named(db, "acme", "2026-11")
            statement, _ = desk.folded(db, plan, "acme", period, series=True)
            found = desk.recompute(db, plan, "acme", period)
            return explaining.Explained(statement, found.content, None, 0, None)

        found = await parts.store.read(work)
    text = "\n".join(explaining.explain(found, "en"))
    peak = found.content["levels"]["channels"]
    known = {leg.leg: leg for leg in found.statement.facts.legs}

    assert known["pbx2.hidden"].start < instant(peak["peak_at"]) < known["pbx2.hidden"].end
    assert peak["peak"] == 3
    named = {name for name in known if re.search(rf"^  .*\b{re.escape(name)} ", text, re.MULTILINE)}
    assert named == set(three)
    assert [leg["leg"] for leg in peak["evidence"]["legs"]] == three
    assert all(name not in text for name in (gone, later, "pbx2.hidden"))
    # Two lines were enough for the minute at exactly two; how long three were up is not known: pbx2 was not seen.
    words = explaining.wording("en")
    meant = words.say("capacity.reached", peak=3)
    assert words.say("capacity.package", n=2, meant=meant) in text
