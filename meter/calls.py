"""The calls of one tenant that are up, and the three levels they make.

The live meter and the fold over the ledger count with this one class. Every
operation costs the same however many calls are up. Calls go by their current names:
who merges them remembers what became of the old ones.
"""

from __future__ import annotations

from typing import TypeAlias

#: A call's name: its PBX and the PBX's id of it.
CallKey: TypeAlias = tuple[str, str]


class Calls:
    """One tenant's trunk legs by call.

    Attributes:
        channels, calls, answered: The three levels now.
    """

    __slots__ = ("_up", "answered", "calls", "channels")

    def __init__(self) -> None:
        self.channels = 0
        self.calls = 0
        self.answered = 0
        self._up: dict[CallKey, list[int]] = {}  # legs up, of these answered

    def copy(self) -> Calls:
        """Return an independent copy."""
        twin = Calls()
        twin.channels, twin.calls, twin.answered = self.channels, self.calls, self.answered
        twin._up = {key: list(call) for key, call in self._up.items()}
        return twin

    def up(self, key: CallKey, *, answered: bool) -> None:
        """Count one more leg of a call."""
        call = self._up.get(key)
        if call is None:
            call = self._up[key] = [0, 0]
            self.calls += 1
        call[0] += 1
        self.channels += 1
        if answered:
            self.answer(key)

    def answer(self, key: CallKey) -> None:
        """Count one leg of a call as answered."""
        call = self._up[key]
        call[1] += 1
        if call[1] == 1:
            self.answered += 1

    def down(self, key: CallKey, *, answered: bool) -> None:
        """Count one leg of a call less; `answered` says whether it was counted as such."""
        call = self._up[key]
        call[0] -= 1
        self.channels -= 1
        if answered:
            call[1] -= 1
            if call[1] == 0:
                self.answered -= 1
        if call[0] == 0:
            self.calls -= 1
            del self._up[key]

    def merge(self, gone: CallKey, into: CallKey) -> None:
        """Make two calls one: the legs of `gone` are counted under `into` from here on."""
        old = self._up.pop(gone, None)
        if old is None:
            return
        call = self._up.get(into)
        if call is None:
            self._up[into] = old
            return
        self.calls -= 1
        if call[1] and old[1]:
            self.answered -= 1
        call[0] += old[0]
        call[1] += old[1]
