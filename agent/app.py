"""The wiring: the only file that names every concrete part. It decides nothing else.

`agent(config)` puts the parts together over what the ledger left, `reconfigured` around what
lives on when the configuration is read again; `agent.running` lets their loops turn.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import ParamSpec

import structlog
from aiohttp import ClientSession

from agent import keys, status
from agent.alerting import Alerting
from agent.amending import Amending
from agent.calllog import CallLog
from agent.clock import Clock
from agent.closing import Closing
from agent.configured import composer, connector, mail_server, plan_of, telling, trust
from agent.health import clock_is_synchronised
from agent.page.glance import Glance
from agent.page.today import Today
from agent.reading import ExtensionReading
from agent.restoring import Agreed, Restored, account, agree, known, restore, retire, rules_of, watch
from agent.sampling import Sampling
from agent.shipping import Lane, Shipping
from agent.store import ledger, records, told
from agent.store.database import Database, Store, StoreError, damaged, disk_hint
from agent.supervisor import Link
from agent.troubles import Parts, Troubles
from agent.upstream import Upstream
from config.model import Config
from delivery import http
from delivery.courier import Courier, Outcome, Parcel, Refused
from delivery.email import MailCourier
from delivery.webhook import WebhookCourier
from meter import signature
from meter.account import Account
from meter.model import Instant
from meter.sampled import by_call_log, sampled
from meter.tenancy import Tenancy
from meter.watched import Changes

P = ParamSpec("P")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent's parts, for its own socket, the demo and tests."""

    config: Config
    sampling: Sampling
    links: tuple[Link, ...]
    reading: ExtensionReading
    calls: CallLog
    amending: Amending
    closing: Closing
    shipping: Shipping | None
    lanes: tuple[Lane, ...]
    troubles: Troubles
    status: status.Status
    glance: Glance
    store: Store
    clock: Clock
    session: ClientSession


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
        parts.sampling.begin(left.changes)
        await parts.calls.load()
        yield parts


def _assemble(
    config: Config,
    clock: Clock,
    store: Store,
    left: Restored,
    session: ClientSession,
    living: Mapping[str, Link] = MappingProxyType({}),
) -> Agent:
    """Put the parts together. `living`: links that go on from here, by the name of their PBX."""
    state_dir, agent_id = config.agent.state_dir, config.agent.id
    contracts, calendars = left.agreed.contracts, left.agreed.calendars
    sampling = Sampling(left.levels, contracts, left.agreed.accounts, calendars, store, clock)
    sampling.alerting = Alerting(
        agent_id, contracts, left.watches, left.numbers, sampling.view, composer(config)
    )
    moved = asyncio.Event()
    links = _links(config, clock, sampling, moved, living)
    plan = plan_of(config)
    sampling.after_the_fact = frozenset(name for name, how in plan.sampling.items() if how.method == "cdr")
    by_log = by_call_log(plan.sampling)

    reading = ExtensionReading(
        links,
        contracts,
        calendars,
        left.levels.tenancy,
        {pbx.name: round(pbx.extensions_every.total_seconds() * 1000) for pbx in config.pbx},
        store,
        clock,
    )

    def load(db: Database, tenant: str) -> Account:
        return account(db, contracts[tenant], calendars[tenant], clock.now(), by_log)

    calls = CallLog(
        [link for link in links if link.connector.method != "events"],
        plan,
        contracts,
        calendars,
        left.levels.tenancy,
        sampling,
        load,
        store,
        clock,
    )

    unsure = set(sampled(plan.sampling))
    of_them = [tenant for tenant, one in contracts.items() if unsure.intersection(one.terms.pbxs)]
    amending = Amending(plan, state_dir, of_them, store, clock)

    def key() -> signature.PrivateKey:
        return keys.load(state_dir)

    shipping: Shipping | None = None

    def sealed() -> None:
        wake_lanes()  # its statement may be a mail
        if shipping is not None:
            shipping.bell.ring()

    closing = Closing(
        plan,
        contracts,
        calendars,
        store,
        clock,
        lambda db: keys.current(db, state_dir),
        clock_is_synchronised,
        sealed=sealed,
        known_up_to=lambda tenant: min(sampling.known_up_to(tenant), calls.known_up_to(tenant)),
        resnapshot=sampling.resnapshot,
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
    looked_at = Parts(links, left.levels, shipping, reading)
    troubles = Troubles(
        looked_at, state_dir, store, clock, clock_is_synchronised, telling(config), wake_lanes
    )
    state.needs = lambda: troubles.lines
    glance = Glance(state, Today(contracts, plan, store, clock), clock, moved)
    return Agent(
        *(config, sampling, links, reading, calls, amending, closing, shipping, lanes, troubles),
        *(state, glance, store, clock, session),
    )


def _links(
    config: Config, clock: Clock, sampling: Sampling, moved: asyncio.Event, living: Mapping[str, Link]
) -> tuple[Link, ...]:
    """Return the links that tell `sampling`: those that go on, and new ones."""
    take, lost = _and_set(moved, sampling.take), _and_set(moved, sampling.lost)
    for link in living.values():
        link.tell(take, lost)
    links = tuple(
        living.get(pbx.name) or Link(connector(pbx, clock.now), clock, take, lost) for pbx in config.pbx
    )

    def resnapshot() -> None:
        for link in links:
            link.connector.resnapshot()

    sampling.resnapshot = resnapshot
    return links


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


async def reconfigured(parts: Agent, config: Config, hang_up: Callable[[Link], Awaitable[None]]) -> Agent:
    """Return the parts of another configuration, around the levels and the links that live on.

    A PBX whose section is the same is followed without a gap; one whose section changed is followed
    anew, as after a lost link; one that is gone is followed no longer. The old parts' loops may turn
    meanwhile; afterwards they must end, and the new links and loops begin.

    Args:
        parts: What runs.
        config: Of the same agent, over the same state directory.
        hang_up: Ends the loop of a link.

    Raises:
        OSError: A file of an authority can't be read; nothing changed.
        StoreError: The disk failed. The old parts go on; links that were hung up must be followed again.
    """
    _try_out(config, parts)
    before = {pbx.name: pbx for pbx in parts.config.pbx}
    kept = {pbx.name for pbx in config.pbx if before.get(pbx.name) == pbx}
    for link in parts.links:
        if link.connector.name not in kept:
            await hang_up(link)
            link.leave()
    names = [pbx.name for pbx in config.pbx]
    sampling, levels, clock = parts.sampling, parts.sampling.levels, parts.clock

    def work(
        db: Database,
    ) -> tuple[Tenancy, dict[str, ledger.Left | None], Agreed, dict[str, Instant | None]]:
        retire(db, set(names))
        rules = rules_of(db, config)
        lefts = {name: known(db, name) for name in names if name not in kept}
        until = {name: told.told_until(db, name) for name in names}
        return rules, lefts, agree(db, config, rules, clock.now()), until

    async with sampling.still():
        rules, lefts, agreed, until = await parts.store.write(work)
        # Nothing waits from here on: no event can come between the old parts and the new ones.
        handover = sampling.hand_over()
        watches, numbers = sampling.alerting.remembered() if sampling.alerting else ({}, {})
        levels.tenancy = rules
        for name in before.keys() - kept:
            levels.forget(name)
        for name, left in lefts.items():
            watch(levels, name, left)
        going_on = Restored(levels, agreed, watches, numbers, Changes(), parts.closing.away_ms)
        links = {link.connector.name: link for link in parts.links if link.connector.name in kept}
        found = _assemble(config, clock, parts.store, going_on, parts.session, links)
        found.sampling.go_on(handover)
        found.calls.begin(until)
        found.troubles.go_on(parts.troubles)
        return found


def _try_out(config: Config, parts: Agent) -> None:
    """Make once what reads files of the operator's, so that one that can't be read is told before anything changes."""
    tuple(_lanes(config, parts.store, parts.clock, parts.session, lambda: keys.load(config.agent.state_dir)))
    for pbx in config.pbx:
        connector(pbx, parts.clock.now)


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
