"""The provider's one clock."""

from __future__ import annotations

import time

from meter.model import Instant


def now() -> Instant:
    """Return the present instant."""
    return time.time_ns() // 1_000_000
