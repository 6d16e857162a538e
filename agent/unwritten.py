"""What no commit has written yet: the facts, the notices and the steps of the clock. Nothing of it is ever dropped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from agent.alerting import Alerts
from agent.clock import Step
from agent.store import ledger, notices, outbox
from agent.store.database import Database
from agent.store.ledger import Heard
from meter.model import Instant
from meter.watched import Changes


@dataclass(slots=True)
class Unwritten:
    """Rows for the next commit, in the order in which they came."""

    changes: Changes = field(default_factory=Changes)
    alerts: Alerts = field(default_factory=Alerts)
    steps: list[Step] = field(default_factory=list)

    def absorb(self, later: Unwritten) -> None:
        """Take in what came later."""
        self.changes.absorb(later.changes)
        self.alerts.absorb(later.alerts)
        self.steps += later.steps

    def write(self, db: Database, heard: Iterable[Heard], now: Instant) -> None:
        """Write all of it, and up to when each PBX was heard; the caller's transaction makes it one."""
        ledger.record(db, self.changes, heard)
        ledger.step(db, ((step.at, step.by_ms, step.repeated_ms) for step in self.steps))
        for tenant, watch in self.alerts.watches.items():
            notices.remember(db, tenant, json.dumps(asdict(watch)))
        notices.write(db, self.alerts.notices)
        outbox.enqueue(db, self.alerts.rows, now)
