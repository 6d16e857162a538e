"""A customer doubts: his figures are explained, held against the PBX's call records, and corrected, as an operator does it."""

from __future__ import annotations

import csv
import json
import os
import pty
from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

from connectors.asterisk.simulated.exchange import Line
from meter.model import Direction
from meter.periods import moment, period_of
from tests.acceptance.around import Said, until
from tests.acceptance.harness import AS_TRIED, HURRIED, KPN, KPN2, Site, site
from tests.acceptance.truth import hang_up, talk, true_peaks

#: What stands in the configuration in the place of globex's own trunk, by mistake.
OLD = "PJSIP/trunk-old"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give an agent that sealed a period of 5 minutes: three calls of acme came and went while it was dead, and globex's trunk was taken for nobody's."""
    changes = (*AS_TRIED, *((f'"{KPN2}"]', f'"{OLD}"]') for _ in range(2)))
    async with site(tmp_path_factory.mktemp("office"), changes, ahead_ms=0) as it:
        it.begin_period()
        await it.serve()
        await it.enrol("acme", "globex")
        await it.run()
        seen = talk(it)
        lost = talk(it, KPN2, count=2)
        await it.level(1)
        await it.shows(lambda s: s["pbxs"]["pbx1"]["unclassified"] == 2, what="two that no rule knows")
        await until(it.sealed, within_s=15, what="the period is open")
        await it.kill()
        it.forward(30_000)
        unseen = talk(it, count=3)
        it.forward(20_000)
        hang_up(*unseen)
        it.forward(5_000)
        await it.run()
        hang_up(*seen, *lost)
        await it.level(0)
        await it.kill()
        it.forward(period_of(it.now(), "5min", None).end - it.now() + 1_000)
        await it.run()
        await until(lambda: [r for r in it.sealed() if "/final/" in r[2] and r[-1]][1:], within_s=20)
        yield it


def written(lines: Iterable[Line]) -> list[list[str]]:
    """Return trunk legs as cdr_csv writes them, UTC."""

    def at(ms: int | None) -> str:
        return "" if ms is None else moment(ms).strftime("%Y-%m-%d %H:%M:%S")

    rows = []
    for number, line in enumerate(lines):
        assert line.direction is Direction.IN
        rows.append([
            "", "", "", "", "", f"{line.endpoint}-{number:08x}", f"PJSIP/101-{number:08x}", "Dial", "",
            at(line.start), at(line.answer), at(line.end), "0", "0", "ANSWERED" if line.answer else "NO ANSWER",
            "DOCUMENTATION", line.leg, "", "", line.call, str(number),
        ])  # fmt: skip
    return rows


async def corrects(site: Site, *words: str, answer: str | None = None) -> Said:
    """Run `pbx-meter correct` by the site's own time; `answer`: at a terminal, where somebody types it."""
    argv = [*HURRIED, str(site._ahead_ms), "25", "correct", "--config", str(site.config), *words]
    if answer is None:
        return await site._run(argv, 20)
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, f"{answer}\n".encode())
        return await site._run(argv, 20, stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)


def figures(site: Site, id_: str) -> dict:
    from meter import signature  # noqa: PLC0415 - only here

    (row,) = [row for row in site.sealed() if row[2] == id_]
    return json.loads(signature.unverified_payload(row[4], signature.TYP_RECORD))["data"]


async def test_from_the_doubt_to_the_correction(office):
    """Explained; beside the call records; corrected from them and under the right rules: both revisions are at the provider, the newest counts, and recompute and verify prove it."""
    name = next(row[2].split("/")[1] for row in office.sealed() if "/final/" in row[2])
    acme, globex = ("--tenant", "acme", "--period", name), ("--tenant", "globex", "--period", name)
    file = office.folder / "Master.csv"
    lines = office.asterisk.exchange.lines
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(written(line for line in lines if line.end is not None))
    truth = true_peaks(line for line in lines if line.endpoint == KPN)["channels"]
    assert (truth, figures(office, f"acme/{name}/final/1")["levels"]["channels"]["peak"]) == (4, 1)

    explained = await office.meter("explain", *acme, "--language", "nl")
    assert explained.code == 0, explained.err
    assert "de agent draaide niet" in explained.out
    assert f"acme/{name}/final/1" in explained.out

    compared = await office.meter("reconcile", *acme, "--cdr", str(file), "--utc", "--json")
    assert compared.code == 0, compared.err
    beside = json.loads(compared.out)["figures"]
    assert (beside["peak channels"]["metered"], beside["peak channels"]["call_records"]) == ("1", str(truth))
    shown = await office.meter("reconcile", *acme, "--cdr", str(file), "--utc")
    assert "call records" in shown.out

    for reason in ("", "x" * 201, "two\nlines"):
        odd = await corrects(office, *acme, "--reason", reason, "--yes")
        assert (odd.code, "--reason is one line" in odd.err) == (2, True), odd.err

    # Nobody is there to be asked; then only shown; then somebody says no; then it is sealed.
    fill = (*acme, "--reason", "the agent was off", "--cdr", str(file), "--utc")
    refused = await corrects(office, *fill)
    assert (refused.code, "nothing is sealed" in refused.err) == (2, True)
    looked = await corrects(office, *fill, "--dry-run")
    assert "levels.channels.peak: 1 -> 4" in looked.out
    declined = await corrects(office, *fill, answer="n")
    assert (declined.code, "Seal revision 2 of acme" in declined.out) == (0, True), declined.err
    assert "nothing is sealed" in declined.out
    assert not [row for row in office.sealed() if "/correction/" in row[2]]
    # By the machine's clock, which is behind the agent's:
    early = await office.meter("correct", *fill, "--yes")
    assert (early.code, "the wall clock is behind" in early.err) == (1, True)
    sealed = await corrects(office, *fill, "--yes")
    assert sealed.code == 0, sealed.err

    office.write_config([(f'"{OLD}"]', f'"{KPN2}"]') for _ in range(2)])
    judged = await corrects(office, *globex, "--reason", "its trunk was not listed", answer="y")
    assert judged.code == 0, judged.err + judged.out

    for words, peak in ((acme, truth), (globex, 2)):  # each tenant's own, of the one file
        compared = await office.meter("reconcile", *words, "--cdr", str(file), "--utc", "--json")
        assert json.loads(compared.out)["figures"]["peak channels"]["call_records"] == str(peak)

    await until(
        lambda: [row for row in office.sealed() if "/correction/2" in row[2] and row[-1]][1:], within_s=20
    )
    assert {row[5] for row in office.sealed() if "/correction/2" in row[2]} == {"counted"}
    assert figures(office, f"acme/{name}/correction/2")["levels"]["channels"]["peak_source"] == "call_log"
    newest = await office.provider("summaries", "--json")
    both = await office.provider("summaries", "--revisions", "--json")
    for tenant, before, after in (("acme", 1, truth), ("globex", 0, 2)):
        (row,) = [r for r in newest.rows if (r["tenant"], r["period"]) == (tenant, name)]
        assert (row["state"], row["revision"], row["peak_channels"]) == ("corrected", 2, after)
        kept = [r["peak_channels"] for r in both.rows if (r["tenant"], r["period"]) == (tenant, name)]
        assert kept == [after, before]

    for words in (acme, globex):
        again = await office.meter("recompute", *words)
        assert (again.code, "every figure equals" in again.out) == (0, True), again.out
    assert "the agent was off" in (await office.meter("explain", *acme)).out
    exported = office.folder / "records.jws"
    await office.meter("export", "-o", str(exported))
    key = (await office.meter("keys", "show")).out.splitlines()[0]
    verified = await office.meter("verify", str(exported), "--key", key)
    assert verified.code == 0, verified.out
