"""`pbx-meter check`: would this agent work? One look at every door, and the next thing to type at each problem."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent import app, configured, keys, status
from agent.clock import Clock
from agent.store import ledger
from agent.store.database import Store, StoreError
from agent.upstream import Position
from config.model import Asterisk, Config, ThreeCX
from connectors.connector import Probe
from connectors.errors import ConnectorError
from delivery import http
from delivery.email import greet
from meter.tenancy import Kind, Tenancy, bare


class Mark(StrEnum):
    """How a finding stands."""

    FINE = "ok"
    NOTE = "note"  #: works, but look at it
    BAD = "bad"  #: the agent would not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check.

    Attributes:
        mark: How it stands.
        about: What was looked at (`pbx1`, `acme`, `mail`, …).
        said: What was found.
        hint: The next thing to do; "" if there is none.
    """

    mark: Mark
    about: str
    said: str
    hint: str = ""


async def check(config: Config, clock: Clock) -> list[Finding]:
    """Look at every door of a configured agent. Nothing is changed, no mail is sent."""
    found = [Finding(Mark.NOTE, "config", f"{p.key}: {p.what}", p.hint) for p in config.warnings]
    rules = configured.tenancy(config, b"check")
    found += await _state_dir(config)
    running = await status.ask(config.agent.socket)
    looks = await asyncio.gather(*(_pbx(pbx, rules, clock, running) for pbx in config.pbx))
    for look in looks:
        found += look
    found += _tenants(config, rules)
    found += await _mail(config)
    found += await _upstream(config, clock)
    return found


async def _state_dir(config: Config) -> list[Finding]:
    folder = config.agent.state_dir
    if not folder.exists():
        parent = next(p for p in folder.parents if p.exists())
        return [Finding(Mark.FINE, "state", f"{folder} will be made in {parent} at the first start")]
    store = Store(folder)
    try:
        await store.open()
        await store.close()
    except StoreError as error:
        return [Finding(Mark.BAD, "state", str(error), error.hint)]
    return [Finding(Mark.FINE, "state", f"{folder} can be used")]


async def _pbx(
    pbx: Asterisk | ThreeCX, rules: Tenancy, clock: Clock, running: dict[str, Any] | None
) -> list[Finding]:
    followed = running["pbxs"].get(pbx.name) if running is not None else None
    if isinstance(pbx, ThreeCX) and followed is not None:
        return [_followed(pbx, followed)]
    try:
        probe = await configured.connector(pbx, clock.now).probe()
    except ConnectorError as error:
        return [Finding(Mark.BAD, pbx.name, str(error), error.hint)]
    return [
        Finding(
            Mark.FINE,
            pbx.name,
            f"{probe.product or 'a PBX'} answers at {_where(pbx)}, {probe.up} legs up",
        ),
        *(_listed(pbx, probe, rules) if isinstance(pbx, ThreeCX) else _asterisk(pbx, probe, rules)),
    ]


def _followed(pbx: ThreeCX, said: dict[str, Any]) -> Finding:
    """Return what the running agent says of a 3CX: one token lives per client, a look of our own would end its."""
    if said["trouble"] is not None:
        return Finding(Mark.BAD, pbx.name, f"the running agent says: {said['trouble']}", said["hint"] or "")
    seen = f"{said['snapshots']} polls, {said['missed_polls']} missed"
    hint = "stop the agent to have it looked over anew: a 3CX lets one program at a time use a client"
    return Finding(Mark.FINE, pbx.name, f"the running agent follows it at {_where(pbx)}: {seen}", hint)


def _where(pbx: Asterisk | ThreeCX) -> str:
    if isinstance(pbx, Asterisk):
        return f"{pbx.host}:{pbx.port}"
    if pbx.url is not None and pbx.access != "cdr":
        return pbx.url
    cdr = pbx.cdr
    return "its CDR output" if cdr is None else str(cdr.listen or cdr.file)


def _asterisk(pbx: Asterisk, probe: Probe, rules: Tenancy) -> Iterable[Finding]:
    yield from _rights(pbx, probe)
    yield from _endpoints(pbx, probe, rules)


def _listed(pbx: ThreeCX, probe: Probe, rules: Tenancy) -> Iterable[Finding]:
    """Return what a 3CX says of itself: it lists its trunks, users and departments."""
    may = [what for what, allowed, _ in probe.rights if allowed]
    if may:
        yield Finding(Mark.FINE, pbx.name, f"the client may read: {', '.join(may)}")
    for what, allowed, needed in probe.rights:
        if allowed:
            continue
        if needed:
            hint = "Admin Console > Integrations > API > the client: Department DEFAULT, Role System Admin"
            yield Finding(Mark.BAD, pbx.name, f"the client may not read: {what}", hint)
        else:
            said = f"the client may not read: {what}; calls between two polls go unseen"
            hint = 'give it the Role System Owner, or let the CDR output arrive: cdr = { listen = "127.0.0.1:5015" }'
            yield Finding(Mark.NOTE, pbx.name, said, "" if pbx.cdr else hint)
    if pbx.access == "cdr":
        said = "call records only: figures come after each call, users stay unknown, notices come late"
        yield Finding(Mark.NOTE, pbx.name, said, 'with an Enterprise licence: access = "xapi"')
        return
    yield Finding(Mark.FINE, pbx.name, f"trunks, as the 3CX lists them: {_some(sorted(probe.trunk_hints))}")
    users: Counter[str | None] = Counter(
        rules.user_of(pbx.name, user.number, user.departments)
        for user in probe.users
        if rules.is_billed(pbx.name, user.endpoint)
    )
    yield from _owners(pbx.name, users, "match.departments take them")


def _rights(pbx: Asterisk, probe: Probe) -> Iterable[Finding]:
    missing = [(what, needed) for what, allowed, needed in probe.rights if not allowed]
    may = ", ".join(what for what, allowed, _ in probe.rights if allowed)
    yield Finding(Mark.FINE, pbx.name, f"the account may: {may or 'nothing'}")
    if not any(what == "read = call" for what, _, _ in probe.rights):
        yield Finding(
            Mark.NOTE,
            pbx.name,
            "whether the account hears of calls shows only with the next call: no event came meanwhile",
            "it needs `read = call`; the agent tells if it hears nothing of calls that are up",
        )
    for what, needed in missing:
        yield Finding(
            Mark.BAD if needed else Mark.NOTE,
            pbx.name,
            f"the account may not: {what}",
            "give it `read = call` and `write = reporting` in manager.d, then: asterisk -rx 'manager reload'"
            if needed
            else "not needed; the agent works without it",
        )


def _endpoints(pbx: Asterisk, probe: Probe, rules: Tenancy) -> Iterable[Finding]:
    kinds: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for endpoint in sorted(set(probe.endpoints)):
        judged = rules.judge(pbx.name, endpoint)
        kinds[judged.kind].append(judged.shown)
    trunks = kinds[Kind.TRUNK]
    if trunks:
        yield Finding(Mark.FINE, pbx.name, f"trunks: {_some(trunks)}")
    known = set(probe.endpoints)
    for rule in pbx.trunks:
        if not any(rules.judge(pbx.name, endpoint).rule == rule for endpoint in known):
            yield Finding(
                Mark.NOTE,
                pbx.name,
                f"the PBX names no endpoint that meets the trunk rule {rule}",
                "compare it with: asterisk -rx 'pjsip show endpoints'",
            )
    if not pbx.trunks:
        hints = list(probe.trunk_hints) or kinds[Kind.UNCLASSIFIED]
        yield Finding(
            Mark.BAD, pbx.name, "no trunk is configured: nothing would be counted",
            f"these may be trunks: {_some(hints)}; write them into `trunks`",
        )  # fmt: skip
    yield Finding(
        Mark.FINE, pbx.name, f"extensions: {_some([bare(shown) for shown in kinds[Kind.EXTENSION]])}"
    )
    stray = kinds[Kind.UNCLASSIFIED]
    if stray:
        yield Finding(
            Mark.NOTE, pbx.name, f"unclassified, counted nowhere: {_some(stray)}",
            "add them to `trunks`, or let the `extensions` rule match them",
        )  # fmt: skip
    yield from _users(pbx, known, rules)


def _users(pbx: Asterisk, known: Iterable[str], rules: Tenancy) -> Iterable[Finding]:
    users: Counter[str | None] = Counter(
        rules.user_of(pbx.name, bare(endpoint)) for endpoint in known if rules.is_billed(pbx.name, endpoint)
    )
    yield from _owners(pbx.name, users, "match.extensions match them")


def _owners(pbx: str, users: Mapping[str | None, int], how: str) -> Iterable[Finding]:
    for owner, count in sorted(users.items(), key=lambda item: item[0] or ""):
        if owner is None:
            yield Finding(
                Mark.NOTE, pbx, f"{count} users belong to no tenant",
                f"let a tenant's {how}, or mark one tenant `default = true`",
            )  # fmt: skip
        else:
            yield Finding(Mark.FINE, pbx, f"{count} users of {owner}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"  # noqa: PLR2004 - a line


def _tenants(config: Config, rules: Tenancy) -> Iterable[Finding]:
    for tenant in config.tenant:
        on = ", ".join(rules.pbxs_of(tenant.id))
        size = "no capacity" if tenant.capacity is None else f"capacity {tenant.capacity}"
        told = len(tenant.alerts) + sum(
            (tenant.webhooks is None or hook.id in tenant.webhooks)
            and (hook.tenants is None or tenant.id in hook.tenants)
            for hook in config.webhook
        )
        yield Finding(
            Mark.FINE,
            tenant.id,
            f"billed by {tenant.basis.value} per {tenant.period} on {on}, {size}, {told} told of overruns",
        )


async def _mail(config: Config) -> list[Finding]:
    server = configured.mail_server(config)
    if server is None:
        return []
    where = f"{server.host}:{server.port}"
    trouble = await greet(server)
    if trouble is not None:
        hint = "check host, port, tls, username and password under [smtp]"
        return [Finding(Mark.BAD, "mail", f"{where} does not take mail from us: {trouble}", hint)]
    return [Finding(Mark.FINE, "mail", f"{where} answers")]


async def _upstream(config: Config, clock: Clock) -> list[Finding]:
    upstream = config.upstream
    if upstream is None:
        return [Finding(Mark.NOTE, "upstream", "no provider is configured: records stay here")]
    invite = "ask the provider for an invitation, then: pbx-meter enrol 'LINE'"
    not_yet = [Finding(Mark.BAD, "upstream", "this agent is not enrolled at the provider", invite)]
    if not (config.agent.state_dir / "meter.db").exists():
        return not_yet
    store = Store(config.agent.state_dir)
    await store.open()
    try:
        if await store.read(lambda db: ledger.fact(db, "receiver")) is None:
            return not_yet
        async with http.open_session() as session:
            at = await app.receiver(config, store, clock, session)
            answer = await at.position(keys.load(config.agent.state_dir)) if at is not None else None
    except keys.KeyTrouble as error:
        return [Finding(Mark.BAD, "upstream", str(error), error.hint)]
    finally:
        await store.close()
    where = http.place(upstream.url)
    if isinstance(answer, Position):
        return [Finding(Mark.FINE, "upstream", f"{where} answers and has {answer.sequence} of our records")]
    why = answer.why if answer is not None else "no answer"
    return [Finding(Mark.BAD, "upstream", why, (answer.hint if answer else "") or "check [upstream] url")]
