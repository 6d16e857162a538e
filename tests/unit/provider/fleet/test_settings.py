"""What the operator may write about the fleet."""

from __future__ import annotations

from datetime import time
from zoneinfo import ZoneInfo

import pytest

from config.problems import ConfigError
from provider.fleet.looking import Limits
from provider.settings import Settings, load

MAIL = """
[smtp]
host = "127.0.0.1"
sender = "meter@provider.example"
tls = "none"

[operator]
email = ["ops@provider.example"]
language = "it"
"""


def test_nothing_written():
    """Without settings the limits are those of the code, and nobody is mailed."""
    assert Settings().fleet.limits == Limits()
    assert Settings().fleet_reader is None


def test_everything_written(tmp_path):
    """Each figure arrives where it is meant."""
    file = tmp_path / "provider.toml"
    file.write_text(
        MAIL
        + '[month]\ntimezone = "Europe/Rome"\n[brand]\nname = "Nord"\nsender = "nord@provider.example"\n'
        + '[fleet]\nat = "08:15"\nsilent_after = 5\ncoverage = 95\nwarn_at = 90\nversion_at_least = "0.2"\nkey_days = 30\n'
    )
    settings = load(file, {})
    reader = settings.fleet_reader

    assert settings.fleet.limits == Limits(5, 95, 90, "0.2", 30)
    assert (reader.at, reader.tz, reader.language) == (time(8, 15), ZoneInfo("Europe/Rome"), "it")
    assert reader.addresses == ("ops@provider.example",)
    assert (reader.sender, reader.brand.name) == ("nord@provider.example", "Nord")


@pytest.mark.parametrize(
    "line",
    [
        'at = "8"',
        "silent_after = 1",
        "coverage = 101",
        "coverage = 99.5",
        "warn_at = 0",
        'version_at_least = "newest"',
        "key_days = 0",
        "silent = 3",
    ],
)
def test_what_can_not_be_meant(tmp_path, line):
    """A wrong value or an unknown key is named with its section."""
    file = tmp_path / "provider.toml"
    file.write_text(f"{MAIL}[fleet]\n{line}\n")

    with pytest.raises(ConfigError) as refused:
        load(file, {})

    assert f"fleet.{line.split(' ')[0]}" in str(refused.value)
