"""Waiting for what has no signal of its own: a process's end, a packet on the wire, the last channel."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

_LOOK_AGAIN_S: Final = 0.02


async def until(holds: Callable[[], bool | Awaitable[bool]], *, within_s: float) -> None:
    """Return once `holds()` is true.

    Raises:
        TimeoutError: It is not within `within_s`.
    """
    async with asyncio.timeout(within_s):
        while True:
            found = holds()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)
