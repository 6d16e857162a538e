"""The record's form: what is countable, and every sort of thing that is not."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from meter import schema
from meter.model import Cause, Direction, Level
from meter.schema import Uncountable, canonical_bytes, place, validate
from meter.statement import Capacity, CoverageGap, EvidenceLeg

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def final() -> dict:
    return json.loads((GOLDEN / "final.json").read_text())


def at(record: dict, path: str) -> tuple[dict, str]:
    *way, name = path.split("/")
    for step in way:
        record = record[int(step)] if isinstance(record, list) else record[step]
    return record, name


def changed(record: dict, path: str, value: object) -> bytes:
    record = copy.deepcopy(record)
    holder, name = at(record, path)
    holder[int(name) if isinstance(holder, list) else name] = value
    return json.dumps(record).encode()


def test_fields_may_be_added(final):
    """A field that this version does not know is ignored, wherever it stands."""
    for path in ("later", "data/later", "data/levels/channels/later", "data/coverage/gaps/list/0/later"):
        assert validate(changed(final, path, {"any": [1, "two", None]})).id == final["id"]


def test_every_field_is_needed(final):
    """No field of version 1 may be missing (only `source` and a poll's interval may)."""

    def paths(value: object, way: str) -> list[str]:
        if not isinstance(value, dict):
            return []
        return [
            path for name, inner in value.items() for path in (f"{way}{name}", *paths(inner, f"{way}{name}/"))
        ]

    free = ("time_at_level_ms/", "daily_peaks/", "percentiles/", "pbxs/pbx1", "sampling/pbx1", "data/source")
    needed = [path for path in paths(final, "") if not any(word in path for word in free)]
    assert len(needed) > 80

    for path in needed:
        record = copy.deepcopy(final)
        holder, name = at(record, path)
        del holder[name]
        with pytest.raises(Uncountable):
            validate(canonical_bytes(record))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data/sequence", 0),
        ("data/sequence", -1),
        ("data/sequence", True),
        ("data/sequence", "721"),
        ("data/sequence", 721.0),
        ("data/sequence", 2**53),
        ("data/sequence", 10**400),
        ("data/levels/channels/peak", -1),
        ("data/levels/channels/peak", 17.5),
        ("data/levels/channels/lower_bound", 1),
        ("data/levels/channels/peak_at", "2026-11-12T09:31:07Z"),
        ("data/levels/channels/peak_at", "2026-11-12T09:31:07.412+01:00"),
        ("data/levels/channels/peak_at", "2026-02-30T09:31:07.412Z"),
        ("data/levels/channels/peak_at", 1795286668000),
        ("data/levels/channels/peak_source", "guessed"),
        ("data/levels/channels/time_at_level_ms", {"0": 1, "01": 2591879999}),
        ("data/levels/channels/daily_peaks", {"2026-11-31": 3}),
        ("data/capacity/basis", "minutes"),
        ("data/coverage/gaps/list/0/cause", "bad_weather"),
        ("data/previous_sha256", "E" * 64),
        ("data/previous_sha256", "e" * 63),
        ("data/previous_sha256", None),
        ("data/tenant_previous_sha256", None),
        ("data/tenant_sequence", None),
        ("data/tenant/name", "ACME\u0000"),
        ("data/tenant/name", "x" * 201),
        ("data/tenant/id", "a/b"),
        ("data/definition", "pbx-meter/2"),
        ("data/chain/id", ""),
        ("specversion", "0.3"),
        ("type", "pbx-meter.usage-summary.v2"),
        ("type", None),
        ("source", "/agents/ams-02"),
        ("subject", "globex"),
        ("id", "acme/2026-11/final/2"),
        ("time", "yesterday"),
        ("later", 0.5),
        ("data/later", float("nan")),
        ("data/later", "\ud800"),
        ("data/later", 2**53),
    ],
)
def test_a_wrong_value_is_uncountable(final, path, value):
    """A value of another form is refused, in known fields and, where it can't be exact, in unknown ones."""
    with pytest.raises(Uncountable):
        validate(changed(final, path, value))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data/coverage/observed_ms": 1}, "observed time and gaps"),
        ({"data/levels/calls/time_at_level_ms/0": 5}, "time at level"),
        ({"data/levels/calls/peak": 0}, "peak"),
        ({"data/as_of": "2026-11-30T22:00:00.000Z"}, "as of"),
        ({"data/period/end": "2026-10-31T23:00:00.000Z"}, "ends before"),
        ({"data/revision": 2}, "revision 1"),
        ({"data/replaces": {"id": "x", "sha256": "0" * 64}}, "only a correction"),
        ({"data/kind": "correction"}, "a correction says"),
        ({"data/kind": "interim", "data/as_of": "2026-12-01T00:00:00.000Z"}, "instant of its period"),
    ],
)
def test_a_record_that_contradicts_itself_is_uncountable(final, changes, reason):
    """Sums that do not add up and kinds that do not fit are refused, with a reason."""
    for path, value in changes.items():
        holder, name = at(final, path)
        holder[name] = value

    with pytest.raises(Uncountable, match=reason):
        validate(canonical_bytes(final))


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("data/levels/channels/evidence/legs", 200),
        ("data/capacity/overruns/worst", 100),
        ("data/capacity/history", 100),
        ("data/coverage/gaps/list", 100),
        ("data/unclassified/endpoints", 100),
    ],
)
def test_lists_are_bounded(final, path, most):
    """A list holds at most 100 entries beside its total, evidence 200."""
    holder, name = at(final, path)
    entry = (holder[name] or ["PJSIP/other"])[0]

    validate(changed(final, path, [entry] * most))
    with pytest.raises(Uncountable):
        validate(changed(final, path, [entry] * (most + 1)))


def test_a_record_is_bounded(final):
    """A record of more than 256 KiB is uncountable, one of 256 KiB is not."""
    room = schema.MAX_RECORD_BYTES - len(canonical_bytes(final | {"later": ""}))

    validate(canonical_bytes(final | {"later": "x" * room}))
    with pytest.raises(Uncountable, match="256 KiB"):
        validate(canonical_bytes(final | {"later": "x" * (room + 1)}))


@pytest.mark.parametrize(
    ("said", "put", "why"),
    [
        (b'"revision":1', b'"revision":1,"revision":1', "twice"),
        (b'"revision":1', b'"revision":1.0', "not an integer"),
        (b'"revision":1', b'"revision":NaN', "not an integer"),
        (b'"revision":1', b'"revision":9007199254740992', "beyond"),
        (b'"ACME', b'"\\ud800ACME', "not UTF-8"),
    ],
)
def test_what_two_readers_read_differently_is_uncountable(final, said, put, why):
    """A good record in which one name stands twice, or one number or character is not exact, is refused for that alone."""
    good = canonical_bytes(final)
    assert said in good
    validate(good)

    with pytest.raises(Uncountable, match=why):
        validate(good.replace(said, put, 1))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"{}",
        b"[" * 200_000,
        b'{"type":["a"]}',
        b'{"a":1,"a":2}',
        b"1" * 5000,
    ],
)
def test_anything_else_is_uncountable(payload):
    """Any other bytes are refused with the one documented error, by both readers."""
    for read in (validate, place):
        with pytest.raises(Uncountable):
            read(payload)


def test_a_reason_quotes_no_value(final):
    """The reason names the field and not what stood in it: it is stored and shown."""
    with pytest.raises(Uncountable) as refused:
        validate(changed(final, "data/tenant/id", "secret/31612345678"))

    assert "data.tenant.id" in str(refused.value)
    assert "31612345678" not in str(refused.value)


def test_the_place_is_read_from_uncountable_content(final):
    """A record of an unknown kind, with floats, still shows its place in the chain."""
    final |= {"type": "pbx-meter.later.v1", "half": 0.5}
    final["data"]["chain"]["continues"] = {"chain": "c-1", "sequence": 9, "sha256": "a" * 64}

    found = place(json.dumps(final).encode())

    assert (found.agent, found.chain, found.sequence, found.id) == ("ams-01", "c-7f3a", 3, final["id"])
    assert found.previous_sha256 == final["data"]["previous_sha256"]
    assert found.continues == ("c-1", 9, "a" * 64)


@pytest.mark.parametrize(
    "runs",
    [
        [[1439, 0]],
        [[1440, 0], [1, 0]],
        [[0, 1], [1440, 0]],
        [[1440]],
        [[1440, 0, 0]],
        [[None, 0]],
        [[-1, 0], [1441, 0]],
    ],
)
def test_a_minute_series_covers_its_day(runs):
    """Runs that do not add up to the minutes of the day are refused."""
    series = json.loads((GOLDEN / "minute-series.json").read_text())
    series["data"]["minutes"]["calls"] = runs

    with pytest.raises(Uncountable):
        validate(canonical_bytes(series))


def test_a_day_with_25_hours_has_1500_minutes():
    """The day on which summer time ends is as long as its bounds say."""
    series = json.loads((GOLDEN / "minute-series.json").read_text())
    series["id"] = "acme/2026-10-25/minute-series/1"
    series["data"]["day"] |= {
        "name": "2026-10-25",
        "start": "2026-10-24T22:00:00.000Z",
        "end": "2026-10-25T23:00:00.000Z",
    }
    series["data"]["minutes"] = {level: [[1, minute % 2] for minute in range(1500)] for level in Level}

    assert validate(canonical_bytes(series)).subject == "acme"


def test_the_words_are_the_meters():
    """Causes, directions and levels of the schema are those of meter.model."""
    causes = CoverageGap.model_json_schema()["properties"]["cause"]["enum"]
    directions = EvidenceLeg.model_json_schema()["properties"]["direction"]["enum"]
    bases = Capacity.model_json_schema()["properties"]["basis"]["enum"]

    assert causes == list(Cause)
    assert directions == list(Direction)
    assert bases == list(Level)
