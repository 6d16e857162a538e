"""Which run of the 3CX this is, and since when its calls are up, as far as their ids tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from connectors.threecx.calls import Call
from meter.model import Instant

#: A call that one page or poll missed is no new one.
_REMEMBERED_POLLS: Final = 5
#: A call met at the first poll may have been up for so long.
LONGEST_MS: Final = 6 * 3_600_000
#: Calls that ended are remembered for so long: the call log may tell of them `calllog.LATE_MS` later, and is
#: read a little after that.
_GONE_MS: Final = 17 * 60_000


class Run:
    """One run after another of one 3CX.

    Ids grow while a 3CX runs and begin again at 1 when it restarts; nothing else tells
    of a restart. So it restarted if a call is new and its id is not: no higher than the
    highest, not among those shown of late, and no call is left of those shown last.

    Attributes:
        name: Names the run since a restart was seen; "" until then: the same run as before, for all
            that is known, so that an agent that was restarted goes on with the legs that it knew.
        up: Since when each call is up, at the earliest, by id: it was in no good poll before.
        at: When the last good poll was complete; None: there was none.
    """

    def __init__(self) -> None:
        self.name = ""
        self.up: dict[int, Instant] = {}
        self.at: Instant | None = None
        self._gone: dict[int, tuple[Instant, Instant]] = {}  # since when it was up, when it was missed
        self._unwatched: list[tuple[Instant, Instant]] = []  # what was up only then, no poll has shown
        self._highest = 0
        self._before: dict[int, Instant | None] = {}
        self._of_late: deque[frozenset[int]] = deque(maxlen=_REMEMBERED_POLLS)

    def see(self, calls: Iterable[Call], at: Instant, *, followed: bool) -> None:
        """Take in one good poll.

        Args:
            calls: Its calls.
            at: When it was complete.
            followed: Whether the poll before was a moment ago, over the same connection.
        """
        shown = {call.id: call.established for call in calls}
        old = frozenset().union(*self._of_late)
        again = any(number <= self._highest and number not in old for number in shown)
        if again and not any(self._is_left(number, shown) for number in self._before):
            self.name = f"since {at}"
            self._of_late.clear()
            self._highest = 0
            self.up, self._gone = {}, {}
        self._up_now(shown, at, followed=followed)
        self._highest = max((self._highest, *shown))
        self._before = shown
        self._of_late.append(frozenset(shown))

    def _up_now(self, shown: Iterable[int], at: Instant, *, followed: bool) -> None:
        since = at - LONGEST_MS if self.at is None else self.at
        # One that a poll missed is as old as it was.
        known = {number: began for number, (began, _) in self._gone.items()} | self.up
        gone = self._gone | {number: (began, at) for number, began in self.up.items()}
        self.up = {number: known.get(number, since) for number in shown}
        self._gone = {
            number: one for number, one in gone.items() if number not in self.up and one[1] > at - _GONE_MS
        }
        self._unwatched = [one for one in self._unwatched if one[1] > at - _GONE_MS]
        if not followed:
            self._unwatched.append((since, at))
        self.at = at

    def oldest(self, at: Instant) -> Instant:
        """Return since when the oldest call is up that is, or was of late; `at` if there is none.

        Of a time in which nobody asked, a call may have been up for all of it.
        """
        return min([at, *self.up.values(), *(began for began, _ in (*self._gone.values(), *self._unwatched))])

    def _is_left(self, number: int, shown: dict[int, Instant | None]) -> bool:
        before = self._before[number]
        return number in shown and (before is None or before == shown[number])
