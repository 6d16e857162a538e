"""What is to go wrong, for which requests, how often."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Trouble(StrEnum):
    """What happens instead of a proper answer."""

    UNAUTHORIZED = "unauthorized"  #: 401, as of a token that another program has voided
    FORBIDDEN = "forbidden"  #: 403: role, licence or console restrictions
    MISSING = "missing"  #: 404: the path is none, as before V20
    FAILED = "failed"  #: 500 without a body
    BAD_GATEWAY = "bad_gateway"  #: 502 with the web server's own HTML: the 3CX is being restarted
    LATE_GATEWAY = "late_gateway"  #: 504 with HTML
    TOO_MANY = "too_many"  #: 429, with Retry-After if `seconds` is given
    HANG = "hang"  #: no answer, ever
    CUT = "cut"  #: the connection is cut without an answer
    SLOW = "slow"  #: the proper answer, `seconds` late
    TRUNCATED = "truncated"  #: half of the proper answer, as if it were whole
    EMPTY = "empty"  #: an entity set without rows, as a role without scope gets it
    SHIFTED = "shifted"  #: a page after the first lacks its first row: one before it has gone meanwhile
    LACKING = "lacking"  #: an entity set without its first row, as if it were whole
    LATE_ROWS = "late_rows"  #: the call log shows each row `seconds` after its call's end only
    PIECEMEAL = "piecemeal"  #: the call log shows each row as its segment ends, while its call is still up
    TWICE = "twice"  #: every CDR line is written twice (path `cdr`)


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        trouble: What.
        path: For which paths, without query, in lower case; `*` stands for anything.
        times: For how many more requests; None: until it is taken away.
        seconds: See `Trouble`.
    """

    trouble: Trouble
    path: str = "*"
    times: int | None = None
    seconds: float | None = None


class Faults:
    """What is to go wrong with a simulated 3CX. May be changed at any time."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self, trouble: Trouble, path: str = "*", *, times: int | None = None, seconds: float | None = None
    ) -> Fault:
        """Let something go wrong, after what was added before."""
        fault = Fault(trouble, path.lower(), times, seconds)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go well again. What hangs, hangs on until its connection ends."""
        self._faults.clear()

    def take(self, path: str, only: Trouble | None = None) -> Fault | None:
        """Return what goes wrong with this request, and count it; None: nothing does, or nothing of this sort."""
        for fault in self._faults:
            if only not in {None, fault.trouble}:
                continue
            if fault.times != 0 and fnmatchcase(path.lower(), fault.path):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
