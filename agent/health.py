"""What the agent knows of its own machine: whether the clock is kept right."""

from __future__ import annotations

import ctypes
from typing import Final

# struct timex of adjtimex(2): `modes` first, `status` after four longs.
_SIZE: Final = 512
_STATUS_AT: Final = 8 + 4 * ctypes.sizeof(ctypes.c_long)
_UNSYNCHRONISED: Final = 0x0040
_TIME_ERROR: Final = 5


def clock_is_synchronised() -> bool | None:
    """Return whether the kernel's clock is kept by NTP or the like; None: it does not say."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(_SIZE)  # modes = 0: only asks
        state = libc.adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, _STATUS_AT).value
    return state != _TIME_ERROR and not status & _UNSYNCHRONISED
