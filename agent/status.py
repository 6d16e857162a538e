"""What the running agent says of itself, over a local socket that only its user and group can open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.closing import Closing
from agent.sampling import Sampling
from agent.shipping import Shipping
from agent.store import outbox, readings, records
from agent.store.database import Database, Store
from agent.store.records import Sealed
from agent.supervisor import Link
from meter.capacity import smallest_package
from meter.fold import Figures
from meter.model import Instant
from meter.periods import iso


class Status:
    """Puts together what `pbx-meter status` shows.

    Args:
        agent: The agent's id.
        version: The program's.
        sampling, links, closing, shipping: The loops; no shipping: no provider is configured.
        store: Where rows are.
    """

    def __init__(
        self,
        agent: str,
        version: str,
        sampling: Sampling,
        links: Sequence[Link],
        closing: Closing,
        shipping: Shipping | None,
        store: Store,
    ) -> None:
        self._agent = agent
        self._version = version
        self._sampling = sampling
        self._links = links
        self._closing = closing
        self._shipping = shipping
        self._store = store

    async def read(self, now: Instant) -> dict[str, Any]:
        """Return everything as plain values; field names are fixed, null is unknown."""
        users, rows, sealed, refused = await self._store.read(self._rows)
        figures = await self._sampling.views(now)
        waiting = sealed["sealed"] - sealed["receipted"] if self._shipping else 0
        return {
            "agent": {"id": self._agent, "version": self._version},
            "at": iso(now),
            "tenants": {
                tenant: self._tenant(tenant, found, users.get(tenant)) for tenant, found in figures.items()
            },
            "pbxs": {link.connector.name: self._pbx(link) for link in self._links},
            "outbox": {"waiting": rows["waiting"] + waiting, "parked": rows["parked"]},
            "records": sealed,
            "trouble": self._trouble() + [_refused(record) for record in refused],
        }

    def _rows(
        self, db: Database
    ) -> tuple[dict[str, int | None], dict[str, int], dict[str, int], list[Sealed]]:
        users = {
            tenant: readings.users_now(db, tenant, contract.terms.user_pbxs)
            for tenant, contract in self._sampling.contracts.items()
        }
        return users, outbox.counts(db), records.counts(db), records.unmended(db)

    def _tenant(self, tenant: str, figures: Figures, users: int | None) -> dict[str, Any]:
        contract = self._sampling.contracts[tenant]
        levels_now = self._sampling.levels.now(tenant)
        watched = self._sampling.levels.pbxs
        after_the_fact = {link.connector.name for link in self._links if link.connector.method == "cdr"}
        blind = all(watched[pbx].gap is not None or pbx in after_the_fact for pbx in contract.terms.pbxs)
        basis = figures.levels[contract.terms.basis].peak
        overruns = figures.overruns
        return {
            "name": contract.terms.name or tenant,
            "period": figures.period.name,
            "timezone": contract.terms.timezone,
            "observed": self._sampling.observed(tenant),
            "levels": {
                level.value: {
                    "now": None if blind else levels_now[level],
                    "peak": found.peak.level if found.peak else None,
                    "peak_at": iso(found.peak.at) if found.peak and found.peak.at is not None else None,
                }
                for level, found in figures.levels.items()
            },
            "basis": contract.terms.basis.value,
            "capacity": contract.terms.lines,
            "overruns": {
                "count": overruns.count if overruns else 0,
                "total_ms": overruns.total_ms if overruns else 0,
            },
            "smallest_fitting_package": smallest_package(
                contract.terms.packages, basis.level if basis else None
            ),
            "users": users,
            "coverage": _coverage(figures),
        }

    def _pbx(self, link: Link) -> dict[str, Any]:
        watched = self._sampling.levels.pbxs[link.connector.name]
        trouble = link.trouble
        return {
            "link": "up" if link.up else "down",
            "trouble": None if trouble is None else str(trouble),
            "hint": None if trouble is None else trouble.hint,
            "observed": watched.gap is None,
            "method": link.connector.method,
            "missed_polls": watched.missed_polls,
            "ahead_ms": watched.ahead_ms,
            "beside": dict(link.connector.beside),
            "snapshots": watched.snapshots,
            "missed_starts": watched.missed_starts,
            "missed_hangups": watched.missed_hangups,
            "unclassified": self._sampling.levels.unclassified.get(watched.name, 0),
            "unassigned": self._sampling.levels.unassigned.get(watched.name, 0),
        }

    def _trouble(self) -> list[str]:
        """Return what needs a hand, each with the next thing to do."""
        found = []
        if self._sampling.disk is not None:
            found.append(f"{self._sampling.disk}. {self._sampling.disk.hint}")
        if self._closing.held is not None:
            found.append(f"nothing is sealed: {self._closing.held}")
        if self._shipping is not None and self._shipping.trouble not in (None, self._closing.held):
            found.append(f"upstream: {self._shipping.trouble}")
        return found


def _refused(record: Sealed) -> str:
    """Say that the provider can't count a summary, why, and what makes up for it."""
    said = f"the provider refused {record.id}: {record.why or 'no reason given'}"
    if record.kind == "interim":
        return f"{said}. Mend the cause (a tenant is enrolled by a fresh invitation: pbx-meter enrol); the next interim replaces it"
    return f"{said}. Mend the cause, then type: pbx-meter chain replace {record.id}"


def _coverage(figures: Figures) -> dict[str, int]:
    return {"expected_ms": figures.expected_ms, "observed_ms": figures.observed_ms}


async def serve(path: Path, status: Status, now: Any) -> web.AppRunner:
    """Answer `GET /status` on a local socket. The caller cleans the runner up.

    Raises:
        OSError: The socket can't be made.
    """

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(await status.read(now()))

    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the start
    umask = os.umask(0o117)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(umask)
    return runner
