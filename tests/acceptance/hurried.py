"""`pbx-meter` in a hurry, for tests that can't wait: its clock ahead, its jobs and its patience short.

Everything else is the program as it stands: `python -I hurried.py AHEAD_MS run --config FILE`.
"""

from __future__ import annotations

import functools
import sys

from agent import app, closing
from agent.cli import main
from agent.clock import Clock

#: What the program has as 5 s, and as 60 s.
LOOK_EVERY_S = 0.25
PATIENCE_MS = 500

if __name__ == "__main__":
    ahead_ms = int(sys.argv.pop(1))
    app.run = functools.partial(app.run, clock=Clock(ahead_ms=ahead_ms), look_every_s=LOOK_EVERY_S)
    closing.PATIENCE_MS = PATIENCE_MS
    main()
