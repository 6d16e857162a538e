"""Every measurement runs, at sizes of a few seconds: what it would say is not looked at, timings fail nothing."""

import json
import os

import pytest

from bench import __main__ as bench
from bench import figures, page, unharmed
from bench.figures import Figure, Scale
from tests.asterisk import roots

#: They take minutes of two cores: with `make soak`, until they are short.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SMALL = Scale(0.002)
ON_ASTERISK = {"whole_agent", "unharmed"}


@pytest.mark.parametrize("name", [name for name in bench.NAMES if name not in ON_ASTERISK])
def test_a_measurement_runs(name: str) -> None:
    """Each measurement gives figures, and each of its bars has a value to be held against."""
    found = bench.measure(name, SMALL)

    assert found
    assert all(one.value is not None for one in found)
    assert any(one.met is not None for one in found)


@pytest.mark.asterisk
@pytest.mark.parametrize("name", sorted(ON_ASTERISK))
def test_a_measurement_on_a_real_asterisk_runs(name: str) -> None:
    """Likewise those with real calls; without an Asterisk they say what is missing."""
    lacks = roots.missing()
    if lacks and os.environ.get("CI") == "true":
        pytest.fail(f"no real Asterisk: {'; '.join(lacks)}")

    found = bench.measure(name, SMALL)

    assert found
    assert all((one.value is None) == bool(lacks) for one in found)


def test_results_come_back_as_they_were_written() -> None:
    """What results.json holds is what was measured; the page names what fell short with its reason."""
    short = Figure("a leg", 130.0, "bytes", "how", ("<=", 120), "because")
    met = Figure("a month", 4.5, "MB", bar=("<=", 5))
    run = {
        "at": "2026-11-22T04:00:00.000Z",
        "machine": figures.machine(),
        "figures": [short.plain(), met.plain()],
    }
    kept = json.loads(json.dumps({"storage": run}))

    assert [figures.from_plain(one) for one in kept["storage"]["figures"]] == [short, met]
    text = page.page(kept)
    assert "| a leg | 130 bytes | <= 120 bytes | **not met** | how |" in text
    assert "- storage, a leg: 130 bytes, must be <= 120 bytes. because" in text
    assert "- storage, a month" not in text


def test_bars_and_percentiles() -> None:
    """A bar binds its own way, no bar is neither met nor missed, and percentiles are by nearest rank."""
    assert Figure("x", 15, "", bar=(">=", 15)).met
    assert Figure("x", 14.9, "", bar=(">=", 15)).met is False
    assert Figure("x", 1, "").met is None
    assert Figure("x", None, "", bar=("<=", 1)).met is None
    assert figures.nearest_rank([3, 1, 2, 4], 50) == 2
    assert figures.nearest_rank(range(1, 101), 99) == 99
    assert figures.nearest_rank([7], 99) == 7


def test_the_judgement_of_noise() -> None:
    """Equal blocks are noise; blocks that are all slower by the same are not."""
    assert unharmed.chance([0.0] * 9) == 1
    assert unharmed.chance([1.0, -1.0, 0.5, -0.5, 0.2, -0.2]) > 0.5
    assert unharmed.chance([1.0] * 9) < 0.05


def test_an_unknown_measurement_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is no measurement's is told, with those that there are."""
    monkeypatch.setattr("sys.argv", ["bench", "weather"])
    with pytest.raises(SystemExit) as refused:
        bench.main()

    assert refused.value.code == 2
    assert "no such measurement: weather; there are decoding" in capsys.readouterr().err
