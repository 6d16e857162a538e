from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from delivery.payload import notice_payload
from meter.notices import Notice

MakeNotice = Callable[..., Notice]


def test_the_payload_of_a_notice_is_pinned(make_notice: MakeNotice) -> None:
    """Receivers build on these names and forms: a change here is a new type."""
    assert json.loads(notice_payload(make_notice("again"))) == {
        "type": "pbx-meter.notice.v1",
        "timestamp": "2026-11-12T09:31:07.412Z",
        "data": {
            "id": "ams-01/acme/2026-11/notice/3",
            "kind": "over",
            "reason": "repeat",
            "agent": "ams-01",
            "tenant": {"id": "acme", "name": "ACME B.V."},
            "basis": "channels",
            "level": 19,
            "capacity": 16,
            "over_by": 3,
            "at": "2026-11-12T09:31:07.412Z",
            "over_since": "2026-11-12T09:18:33.412Z",
            "episode": {"start": "2026-11-12T05:31:07.412Z", "peak": 19},
            "period": {
                "name": "2026-11",
                "start": "2026-10-31T23:00:00.000Z",
                "end": "2026-11-30T23:00:00.000Z",
                "timezone": "Europe/Amsterdam",
            },
            "peak": 19,
            "peak_at": "2026-11-12T09:31:07.412Z",
            "overruns": {"count": 3, "total_ms": 102000},
            "package": 24,
            "packages": [4, 8, 16, 24, 32, 48],
            "warn_at": 90,
            "incomplete": False,
        },
    }


def test_every_figure_of_a_notice_is_in_its_payload(make_notice: MakeNotice) -> None:
    """A field that is added to the notice can't be forgotten in the payload."""
    names = {
        "tenant_name": "tenant",
        "episode_start": "episode",
        "episode_peak": "episode",
        "period_start": "period",
        "period_end": "period",
        "timezone": "period",
        "overruns_ms": "overruns",
    }
    data = json.loads(notice_payload(make_notice()))["data"]
    for field in dataclasses.fields(Notice):
        assert names.get(field.name, field.name) in data


def test_what_is_not_known_is_null(make_notice: MakeNotice) -> None:
    """A receiver never has to tell nothing from zero."""
    notice = make_notice("warning", peak=None, peak_at=None, package=None, packages=())
    data = json.loads(notice_payload(notice))["data"]
    assert [data[name] for name in ("over_since", "episode", "peak", "peak_at", "package")] == [None] * 5
    assert data["over_by"] == 0
    assert data["packages"] == []


@pytest.mark.parametrize("sort", ["over", "again", "warning", "ended"])
def test_the_same_notice_gives_the_same_small_bytes(make_notice: MakeNotice, sort: str) -> None:
    """It is minified, well below the 20 kB that Standard Webhooks advises, and made the same again."""
    payload = notice_payload(make_notice(sort, tenant_name="Caffè €urøpa"))
    assert payload == notice_payload(make_notice(sort, tenant_name="Caffè €urøpa"))
    assert len(payload) < 2000
    assert b"\n" not in payload
    assert "Caffè €urøpa".encode() in payload
