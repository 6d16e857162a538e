"""The agent as a service of a real systemd: it is started, killed, hung and misconfigured."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest

from tests.systemd import installed
from tests.systemd.machine import Machine

pytestmark = [pytest.mark.systemd, pytest.mark.soak, pytest.mark.timeout(600)]

UNIT = "pbx-meter.service"
MB = 1_000_000


def pid(agent: Machine) -> int:
    return int(agent.shows(UNIT, "MainPID")["MainPID"])


def restarted(agent: Machine, before: int, within_s: float) -> float:
    """Wait until another agent follows the PBX, and return how long that took."""

    def again() -> bool:
        return pid(agent) not in (0, before) and installed.follows(agent)

    return agent.until(again, within_s=within_s, what="another agent follows the PBX")


def test_ready_means_that_it_turns(agent: Machine) -> None:
    """`systemctl start` comes back when the loops turn and the socket answers, within ten seconds."""
    agent.run("systemctl", "restart", "pbx-meter")
    times = agent.shows(
        UNIT, "ActiveState", "Type", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"
    )
    took_s = (
        int(times["ActiveEnterTimestampMonotonic"]) - int(times["ExecMainStartTimestampMonotonic"])
    ) / 1e6
    print(f"start: {took_s:.2f} s")

    assert (times["ActiveState"], times["Type"]) == ("active", "notify")
    assert installed.status(agent) is not None
    assert took_s < 10
    agent.until(lambda: installed.follows(agent), what="the PBX is followed")


def test_it_says_how_it_does(agent: Machine) -> None:
    """`systemctl status` shows in words whether the PBX is followed."""
    agent.until(
        lambda: agent.shows(UNIT, "StatusText")["StatusText"] == "1 of 1 PBX links up", what="its status"
    )


def test_killed_it_comes_back(agent: Machine) -> None:
    """Killed with -9 it follows the PBX again within ten seconds, and its chain goes on."""
    agent.until(lambda: bool(installed.records(agent)), what="a sealed record")
    before, sealed = pid(agent), installed.records(agent)

    agent.run("systemctl", "kill", "--signal=KILL", "pbx-meter")
    took_s = restarted(agent, before, within_s=10)

    print(f"after kill -9: {took_s:.1f} s")
    assert installed.records(agent)[: len(sealed)] == sealed


def test_the_watchdog_bites(agent: Machine) -> None:
    """An agent that hangs is not fed for: systemd kills it and starts another one."""
    assert agent.shows(UNIT, "WatchdogUSec")["WatchdogUSec"] == "30s"
    drop_in = "/run/systemd/system/pbx-meter.service.d/sooner.conf"
    agent.put(drop_in, "[Service]\nWatchdogSec=4s\n")
    agent.run("systemctl", "daemon-reload")
    agent.run("systemctl", "restart", "pbx-meter")
    before = pid(agent)
    # Fed: three times the interval pass, and it is the same agent.
    fed_until = time.monotonic() + 12
    agent.until(lambda: time.monotonic() > fed_until or pid(agent) != before, what="three intervals")
    assert pid(agent) == before

    agent.run("systemctl", "kill", "--signal=STOP", "pbx-meter")
    took_s = restarted(agent, before, within_s=25)

    print(f"after SIGSTOP, with a watchdog of 4 s: {took_s:.1f} s")
    assert "Watchdog timeout" in agent.run("journalctl", "--unit=pbx-meter", "--no-pager")
    agent.run("rm", drop_in)
    agent.run("systemctl", "daemon-reload")
    agent.run("systemctl", "restart", "pbx-meter")
    agent.until(lambda: installed.follows(agent), what="the PBX is followed")


def test_a_wrong_configuration_is_not_tried_again(agent: Machine) -> None:
    """A configuration that is wrong ends the service with 78; mended and started, it works."""
    agent.put("/etc/pbx-meter/config.toml", installed.CONFIG + "\ntypo = 1\n", mode="640", group="pbx-meter")

    code, _ = agent.attempt("systemctl", "restart", "pbx-meter")
    shown = agent.shows(UNIT, "ActiveState", "ExecMainStatus")

    assert (code != 0, shown) == (True, {"ActiveState": "failed", "ExecMainStatus": "78"})
    agent.put("/etc/pbx-meter/config.toml", installed.CONFIG, mode="640", group="pbx-meter")
    agent.run("systemctl", "start", "pbx-meter")
    agent.until(lambda: installed.follows(agent), what="the PBX is followed")


def test_the_journal_has_fields(agent: Machine) -> None:
    """What the agent logs can be asked for by event, level and PBX."""
    asked = ["PBX_METER_EVENT=link.up", "PBX_METER_PBX=pbx1", "PRIORITY=6"]
    said = agent.run("journalctl", "--unit=pbx-meter", "--no-pager", "--output=json", "--lines=1", *asked)

    assert json.loads(said)["MESSAGE"] == "link.up pbx=pbx1"


def test_it_is_shut_in(agent: Machine) -> None:
    """What systemd itself judges that the service could do to the machine is 1.5 of 10 at most."""
    said = agent.run("systemd-analyze", "security", "--no-pager", "--threshold=15", UNIT)
    print(said.splitlines()[-1])


def test_it_runs_as_its_own_user(agent: Machine) -> None:
    """It is pbx-meter's, without any capability, and may gain none."""
    lines = agent.run("cat", f"/proc/{pid(agent)}/status").splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    uid = agent.run("id", "-u", "pbx-meter").strip()

    assert set(found["Uid"].split()) == {uid}
    assert {found[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {""}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_nobody_else_reads_secrets(agent: Machine) -> None:
    """The PBX's secret is root's file; the agent logs in with systemd's copy of it."""
    assert agent.run("stat", "-c", "%U %a", "/etc/pbx-meter/secrets/ami-secret") == "root 600\n"
    assert (
        agent.attempt(
            "setpriv", "--reuid=pbx-meter", "--clear-groups", "cat", "/etc/pbx-meter/secrets/ami-secret"
        )[0]
        != 0
    )
    assert installed.follows(agent)


def test_it_listens_nowhere_but_on_loopback(agent: Machine) -> None:
    """No port of the agent's can be reached from another machine."""
    uid = agent.run("id", "-u", "pbx-meter").strip()
    tables = agent.run("cat", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6")
    rows = [row.split() for row in tables.splitlines() if ":" in row.partition(" ")[2]]
    ours = [row[1] for row in rows if len(row) > 7 and row[7] == uid and row[3] in ("0A", "07")]
    loopback = re.compile(r"0100007F:|0{24}01000000:")

    assert [address for address in ours if not loopback.match(address)] == []


def test_it_asks_the_kernel_for_the_clock(agent: Machine) -> None:
    """Shut in as it is, it still learns whether the clock is kept right: records say true or false, not unknown."""
    agent.until(lambda: bool(installed.records(agent)), what="a sealed record")
    payload = agent.run("pbx-meter", "export").splitlines()[0].split(".")[1]
    record = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert record["data"]["clock"]["synchronised"] in (True, False)


def test_memory_at_rest(agent: Machine) -> None:
    """Beside one PBX it takes 80 MB at most, with what it shares with others; more only under calls (tests/asterisk)."""
    agent.until(lambda: bool(installed.records(agent)), what="a sealed record")
    lines = agent.run("cat", f"/proc/{pid(agent)}/smaps_rollup").splitlines()[1:]
    held = {line.split(":")[0]: int(line.split()[1]) * 1024 / MB for line in lines}
    own = held["Private_Clean"] + held["Private_Dirty"]
    shown = agent.shows(UNIT, "MemoryMax")
    system = agent.run("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME").strip()
    print(f"{system}, at rest: Rss {held['Rss']:.1f} MB, Pss {held['Pss']:.1f} MB, Uss {own:.1f} MB")

    assert held["Rss"] <= 80
    assert shown["MemoryMax"] == str(512 * 1024 * 1024)


def test_what_root_types_stays_the_agents(agent: Machine) -> None:
    """Commands that root types leave no file in the state directory that the agent can't write."""
    agent.run("pbx-meter", "summaries", "--all")
    agent.run("pbx-meter", "keys", "change")
    agent.run("systemctl", "stop", "pbx-meter")
    agent.run("pbx-meter", "recompute")
    agent.run("pbx-meter", "keys", "show")

    assert agent.run("find", "/var/lib/pbx-meter", "!", "-user", "pbx-meter") == ""
    agent.run("systemctl", "start", "pbx-meter")
    agent.until(lambda: installed.follows(agent), what="the PBX is followed")


def test_reload_has_no_gap(agent: Machine) -> None:
    """`systemctl reload` lets a new configuration hold, in the same process and without a gap; a wrong one is refused."""
    before = pid(agent)
    agent.until(lambda: installed.follows(agent), what="the PBX is followed")
    seen = installed.status(agent)
    written = agent.run("cat", "/etc/pbx-meter/config.toml")
    config = "/etc/pbx-meter/config.toml"

    agent.put(config, written.replace("capacity = 8", "capacity = 5"), mode="640", group="pbx-meter")
    began = time.monotonic()
    code, _ = agent.attempt("systemctl", "reload", "pbx-meter")
    assert code == 0, agent.run("journalctl", "-u", "pbx-meter", "-n", "20", "--no-pager")
    print(f"reload: {time.monotonic() - began:.2f} s")
    found = installed.status(agent)
    assert found is not None
    assert seen is not None
    assert found["tenants"]["acme"]["capacity"] == 5
    assert found["pbxs"]["pbx1"]["observed"]
    assert found["pbxs"]["pbx1"]["day"]["observed_ms"] >= seen["pbxs"]["pbx1"]["day"]["observed_ms"]
    assert pid(agent) == before

    agent.put(config, written + "\n[nonsense]\n", mode="640", group="pbx-meter")
    code, _ = agent.attempt("systemctl", "reload", "pbx-meter")
    assert code != 0
    assert "nonsense" in agent.run("journalctl", "-u", "pbx-meter", "-n", "20")
    again = installed.status(agent)
    assert again is not None
    assert again["tenants"]["acme"]["capacity"] == 5

    agent.put(config, written, mode="640", group="pbx-meter")
    agent.run("systemctl", "reload", "pbx-meter")
    assert pid(agent) == before
