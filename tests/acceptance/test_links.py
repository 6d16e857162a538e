"""What happens to the link to the PBX: each trouble is shown with a hint, is a gap, and ends with the right levels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from connectors.asterisk.simulator import LEAST
from meter.model import Instant
from tests.acceptance.around import until
from tests.acceptance.harness import AS_TRIED, Site, site
from tests.acceptance.truth import hang_up, ring, talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give a running agent whose PBX is soon taken for dead; two calls are up."""
    async with site(tmp_path_factory.mktemp("desk"), AS_TRIED, ahead_ms=0, silent_s=3) as it:
        it.begin_period()
        await it.run()
        talk(it, count=2)
        await it.level(2)
        await until(lambda: gaps(it), what="the time before the first snapshot")
        yield it


async def down(site: Site) -> dict[str, Any]:
    """Wait until the agent shows that the link is down; nothing is a zero then."""
    shown = await site.shows(lambda s: s["pbxs"]["pbx1"]["link"] == "down", what="a link that is down")
    pbx, acme = shown["pbxs"]["pbx1"], shown["tenants"]["acme"]
    assert pbx["trouble"]
    assert pbx["hint"]
    assert (pbx["observed"], acme["observed"]) == (False, False)
    assert {level["now"] for level in acme["levels"].values()} == {None}
    return pbx


async def up(site: Site, channels: int) -> None:
    """Wait until the link works again, and expect the right level at once."""
    shown = await site.shows(lambda s: s["pbxs"]["pbx1"]["observed"], what="the link", within_s=15)
    assert shown["pbxs"]["pbx1"]["link"] == "up"
    assert shown["pbxs"]["pbx1"]["trouble"] is None
    assert shown["tenants"]["acme"]["levels"]["channels"]["now"] == channels


def gaps(site: Site) -> list[tuple[Instant, Instant, str]]:
    """Return the stored gaps that have ended: (start, end, cause)."""
    return site.stored("SELECT started, ended, cause FROM gaps WHERE ended IS NOT NULL ORDER BY row")


async def new_gap(site: Site, before: int) -> tuple[Instant, Instant, str]:
    """Return the gap that follows so many others, once it is stored whole."""
    (one,) = await until(lambda: gaps(site)[before:], what="a gap")
    return one


async def test_a_cut_line(desk):
    """A cut line is a gap `link_lost`; a call that ended in it ends at its start, one that lived through it counts on."""
    before = len(gaps(desk))
    stayed, gone = ring(desk, count=2)
    await desk.level(4)
    desk.asterisk.cut()
    cut_at = desk.now()
    hang_up(gone)
    pbx = await down(desk)
    await up(desk, 3)

    assert "cut the connection" in pbx["trouble"]
    started, ended, cause = await new_gap(desk, before)
    assert (cause, abs(started - cut_at) < 500, started < ended) == ("link_lost", True, True)
    ids = stayed.caller.uniqueid, gone.caller.uniqueid
    ends = dict(desk.stored("SELECT leg, ended FROM legs WHERE leg IN (?, ?)", *ids))
    assert ends == {ids[0]: None, ids[1]: started}
    hang_up(stayed)
    await desk.level(2)


async def test_a_half_open_line(desk):
    """A line that says nothing any more is found out by its silence, and the gap begins where it was last heard."""
    before = len(gaps(desk))
    desk.asterisk.frozen = True
    frozen_at = desk.now()
    pbx = await down(desk)
    desk.asterisk.frozen = False
    await up(desk, 2)

    assert "Nothing was heard from Asterisk for 3 s" in pbx["trouble"]
    started, ended, cause = await new_gap(desk, before)
    assert cause == "link_lost"
    assert started <= frozen_at + 500
    assert ended - started > 2500


async def test_a_refused_login(desk):
    """A refused login is shown with what to look at in manager.conf, and mended without a restart of the agent."""
    desk.asterisk.accounts[LEAST.username] = replace(LEAST, secret="another")
    desk.asterisk.cut()
    pbx = await desk.shows(
        lambda s: "refuses the account" in (s["pbxs"]["pbx1"]["trouble"] or ""), what="refusal"
    )
    assert "manager.conf" in pbx["pbxs"]["pbx1"]["hint"]
    assert LEAST.secret not in str(pbx)
    assert {each["now"] for each in pbx["tenants"]["acme"]["levels"].values()} == {None}
    before = len(gaps(desk))
    desk.asterisk.accounts[LEAST.username] = LEAST
    await up(desk, 2)
    await new_gap(desk, before)


async def test_a_restarted_pbx(desk):
    """A PBX that was killed and started again ended all its calls at the start of the gap; new ones count from zero."""
    before = len(gaps(desk))
    ids = [line.leg for line in desk.asterisk.exchange.lines if line.end is None]
    await desk.asterisk.restart()
    new = ring(desk)
    await up(desk, 1)

    started, _, cause = await new_gap(desk, before)
    assert cause == "link_lost"
    for leg in ids:
        assert desk.stored("SELECT ended FROM legs WHERE leg = ?", leg) == [(started,)]
    hang_up(*new)
    await desk.level(0)


async def test_a_pbx_that_was_never_reached(desk):
    """An agent that never reached its PBX shows no level, no peak and what to do, whatever the reason."""
    await desk.kill()
    desk.state = desk.folder / "fresh"
    await desk.asterisk.stop()
    desk.write_config()
    await desk.run(linked=False)

    shown = await desk.shows(lambda s: s["pbxs"]["pbx1"]["trouble"], what="trouble")
    assert "enabled = yes" in shown["pbxs"]["pbx1"]["hint"]
    acme = shown["tenants"]["acme"]
    assert {level[what] for level in acme["levels"].values() for what in ("now", "peak", "peak_at")} == {None}
    assert acme["coverage"]["observed_ms"] == 0
