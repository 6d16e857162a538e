"""An agent beside the test PBX: its configuration, and what it must have counted by the wire's account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from config.load import load
from config.model import Config
from tests.asterisk import wire as wires
from tests.asterisk.configuration import DID, TENANTS
from tests.asterisk.instance import Instance
from tests.asterisk.network import Placed
from tests.asterisk.wire import Interval, WireLeg

_HEAD = """\
[agent]
id = "test-01"
state_dir = "{home}/state"
timezone = "Europe/Amsterdam"
period = "{period}"
grace = "0s"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "{host}"
port = {port}
username = "{account}"
secret_file = "{home}/secret"
trunks = ["PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared"]
extensions = "^1[0-9]{{2}}$"
snapshot_every = "30s"
"""

_TENANT = """
[[tenant]]
id = "{name}"
match = {{ trunks = ["PJSIP/{trunk}"], accounts = ["{name}"], contexts = ["{name}-phones"], dids = ["{did}*"], extensions = "^{phones}[0-9]$" }}
capacity = {capacity}
packages = [4, 8, 16, 24, 32, 48]
alerts = ["noc@partner.example"]
"""


def configured(
    instance: Instance,
    home: Path,
    *,
    account: str = "meter",
    period: str = "5min",
    capacity: int = 4,
    smtp_port: int | None = None,
    upstream: str | None = None,
) -> Path:
    """Write a configuration for an agent that follows `instance`; return its file."""
    home.mkdir(parents=True, exist_ok=True)
    secret = home / "secret"
    secret.touch(0o600)
    secret.write_text(instance.accounts[account].secret)
    text = _HEAD.format(home=home, host=instance.host, port=instance.ami_port, account=account, period=period)
    for tenant in TENANTS.values():
        text += _TENANT.format(
            name=tenant.name,
            trunk=tenant.trunk,
            did=f"{DID}{tenant.digit}",
            phones=tenant.phones,
            capacity=capacity,
        )
    if smtp_port is not None:
        text += f'\n[smtp]\nhost = "127.0.0.1"\nport = {smtp_port}\nsender = "meter@partner.example"\n'
    else:
        text = text.replace('alerts = ["noc@partner.example"]\n', "")
    if upstream is not None:
        text += f'\n[upstream]\nurl = "{upstream}"\ninterim = "5s"\n'
    file = home / "pbx-meter.toml"
    file.write_text(text)
    return file


def loaded(file: Path) -> Config:
    """Load a configuration."""
    return load(file)


def levels(legs: Iterable[WireLeg], merges: Sequence[tuple[int, int, int]]) -> dict[str, list[Interval]]:
    """Return what the wire counts on each level, for the legs of one tenant."""
    mine = list(legs)
    return {
        "channels": wires.channels(mine),
        "calls": wires.calls(mine, merges),
        "answered": wires.calls(mine, merges, answered=True),
    }


def compare(placed: Placed, seen: list[WireLeg], content: dict[str, dict[str, Any]]) -> list[str]:
    """Compare what a record states with the wire: peaks of all levels, legs, answered seconds.

    Args:
        placed: The calls.
        seen: Every trunk leg on the wire.
        content: Each tenant's record content.

    Returns:
        One line a figure, for the reader of a test's output.

    Raises:
        AssertionError: A figure is not the wire's.
    """
    lines = []
    for tenant, stated in content.items():
        mine = [leg for leg in seen if placed.tenant(leg) == tenant]
        for level, spans in levels(mine, placed.merges).items():
            low, high = wires.peak_bounds(spans)
            peak = stated["levels"][level]["peak"]
            lines.append(f"{tenant} {level}: peak {peak}, wire {low}..{high}")
            assert low <= peak <= high, lines[-1]
        traffic = stated["traffic"]
        for way in ("in", "out"):
            there = [leg for leg in mine if leg.direction == way]
            answered = [leg for leg in there if leg.answer_ms is not None]
            wire_ms = wires.answered_ms(answered)
            found = traffic[way]
            lines.append(
                f"{tenant} {way}: {found['legs']} legs, {found['answered']} answered, "
                f"{found['answered_ms']} ms; wire {len(there)}, {len(answered)}, {wire_ms} ms"
            )
            assert (found["legs"], found["answered"]) == (len(there), len(answered)), lines[-1]
            assert abs(found["answered_ms"] - wire_ms) <= wire_ms / 100, lines[-1]
        assert traffic["unknown"]["legs"] == 0
    return lines
