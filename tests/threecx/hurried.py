"""An event loop whose time is skipped while nothing happens: a day of timers passes in seconds, over real sockets."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: So long does a quiet moment last before time is skipped: what is on its way over loopback arrives in it.
_QUIET_S: Final = 0.001


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  # chosen when Python is built
    """Waits for real input a moment only, then lets the loop's time pass."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `selectors.BaseSelector.select`."""
        found = super().select(0)
        if found or timeout is None or timeout <= 0:
            return found or (super().select(timeout) if timeout is None else found)
        found = super().select(min(timeout, _QUIET_S))
        if not found:
            self.skipped_s += max(0.0, timeout - _QUIET_S)
        return found


class HurriedLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        """As the loop's own, and what was skipped."""
        return super().time() + self._waits.skipped_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in skipped time."""
    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        return runner.run(main)
