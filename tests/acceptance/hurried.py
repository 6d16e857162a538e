"""`pbx-meter` in a hurry, for tests that can't wait: its clock ahead, its waits and its patience short.

Everything else is the program as it stands: `python -I hurried.py AHEAD_MS SILENT_S run --config FILE`.
"""

from __future__ import annotations

import functools
import sys

from agent import closing, configured, evidence, running, supervisor
from agent.cli import main
from agent.clock import Clock

#: What the program has as 5 s, 10 s, 1 s and 60 s.
LOOK_EVERY_S = 0.25
PATIENCE_MS = 500
FIRST_WAIT_S = 0.3
DENIED_WAIT_S = 0.3

if __name__ == "__main__":
    ahead_ms, silent_s = int(sys.argv.pop(1)), float(sys.argv.pop(1))
    running.run = functools.partial(running.run, clock=Clock(ahead_ms=ahead_ms), look_every_s=LOOK_EVERY_S)
    evidence.Clock = functools.partial(Clock, ahead_ms=ahead_ms)
    configured.Settings = functools.partial(
        configured.Settings, ping_every_s=silent_s / 5, silent_after_s=silent_s
    )
    closing.PATIENCE_MS = PATIENCE_MS
    supervisor.FIRST_WAIT_S, supervisor.DENIED_WAIT_S = FIRST_WAIT_S, DENIED_WAIT_S
    main()
