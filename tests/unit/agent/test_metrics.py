"""What Prometheus reads: conventions held, nothing invented where nothing is known."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import app, metrics
from agent.metrics import Family
from tests.unit.agent.conftest import Awake, Configure, Office

DEPLOY = Path(__file__).parents[3] / "deploy"
MB = 1_000_000
SAMPLE = re.compile(
    r'([a-z_]+)(?:\{([a-z]+="[^"\\\n]*"(?:,[a-z]+="[^"\\\n]*")*)\})? (-?[0-9.]+(?:e[-+][0-9]+)?)'
)
#: What `promtool check metrics` complains of: other units than base units, types and "metric" in names.
UNLIKELY = re.compile(
    r"(milli|micro|minutes|hours|days|percent|kilo|mega|gauge|counter|_ms|_count|_sum|_bucket)"
)


async def said(parts: app.Agent, tmp_path: Path) -> str:
    found = await parts.status.read(parts.clock.now())
    return metrics.text(found, 0, synchronised=lambda: None, state_dir=tmp_path)


def promtool(*check: str, text: str = "") -> tuple[int, str, str]:
    """Return how a check of promtool ended, and what it said; without promtool the test is skipped, in CI it fails."""
    if shutil.which("promtool") is None:
        sentence = "no promtool (Debian: it is in the package prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    said = subprocess.run(
        ["promtool", "check", *check], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    return said.returncode, said.stdout, said.stderr


def values(text: str) -> dict[str, float]:
    """Return each sample's value by its whole name; every line that is no comment is one sample."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    matches = [SAMPLE.fullmatch(line) for line in lines]
    assert None not in matches, lines[matches.index(None)]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_names_follow_the_conventions(
    awake: Awake, office: Callable[..., Office], tmp_path: Path
) -> None:
    """Base units, `_total` for counters and only for them, HELP and TYPE before the samples, no name twice."""
    async with awake() as parts:
        office(parts).snapshot()
        text = await said(parts, tmp_path)

    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert len(kinds) == text.count("# TYPE ") == text.count("# HELP ") > 25
    for name, kind in kinds.items():
        assert re.fullmatch(r"(pbx_meter|process)_[a-z_]+", name)
        assert not UNLIKELY.search(name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert re.search(rf"^# HELP {name} [A-Z].*\.\n# TYPE {name} {kind}\n{name}[ {{]", text, re.MULTILINE)
    assert {SAMPLE.fullmatch(name + " 1")[1] for name in values(text)} == set(kinds)  # type: ignore[index]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return found


def queries() -> list[str]:
    """Return every expression that the dashboard asks Prometheus for."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


async def test_promtool_has_nothing_to_say(
    awake: Awake, office: Callable[..., Office], tmp_path: Path
) -> None:
    """Prometheus' own linter takes the metrics and the alert rules as they are."""
    async with awake() as parts:
        office(parts).snapshot()
        text = await said(parts, tmp_path)

    assert promtool("metrics", text=text) == (0, "", "")
    assert promtool("rules", str(DEPLOY / "prometheus-alerts.yml"))[0] == 0


def test_every_query_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """Prometheus takes each expression of the dashboard, with a tenant in the place of its variable."""
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$tenant", "acme")}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML

    code, said, complaint = promtool("rules", str(file))

    assert code == 0, complaint
    assert f"{len(rules)} rules found" in said


def test_a_panel_asks_the_data_source_that_is_chosen() -> None:
    """Each panel, query and variable names the dashboard's own data source; each variable that is used is there."""
    board = dashboard()
    variables = {one["name"]: one for one in board["templating"]["list"]}
    asking = [one for one in variables.values() if one["type"] == "query"] + board["panels"]
    asking += [target for panel in board["panels"] for target in panel["targets"]]

    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert {json.dumps(one["datasource"], sort_keys=True) for one in asking} == {
        json.dumps({"type": "prometheus", "uid": "${datasource}"})
    }
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all", "__rate_interval"}
    assert used == set(variables)


async def test_levels_are_those_of_now(awake: Awake, office: Callable[..., Office], tmp_path: Path) -> None:
    """Two calls over a capacity of two and one more: the level, the peak, the overrun and its length are told."""
    async with awake() as parts:
        pbx = office(parts)
        pbx.snapshot()
        legs = [pbx.call() for _ in range(3)]
        await pbx.live(5_000)
        pbx.hang_up(legs[0])
        found = values(await said(parts, tmp_path))

    assert found['pbx_meter_level{tenant="acme",level="channels"}'] == 2
    assert found['pbx_meter_billed_level{tenant="acme"}'] == 2
    assert found['pbx_meter_period_peak{tenant="acme",level="channels"}'] == 3
    assert found['pbx_meter_period_peak_timestamp_seconds{tenant="acme",level="channels"}'] == 1_794_475_867
    assert found['pbx_meter_capacity{tenant="acme"}'] == 2
    assert found['pbx_meter_period_overruns{tenant="acme"}'] == 1
    assert found['pbx_meter_period_over_capacity_seconds{tenant="acme"}'] == 5
    assert found['pbx_meter_pbx_observed{pbx="pbx1"}'] == 1
    assert 10 * MB < found["process_resident_memory_bytes"] < 1000 * MB


async def test_what_is_not_known_has_no_sample(awake: Awake, configure: Configure, tmp_path: Path) -> None:
    """Before the first snapshot there is no level, no peak and no user, and no zero that looks like one."""
    config = configure(tenants=['id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }'])
    async with awake(config) as parts:
        found = values(await said(parts, tmp_path))

    assert found['pbx_meter_pbx_observed{pbx="pbx1"}'] == found['pbx_meter_observed{tenant="acme"}'] == 0
    absent = (
        "level",
        "billed_level",
        "period_peak",
        "users",
        "capacity",
        "period_overruns",
        "clock_synchronised",
    )
    assert [name for name in found for each in absent if name.startswith(f"pbx_meter_{each}{{")] == []
    assert "pbx_meter_clock_synchronised" not in found


def test_a_label_can_not_break_out() -> None:
    """Quotes, backslashes and line ends in a label's text stay its text."""
    family = Family("level", "gauge", "About", (({"tenant": 'a"} 1\n\\'}, 1),))

    assert list(family.lines())[-1] == 'pbx_meter_level{tenant="a\\"} 1\\n\\\\"} 1'


@pytest.mark.parametrize("file", ["prometheus-alerts.yml", "grafana-dashboard.json"])
async def test_what_is_shipped_names_only_what_there_is(
    awake: Awake, office: Callable[..., Office], tmp_path: Path, file: str
) -> None:
    """Every metric that an alert or a panel asks for is one that the agent has told, with the labels it joins by."""
    async with awake() as parts:
        pbx = office(parts)
        pbx.snapshot()
        pbx.call()
        await pbx.live(1_000)
        status = await parts.status.read(parts.clock.now())
        status["tenants"]["acme"]["users"] = 42  # as after the first reading of the extensions
        text = metrics.text(status, 1, synchronised=lambda: True, state_dir=tmp_path)
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))

    content = (DEPLOY / file).read_text()
    asked = set(re.findall(r"\b(?:pbx_meter|process)_[a-z_]+", content))
    assert len(asked) > 8
    assert asked - told == set()
    if file.endswith(".json"):
        ids = [panel["id"] for panel in json.loads(content)["panels"]]
        assert len(ids) == len(set(ids)) > 10
