from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from meter.model import Level
from meter.notices import Notice, NoticeKind, Reason

AT = 1_794_475_867_412  # 2026-11-12T09:31:07.412Z, 10:31:07 in Amsterdam
OVER = Notice(
    id="ams-01/acme/2026-11/notice/3",
    kind=NoticeKind.OVER,
    reason=Reason.FIRST,
    agent="ams-01",
    tenant="acme",
    tenant_name="ACME B.V.",
    basis=Level.CHANNELS,
    level=17,
    capacity=16,
    at=AT,
    over_since=AT,
    episode_start=AT,
    episode_peak=17,
    period="2026-11",
    period_start=1_793_487_600_000,
    period_end=1_796_079_600_000,
    timezone="Europe/Amsterdam",
    peak=17,
    peak_at=AT,
    overruns=3,
    overruns_ms=102_000,
    package=24,
    packages=(4, 8, 16, 24, 32, 48),
    warn_at=90,
    incomplete=False,
)
KINDS: dict[str, dict[str, Any]] = {
    "over": {},
    "again": {
        "reason": Reason.REPEAT,
        "level": 19,
        "peak": 19,
        "episode_peak": 19,
        "episode_start": AT - 14_400_000,
        "over_since": AT - 754_000,
    },
    "warning": {
        "kind": NoticeKind.WARNING,
        "level": 15,
        "over_since": None,
        "episode_start": None,
        "episode_peak": None,
        "peak": 15,
        "overruns": 0,
        "overruns_ms": 0,
        "package": 16,
    },
    "ended": {
        "kind": NoticeKind.ENDED,
        "reason": Reason.EPISODE_ENDED,
        "level": 9,
        "over_since": None,
        "episode_start": AT - 10_800_000,
        "episode_peak": 19,
        "peak": 19,
    },
}


@pytest.fixture
def make_notice() -> Callable[..., Notice]:
    """Give a function that makes a notice of a sort (`over`, `again`, `warning`, `ended`), fields replaced."""

    def make(sort: str = "over", **fields: Any) -> Notice:
        return dataclasses.replace(OVER, **{**KINDS[sort], **fields})

    return make
