"""meter.capacity's decisions become rows: what is remembered, the notice, and what must leave.

Nothing is sent here, and nothing waits: the rows go into the next commit, all in one
transaction. A level is judged when it changes, inside the reader of a PBX link, and each
second while time alone may make a notice due; what is said is put into words at the
commit, where nobody's call waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from agent.contracts import Contract
from meter.capacity import Decision, Watch, due_in, judge, judge_late, smallest_package
from meter.fold import Figures
from meter.model import Instant
from meter.notices import Notice

log = structlog.get_logger(__name__)

#: One outbox row: id, lane, target, body.
Row = tuple[str, str, str, bytes]


@dataclass(slots=True)
class Alerts:
    """Rows for the next commit."""

    watches: dict[str, Watch] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.watches or self.notices or self.rows)

    def absorb(self, later: Alerts) -> None:
        """Take in what was taken later."""
        self.watches.update(later.watches)
        self.notices += later.notices
        self.rows += later.rows


class Alerting:
    """Judges levels against capacities.

    Args:
        agent: The agent's id.
        contracts: Every tenant of the configuration, by id.
        watches: What was remembered before the agent started.
        numbers: How many notices each (tenant, period) has had.
        view: Returns a tenant's figures up to an instant.
        compose: Returns the outbox rows that a notice becomes.
    """

    def __init__(
        self,
        agent: str,
        contracts: Mapping[str, Contract],
        watches: Mapping[str, Watch],
        numbers: Mapping[tuple[str, str], int],
        view: Callable[[str, Instant], Figures],
        compose: Callable[[Notice], Iterable[Row]],
    ) -> None:
        self._agent = agent
        self._contracts = contracts
        self._watches = dict(watches)
        self._numbers = dict(numbers)
        self._view = view
        self._compose = compose
        self._alerts = Alerts()
        self._decided: list[tuple[Contract, Watch | None, Watch, Decision, Figures | None]] = []

    def drain(self) -> Alerts:
        """Return the rows since the last call, in words."""
        decided, self._decided = self._decided, []
        for contract, before, watch, decision, figures in decided:
            found = self._view(contract.tenant, decision.at) if figures is None else figures
            self._tell(contract, before, watch, decision, found)
        alerts, self._alerts = self._alerts, Alerts()
        return alerts

    @property
    def has_news(self) -> bool:
        """Whether a notice waits for a commit."""
        return bool(self._decided)

    def restless(self) -> list[str]:
        """Return the tenants whose notices time alone may make due."""
        return [
            tenant
            for tenant, watch in self._watches.items()
            if (contract := self._contracts.get(tenant)) is not None
            and contract.limits is not None
            and due_in(watch, contract.limits) is not None
        ]

    def judge(self, tenant: str, period: str, at: Instant, level: int, *, observed: bool) -> None:
        """Judge a tenant's basis level at an instant.

        Args:
            tenant: Whose.
            period: The name of the period that contains `at`.
            at: When.
            level: The basis level from `at` on.
            observed: Whether all its PBXs are observed at that instant.
        """
        contract = self._contracts[tenant]
        if contract.limits is None:
            return
        before = self._watches.get(tenant)
        watch, decision = judge(before, contract.limits, period=period, at=at, level=level, observed=observed)
        self._watches[tenant] = watch
        if decision is not None or (before is not None and before.episode_start != watch.episode_start):
            self._alerts.watches[tenant] = watch
        if decision is not None:
            self._decided.append((contract, before, watch, decision, None))

    def judge_late(
        self,
        tenant: str,
        figures: Figures,
        at: Instant,
        told_since: Instant,
        told_at: Instant | None = None,
    ) -> None:
        """Judge what call records have just told of a tenant's period.

        Args:
            tenant: Whose.
            figures: A period's figures with what was told: the running one's, or of one that has closed.
            at: Now.
            told_since: When the oldest call that was told began.
            told_at: Of a period that has closed: when its last over notice was; None: it had none.
        """
        contract = self._contracts[tenant]
        if contract.limits is None or figures.overruns is None:
            return
        before = self._watches.get(tenant)
        closed = before is not None and before.period != figures.period.name and figures.as_of < at
        if closed:  # what is remembered is of the period that runs
            before = Watch(figures.period.name, contract.limits.lines, at, told_at=told_at)
        said_at = before.told_at if before is not None and before.period == figures.period.name else None
        late = [
            o
            for o in figures.overruns.worst
            if o.end > told_since
            and o.peak > contract.limits.lines
            and (said_at is None or o.start > said_at)  # else it was said when it happened, or since
        ]
        if not late:
            return
        highest = max(late, key=lambda o: o.peak)
        watch, decision = judge_late(
            before,
            contract.limits,
            period=figures.period.name,
            at=at,
            since=highest.start,
            level=highest.peak,
        )
        if decision is not None:
            if not closed:
                self._watches[tenant] = self._alerts.watches[tenant] = watch
            self._decided.append((contract, before, watch, decision, figures))

    def remembered(self) -> tuple[dict[str, Watch], dict[tuple[str, str], int]]:
        """Return what another one needs to go on: the watches, and how many notices there were. After `drain`."""
        return dict(self._watches), dict(self._numbers)

    def keep_watches(self) -> None:
        """Put what is remembered of running episodes into the next commit."""
        self._alerts.watches.update(
            (tenant, watch) for tenant, watch in self._watches.items() if watch.episode_start is not None
        )

    def _tell(
        self,
        contract: Contract,
        before: Watch | None,
        watch: Watch,
        decision: Decision,
        figures: Figures,
    ) -> None:
        tenant, limits = contract.tenant, contract.limits
        if limits is None:
            return
        period, basis = figures.period, contract.terms.basis
        number = self._numbers[tenant, period.name] = self._numbers.get((tenant, period.name), 0) + 1
        peak, overruns = figures.levels[basis].peak, figures.overruns
        # A level of this very instant has lasted 0 ms: the fold counts it from the next one on.
        highest = max(decision.level, peak.level if peak else 0) if peak or decision.level else None
        new_peak = peak is None or decision.level > peak.level
        # Over already when the period began, the fold has counted it: an overrun of its own, up to this instant.
        counted = overruns is not None and any(o.end == decision.at for o in overruns.worst)
        starts_now = watch.over_since == decision.at and not counted
        episode = watch if watch.episode_start is not None else before
        notice = Notice(
            id=f"{self._agent}/{tenant}/{period.name}/notice/{number}",
            kind=decision.kind,
            reason=decision.reason,
            agent=self._agent,
            tenant=tenant,
            tenant_name=contract.terms.name or tenant,
            basis=basis,
            level=decision.level,
            capacity=limits.lines,
            at=decision.at,
            over_since=watch.over_since if decision.since is None else decision.since,
            episode_start=episode.episode_start if episode else None,
            episode_peak=episode.episode_peak if episode and episode.episode_start is not None else None,
            period=period.name,
            period_start=period.start,
            period_end=period.end,
            timezone=contract.terms.timezone,
            peak=highest,
            peak_at=decision.at if new_peak else (peak.at if peak else None),
            overruns=(overruns.count if overruns else 0) + starts_now,
            overruns_ms=overruns.total_ms if overruns else 0,
            package=smallest_package(contract.terms.packages, highest),
            packages=contract.terms.packages,
            warn_at=limits.warn_at,
            incomplete=figures.observed_ms < figures.expected_ms,
        )
        self._alerts.notices.append(notice)
        try:
            self._alerts.rows += self._compose(notice)
        except Exception:
            log.exception(
                "notice.not_composed", id=notice.id
            )  # it is kept all the same, and so is every fact
