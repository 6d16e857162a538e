"""The wiring: the only file that names every concrete part. It decides nothing else.

`agent(config)` puts the parts together over what the ledger left; `run` lets the loops
turn until the task is cancelled.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec

import structlog
from aiohttp import ClientSession

from agent import keys, notify, schedule, status, supervisor
from agent.alerting import Alerting
from agent.amending import Amending
from agent.calllog import CallLog
from agent.clock import Clock
from agent.closing import Closing
from agent.configured import composer, connector, mail_server, plan_of, trust
from agent.doors import open_doors
from agent.health import Health, clock_is_synchronised
from agent.page.glance import Glance
from agent.page.today import Today
from agent.reading import ExtensionReading
from agent.restoring import Restored, account, restore
from agent.sampling import Sampling
from agent.shipping import Lane, Shipping
from agent.store import ledger, records
from agent.store.database import Database, Store, StoreError, damaged, disk_hint
from agent.supervisor import Link
from agent.upstream import Upstream
from config.model import Config
from delivery import http
from delivery.courier import Courier, Outcome, Parcel, Refused
from delivery.email import MailCourier
from delivery.webhook import WebhookCourier
from meter import signature
from meter.account import Account
from meter.sampled import by_call_log, sampled
from meter.tenancy import Tenancy

P = ParamSpec("P")

log = structlog.get_logger(__name__)

#: How often the scheduled jobs look what is due, in s.
LOOK_EVERY_S = 5.0
#: How long a loop may take to turn before the watchdog is not fed any more, in ms. The sampling loop
#: commits every second; closing folds months, which takes the time it takes.
TURNS_WITHIN_MS = {"sampling": 15_000, "closing": 900_000}


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent's parts, for its own socket, the demo and tests."""

    sampling: Sampling
    links: tuple[Link, ...]
    calls: CallLog
    amending: Amending
    closing: Closing
    shipping: Shipping | None
    lanes: tuple[Lane, ...]
    status: status.Status
    glance: Glance
    store: Store
    clock: Clock
    tenancy: Tenancy


@dataclass(frozen=True, slots=True)
class ByTarget:
    """A courier for each target of one lane, because each may trust another authority."""

    couriers: Mapping[str, Courier]

    async def carry(self, parcel: Parcel) -> Outcome:
        """Carry one parcel by its target's courier."""
        courier = self.couriers.get(parcel.target)
        if courier is None:
            return Refused("no such webhook is configured any more", "configure it again")
        return await courier.carry(parcel)


# --- the agent -----------------------------------------------------------------------------


@asynccontextmanager
async def agent(config: Config, clock: Clock | None = None) -> AsyncIterator[Agent]:
    """Put an agent together over its state directory; its loops don't turn yet.

    Raises:
        StoreError: The state directory can't be used, or another agent uses it.
        KeyTrouble: The signing key can't be used.
    """
    clock = clock or Clock()
    async with AsyncExitStack() as stack:
        stack.callback(_lock(config.agent.state_dir))
        state_dir = config.agent.state_dir
        keys.load_or_make(state_dir)
        store = Store(state_dir)
        await store.open()
        stack.push_async_callback(store.close)
        await store.examine()
        torn = await store.read(records.torn)
        if torn is not None:
            raise damaged(store.path, f"the record {torn} is not what was sealed")
        clock.not_before(await store.read(ledger.last_stored))
        now = clock.now()
        left = await store.write(lambda db: restore(db, config, now))
        session = await stack.enter_async_context(http.open_session())
        parts = _assemble(config, clock, store, left, session)
        await parts.calls.load()
        yield parts


def _assemble(config: Config, clock: Clock, store: Store, left: Restored, session: ClientSession) -> Agent:
    state_dir, agent_id = config.agent.state_dir, config.agent.id
    sampling = Sampling(left.levels, left.contracts, left.accounts, left.calendars, store, clock)
    sampling.begin(left.changes)
    sampling.alerting = Alerting(
        agent_id, left.contracts, left.watches, left.numbers, sampling.view, composer(config)
    )
    connectors = [connector(pbx, clock.now) for pbx in config.pbx]

    def resnapshot() -> None:
        for one in connectors:
            one.resnapshot()

    sampling.resnapshot = resnapshot
    moved = asyncio.Event()
    take, lost = _and_set(moved, sampling.take), _and_set(moved, sampling.lost)
    links = tuple(Link(c, clock, take, lost) for c in connectors)
    plan = plan_of(config)
    sampling.after_the_fact = frozenset(name for name, how in plan.sampling.items() if how.method == "cdr")
    by_log = by_call_log(plan.sampling)

    def load(db: Database, tenant: str) -> Account:
        return account(db, left.contracts[tenant], left.calendars[tenant], clock.now(), by_log)

    calls = CallLog(
        [link for link in links if link.connector.method != "events"],
        plan,
        left.contracts,
        left.calendars,
        left.levels.tenancy,
        sampling,
        load,
        store,
        clock,
    )

    unsure = set(sampled(plan.sampling))
    of_them = [tenant for tenant, one in left.contracts.items() if unsure.intersection(one.terms.pbxs)]
    amending = Amending(plan, state_dir, of_them, store, clock)

    def key() -> signature.PrivateKey:
        return keys.load(state_dir)

    shipping: Shipping | None = None
    closing = Closing(
        plan,
        left.contracts,
        left.calendars,
        store,
        clock,
        lambda db: keys.current(db, state_dir),
        clock_is_synchronised,
        sealed=lambda: shipping.bell.ring() if shipping else None,
        known_up_to=lambda tenant: min(sampling.known_up_to(tenant), calls.known_up_to(tenant)),
        resnapshot=resnapshot,
        away_ms=left.away_ms,
    )
    closing.position_known = config.upstream is None
    if config.upstream is not None:

        def position_known() -> None:
            closing.position_known = True

        def enrolled() -> Awaitable[Upstream | None]:
            return receiver(config, store, clock, session)

        shipping = Shipping(enrolled, store, clock, key, position_known)
    lanes = tuple(_lanes(config, store, clock, session, key))

    def wake_lanes() -> None:
        for lane in lanes:
            lane.bell.ring()

    sampling.wake_lanes = wake_lanes
    state = status.Status(agent_id, version("pbx-meter"), sampling, links, closing, shipping, store)
    glance = Glance(state, Today(left.contracts, plan, store, clock), clock, moved)
    tenancy = left.levels.tenancy
    return Agent(
        sampling, links, calls, amending, closing, shipping, lanes, state, glance, store, clock, tenancy
    )


def _and_set(news: asyncio.Event, deed: Callable[P, None]) -> Callable[P, None]:
    """Return a deed after which an event is set."""

    def done(*args: P.args, **kwargs: P.kwargs) -> None:
        deed(*args, **kwargs)
        news.set()

    return done


async def receiver(config: Config, store: Store, clock: Clock, session: ClientSession) -> Upstream | None:
    """Return the provider's receiver that this agent is enrolled at, or None."""
    pinned = await store.read(lambda db: ledger.fact(db, "receiver"))
    if pinned is None or config.upstream is None:
        return None
    return Upstream(
        session=session,
        url=config.upstream.url,
        agent=config.agent.id,
        receiver=signature.public_key(json.loads(pinned)),
        now=clock.wall,
        tls=trust(config.upstream.ca_file) if config.upstream.ca_file else None,
    )


def _lanes(
    config: Config,
    store: Store,
    clock: Clock,
    session: ClientSession,
    key: Callable[[], signature.PrivateKey],
) -> Iterable[Lane]:
    server = mail_server(config)
    if server is not None:
        yield Lane("mail", MailCourier(server), store, clock)
    if config.webhook:
        couriers = {
            hook.id: WebhookCourier(
                session,
                {hook.id: hook.url},
                lambda message: signature.sign_bytes(message, key()),
                clock.wall,
                trust(hook.ca_file) if hook.ca_file else None,
            )
            for hook in config.webhook
        }
        yield Lane("webhook", ByTarget(couriers), store, clock)


async def run(
    config: Config,
    clock: Clock | None = None,
    *,
    look_every_s: float = LOOK_EVERY_S,
    started: Callable[[Agent], None] = lambda _: None,
) -> None:
    """Run an agent until the task is cancelled.

    Raises:
        StoreError: The state directory can't be used.
        KeyTrouble: The signing key can't be used.
        Bugged: A loop failed too often.
    """
    async with agent(config, clock) as parts:
        reading = ExtensionReading(
            parts.links,
            parts.sampling.contracts,
            parts.sampling.calendars,
            parts.tenancy,
            {p.name: round(p.extensions_every.total_seconds() * 1000) for p in config.pbx},
            parts.store,
            parts.clock,
        )

        looked_at = parts.clock.boot()

        async def seal_due() -> None:
            nonlocal looked_at
            try:
                await seal_what_is_due()
            finally:
                looked_at = parts.clock.boot()

        def stuck() -> str | None:
            turned_at = {"sampling": parts.sampling.tried_at, "closing": looked_at}
            return notify.late(turned_at, TURNS_WITHIN_MS, parts.clock.boot())

        def in_short() -> str:
            return f"{sum(link.up for link in parts.links)} of {len(parts.links)} PBX links up"

        async def seal_what_is_due() -> None:
            parts.sampling.mind_time()  # after a sleep this may be the first to turn: the gap comes before the record
            known_at = parts.clock.now()
            await parts.sampling.commit()  # a record is made from the ledger: nothing may be on its way there
            await parts.closing.seal_due(known_at)

        async def read_calls() -> None:
            await parts.calls.read_due()
            if await parts.amending.correct_due() and parts.shipping is not None:
                parts.shipping.bell.ring()

        jobs = schedule.scheduler(
            seal_due=seal_due,
            read_extensions=reading.read_due,
            read_calls=read_calls,
            store=parts.store,
            clock=parts.clock,
            every_s=look_every_s,
        )
        health = Health(parts.sampling, parts.links, parts.store, parts.clock, stuck)
        doors = await open_doors(config, parts.status, parts.glance, health, parts.clock)
        systemd = notify.found()
        log.info("agent.started", agent=config.agent.id, pbxs=len(parts.links))
        try:
            jobs.start()
            started(parts)
            async with asyncio.TaskGroup() as loops:
                turn = parts.clock
                loops.create_task(supervisor.keep("heartbeat", turn, parts.sampling.beat))
                loops.create_task(supervisor.keep("sampling", turn, parts.sampling.run))
                for link in parts.links:
                    loops.create_task(supervisor.keep(f"link {link.connector.name}", turn, link.follow))
                for lane in parts.lanes:
                    loops.create_task(supervisor.keep("lane", turn, lane.run))
                if parts.shipping is not None:
                    loops.create_task(supervisor.keep("shipping", turn, parts.shipping.run))
                feed = partial(notify.feed, systemd, turn, stuck, in_short)
                loops.create_task(supervisor.keep("watchdog", turn, feed))
                systemd.tell("READY=1")
        finally:
            systemd.tell("STOPPING=1")
            jobs.shutdown(wait=False)
            await doors.aclose()
            log.info("agent.stopped")


def _there(folder: Path) -> Path:
    """Return the nearest folder above that exists, which tells the disk."""
    return next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))


def _lock(state_dir: Path) -> Callable[[], None]:
    """Take the state directory for this process alone; return what gives it back."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"{state_dir} can't be used: {error.strerror}",
            hint=disk_hint(error, _there(state_dir))
            or f"make it and give it to the agent's user: install -d -m 700 -o USER {state_dir}",
            damaged=False,
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"another agent uses {state_dir}",
            hint="one agent per state directory: pbx-meter status shows the running one",
            damaged=False,
        ) from error
    return lambda: os.close(descriptor)
