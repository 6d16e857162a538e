"""What the running agent says of itself, over a local socket that only its user and group can open."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from agent.closing import Closing
from agent.sampling import Sampling
from agent.shipping import Shipping
from agent.store import ledger, outbox, readings, records
from agent.store.database import Database, Store
from agent.store.records import Sealed
from agent.supervisor import Link
from meter.capacity import smallest_package
from meter.fold import Figures
from meter.forecast import forecast
from meter.model import Gap, Instant
from meter.periods import DAY_MS, iso
from meter.presence import end_of

#: How many receipts are shown.
RECEIPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """What of a status stands in the database.

    Attributes:
        users: Each tenant's; None: not known.
        outbox, records: Their counts.
        refused: Records that the provider can't count and nothing made up for.
        receipts: The last ones, the youngest first.
        gaps: Each PBX's of the last 24 hours.
    """

    users: Mapping[str, int | None]
    outbox: Mapping[str, int]
    records: Mapping[str, int]
    refused: Sequence[Sealed]
    receipts: Sequence[Sealed]
    gaps: Mapping[str, Sequence[Gap]]


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
        #: Where the status page is, and why it is not there: {"url", "trouble"}; None: it is switched off.
        self.page: dict[str, str | None] | None = None
        #: What else needs a hand (agent.troubles); set once.
        self.needs: Callable[[], list[str]] = list

    async def read(self, now: Instant) -> dict[str, Any]:
        """Return everything as plain values; field names are fixed, null is unknown."""
        return self.said(now, await self.rows(now), await self._sampling.views(now))

    async def figures(self, now: Instant) -> dict[str, Figures]:
        """Return every tenant's figures of the running period."""
        return await self._sampling.views(now)

    async def rows(self, now: Instant) -> Rows:
        """Return what of it stands in the database."""
        return await self._store.read(lambda db: self._rows(db, now))

    def said(self, now: Instant, rows: Rows, figures: Mapping[str, Figures]) -> dict[str, Any]:
        """Return everything as plain values, with the levels and links of this moment."""
        waiting = rows.records["sealed"] - rows.records["receipted"] if self._shipping else 0
        return {
            "agent": {"id": self._agent, "version": self._version},
            "at": iso(now),
            "tenants": {
                tenant: self._tenant(tenant, found, rows.users.get(tenant))
                for tenant, found in figures.items()
            },
            "pbxs": {
                link.connector.name: self._pbx(link, now, rows.gaps.get(link.connector.name, ()))
                for link in self._links
            },
            "outbox": {"waiting": rows.outbox["waiting"] + waiting, "parked": rows.outbox["parked"]},
            "records": rows.records,
            "receipts": [_receipt(record) for record in rows.receipts] if self._shipping else None,
            "trouble": self._trouble() + self.needs() + [refused(record) for record in rows.refused],
            "page": self.page,
        }

    def _rows(self, db: Database, now: Instant) -> Rows:
        users = {
            tenant: readings.users_now(db, tenant, contract.terms.user_pbxs)
            for tenant, contract in self._sampling.contracts.items()
        }
        return Rows(
            users,
            outbox.counts(db),
            records.counts(db),
            records.unmended(db),
            _receipts(db),
            ledger.gaps(db, self._sampling.levels.pbxs, now - DAY_MS, now),
        )

    def _tenant(self, tenant: str, figures: Figures, users: int | None) -> dict[str, Any]:
        contract = self._sampling.contracts[tenant]
        levels_now = self._sampling.levels.now(tenant)
        watched = self._sampling.levels.pbxs
        after_the_fact = {link.connector.name for link in self._links if link.connector.method == "cdr"}
        blind = all(watched[pbx].gap is not None or pbx in after_the_fact for pbx in contract.terms.pbxs)
        basis = figures.levels[contract.terms.basis].peak
        overruns, likely = figures.overruns, forecast(figures)
        return {
            "name": contract.terms.name or tenant,
            "period": figures.period.name,
            "start": iso(figures.period.start),
            "end": iso(figures.period.end),
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
            "forecast": None if likely is None else asdict(likely),
            "smallest_fitting_package": smallest_package(
                contract.terms.packages, basis.level if basis else None
            ),
            "users": users,
            "coverage": _coverage(figures),
        }

    def _pbx(self, link: Link, now: Instant, gaps: Sequence[Gap]) -> dict[str, Any]:
        watched = self._sampling.levels.pbxs[link.connector.name]
        trouble, heard_at, gap = link.trouble, link.connector.heard_at, watched.gap
        return {
            "link": "up" if link.up else "down",
            "trouble": None if trouble is None else str(trouble),
            "hint": None if trouble is None else trouble.hint,
            "observed": gap is None,
            "gap": None
            if gap is None
            else {"since": iso(gap.start) if gap.start else None, "cause": gap.cause.value},
            "heard_at": None if heard_at is None else iso(heard_at),
            "day": _day(gaps, now),
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


def refused(record: Sealed) -> str:
    """Say that the provider can't count a summary, why, and what makes up for it."""
    said = f"the provider refused {record.id}: {record.why or 'no reason given'}"
    if record.kind == "interim":
        return f"{said}. Mend the cause (a tenant is enrolled by a fresh invitation: pbx-meter enrol); the next interim replaces it"
    return f"{said}. Mend the cause, then type: pbx-meter chain replace {record.id}"


def _coverage(figures: Figures) -> dict[str, int]:
    return {"expected_ms": figures.expected_ms, "observed_ms": figures.observed_ms}


def _day(gaps: Sequence[Gap], now: Instant) -> dict[str, int]:
    """Return how much of the last 24 hours one PBX was observed."""
    unseen = sum(min(end_of(gap), now) - max(gap.start, now - DAY_MS) for gap in gaps)
    return {"expected_ms": DAY_MS, "observed_ms": max(0, DAY_MS - unseen)}


def _receipts(db: Database) -> list[Sealed]:
    """Return the records whose receipts came last; they come in order."""
    chain = records.chain(db)
    if chain is None:
        return []
    upto = records.first_without_receipt(db, chain.number)
    return records.waiting(db, chain.number, max(1, upto - RECEIPTS), min(upto - 1, RECEIPTS))[::-1]


def _receipt(record: Sealed) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "id": record.id,
        "kind": record.kind,
        "tenant": record.tenant,
        "sealed_at": iso(record.sealed_at),
        "status": record.status,
        "why": record.why,
    }


async def serve(
    path: Path,
    read: Callable[[], Awaitable[dict[str, Any]]],
    reload: Callable[[], Awaitable[dict[str, Any]]] | None = None,
) -> web.AppRunner:
    """Answer `GET /status`, and `POST /reload` if that can be done, on a local socket.

    The caller cleans the runner up.

    Raises:
        OSError: The socket can't be made.
    """

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(await read())

    app = web.Application()
    app.router.add_get("/status", answer)
    if reload is not None:
        reloaded = reload

        async def obey(_: web.Request) -> web.Response:
            return web.json_response(await reloaded())

        app.router.add_post("/reload", obey)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the start
    umask = os.umask(0o117)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(umask)
    return runner


async def ask(path: Path) -> dict[str, Any] | None:
    """Return what the agent that answers at a socket says of itself; None: none does."""
    return await _asked(path, "GET", "/status", 10)


async def reload(path: Path) -> dict[str, Any] | None:
    """Let the agent that answers at a socket read its configuration again; return what came of it.

    None: none answers, or not within minutes (it loads the figures of every tenant anew).
    """
    return await _asked(path, "POST", "/reload", 300)


async def _asked(path: Path, method: str, what: str, within_s: float) -> dict[str, Any] | None:
    try:
        async with (
            ClientSession(connector=UnixConnector(str(path))) as session,
            session.request(method, f"http://agent{what}", timeout=ClientTimeout(within_s)) as answer,
        ):
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json()
            return found
    except (ClientError, OSError, TimeoutError):
        return None
