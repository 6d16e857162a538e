"""The configuration that issue 2 promises, as it stands: what an operator types on the first day, and sees."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from connectors.asterisk.simulated import calls
from meter.periods import iso
from tests.acceptance.harness import KPN, KPN2, Site, site
from tests.acceptance.truth import hang_up, ring, talk, true_peaks

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEVELS = ("channels", "calls", "answered")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give a running, enrolled agent after some calls of both tenants; five and two of their lines are up."""
    async with site(tmp_path_factory.mktemp("promised")) as it:
        not_yet, _ = await asyncio.gather(it.meter("check"), it.serve())
        assert not_yet.code == 1
        assert "pbx-meter enrol" in not_yet.out
        await it.enrol("acme", "globex")
        await it.run()
        exchange = it.asterisk.exchange
        calls.internal(exchange, "PJSIP/104", "PJSIP/105").answer()  # counts nowhere
        first = talk(it, count=3)
        calls.forward(exchange, KPN, KPN).answer()  # one call, two lines
        ring(it, count=2)
        out = [calls.dial_out(exchange, "PJSIP/131", KPN2) for _ in range(3)]
        out[0].answer()
        await it.level(7)
        await it.level(3, "globex")
        hang_up(*first[:2], out[1])
        await it.level(5)
        await it.level(2, "globex")
        yield it


async def test_check(office):
    """`check` finds every door open, names trunks and users, and exits 0."""
    said = await office.meter("check")

    assert said.code == 0, said.out
    for expected in ("trunk-kpn, PJSIP/trunk-kpn2", "30 users of acme", "10 users of globex", "capacity 16"):
        assert expected in said.out


async def test_status(office):
    """`status --json` has the promised fields with the true values, for both tenants and all three levels."""
    await office.shows(lambda s: s["tenants"]["acme"]["users"] is not None, what="users")
    said, people = await asyncio.gather(office.meter("status", "--json"), office.meter("status"))
    status = said.json

    assert set(status["tenants"]) == {"acme", "globex"}
    for tenant, trunk, capacity, users in (("acme", KPN, 16, 30), ("globex", KPN2, 8, 10)):
        shown = status["tenants"][tenant]
        truth = [line for line in office.asterisk.exchange.lines if line.endpoint == trunk]
        up = [line for line in truth if line.end is None]
        assert set(shown["levels"]) == set(LEVELS)
        for level in LEVELS:
            assert set(shown["levels"][level]) == {"now", "peak", "peak_at"}
            assert shown["levels"][level]["now"] == true_peaks(up)[level]
            assert shown["levels"][level]["peak"] == true_peaks(truth)[level]
            first = iso(min(line.start for line in truth))
            assert first <= shown["levels"][level]["peak_at"] <= status["at"]
        assert (shown["capacity"], shown["users"]) == (capacity, users)
        seen = shown["coverage"]
        assert 0 < seen["observed_ms"] < seen["expected_ms"]  # the month began before the agent did
    pbx = status["pbxs"]["pbx1"]
    assert (pbx["link"], pbx["missed_starts"], pbx["missed_hangups"], pbx["unclassified"]) == ("up", 0, 0, 0)
    assert pbx["snapshots"] >= 1
    assert {"waiting", "parked"} == set(status["outbox"])
    assert status["outbox"]["parked"] == 0
    assert status["trouble"] == []
    assert people.code == 0
    assert "acme" in people.out


async def test_recompute(office):
    """`recompute` folds the ledger alone and says what the live figures say."""
    status = await office.status()
    found = (await office.meter("recompute", "--json")).json

    for tenant, shown in status["tenants"].items():
        content = found[tenant]["content"]
        for level, live in shown["levels"].items():
            assert content["levels"][level]["peak"] == live["peak"]
            assert content["levels"][level]["peak_at"] == live["peak_at"]
    traffic = {tenant: found[tenant]["content"]["traffic"] for tenant in found}
    assert (traffic["acme"]["in"]["legs"], traffic["acme"]["in"]["answered"]) == (6, 4)
    assert (traffic["acme"]["out"]["legs"], traffic["acme"]["out"]["answered"]) == (1, 1)
    assert (traffic["globex"]["out"]["legs"], traffic["globex"]["out"]["answered"]) == (3, 1)


async def test_records(office):
    """The first interims are sealed, counted, receipted and listed on both sides; `verify` proves what `export` wrote."""
    rows = await office.settled()
    month = iso(office.now())[:7]
    assert {f"{tenant}/{month}/interim/1" for tenant in ("acme", "globex")} <= {row[2] for row in rows}
    assert {row[5] for row in rows} == {"counted"}
    assert office.taken() == rows

    file = office.folder / "records.jws"
    listed, booked, exported, shown = await asyncio.gather(
        office.meter("summaries", "--all", "--json"),
        office.provider("summaries", "--json"),
        office.meter("export", "--output", str(file)),
        office.meter("keys", "show"),
    )
    assert [(row["sequence"], row["id"], row["status"]) for row in listed.rows] == [
        (row[1], row[2], row[5]) for row in rows
    ]
    books = {row["tenant"]: row for row in booked.rows}
    for tenant, trunk in (("acme", KPN), ("globex", KPN2)):
        truth = true_peaks(line for line in office.asterisk.exchange.lines if line.endpoint == trunk)
        row = books[tenant]
        assert {level: row[f"peak_{level}"] for level in LEVELS} == truth
        assert row["state"] == "open"

    assert exported.code == 0
    assert file.read_text().split() == [row[4] for row in rows]
    proved = await office.meter("verify", str(file), "--key", shown.out.splitlines()[0])
    assert proved.code == 0
    assert f"numbers 1 to {len(rows)} are complete from the very first" in proved.out


async def test_secrets_stay_secret(office):
    """`keys show` prints the public key only, no log holds a secret, and nobody else can open a file of the state."""
    said = await office.meter("keys", "show")
    private = json.loads((office.state / "signing-key.json").read_text())
    assert said.code == 0
    assert private["x"] in said.out
    assert "thumbprint" in said.out

    texts = [
        said.out,
        said.err,
        (office.folder / "agent.log").read_text(),
        (office.folder / "provider.log").read_text(),
    ]
    secrets = [private["d"], (office.folder / "ami-secret").read_text(), "+4420"]
    assert [secret for secret in secrets for text in texts if secret in text] == []
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in office.state.iterdir()}
    assert {"meter.db", "signing-key.json", "lock", "agent.sock"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077 and name != "agent.sock"} == {}
    assert not modes["agent.sock"] & 0o007


async def test_a_second_agent(office):
    """A second agent on the same state directory says so and ends with 74; the first goes on."""
    said = await office.meter("run")

    assert said.code == 74
    assert "another agent uses" in said.err
    assert "Traceback" not in said.err
    assert office.agent.runs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopping(office, number):
    """SIGTERM and SIGINT end the agent within 3 s with exit code 0, after a last commit."""
    before = await office.status()
    (new,) = ring(office)
    code = await office.agent.stop(number, within_s=3)

    assert code == 0, office.logged()
    leg = new.caller.uniqueid
    assert office.stored("SELECT leg, ended FROM legs WHERE leg = ?", leg) == [(leg, None)]
    assert "Traceback" not in (office.folder / "agent.log").read_text()
    nobody = await office.meter("status")
    assert nobody.code == 69
    assert "pbx-meter run" in nobody.err
    await office.run()
    up = before["tenants"]["acme"]["levels"]["channels"]["now"] + 1
    shown = await office.level(up)  # calls that are up count on
    assert shown["tenants"]["acme"]["levels"]["channels"]["peak"] == 7
    hang_up(new)
    await office.level(up - 1)
