"""What the operator wrote, as the values that the loops and doors take. Reads nothing, decides nothing."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from agent import reporting
from agent.alerting import Row
from agent.contracts import Contract
from agent.sealing import Plan
from agent.store.records import Sealed
from agent.troubles import Telling
from config.meaning import config_sha256
from config.model import Asterisk as AsteriskPbx
from config.model import Cdr, Config, Tenant
from config.model import ThreeCX as ThreeCXPbx
from config.problems import ConfigError, Problem
from connectors.asterisk.settings import Settings
from connectors.connector import Connector
from connectors.kinds import KINDS
from connectors.threecx import cdr as threecx_cdr
from connectors.threecx import settings as threecx
from delivery.email import MailServer, Security
from delivery.mail import Brand, notice_mail
from delivery.payload import notice_payload
from delivery.reporting import usage
from delivery.tidings import operator_mail, topic
from meter.capacity import Limits
from meter.model import Instant, Terms
from meter.notices import Notice
from meter.periods import HOUR_MS
from meter.sampled import Sampling
from meter.tenancy import PbxRules, Tenancy, TenantRules
from meter.troubles import Tidings


def tenancy(config: Config, key: bytes) -> Tenancy:
    """Return the operator's rules."""
    return Tenancy(
        [
            PbxRules(p.name, p.trunks, p.extensions, p.exclude, "" if isinstance(p, AsteriskPbx) else "3CX/")
            for p in config.pbx
        ],
        [
            TenantRules(
                tenant=t.id,
                pbx=t.match.pbx,
                trunks=t.match.trunks,
                accounts=t.match.accounts,
                contexts=t.match.contexts,
                dids=t.match.dids,
                departments=t.match.departments,
                extensions=t.match.extensions,
                default=t.default,
            )
            for t in config.tenant
        ],
        key,
    )


def connector(pbx: AsteriskPbx | ThreeCXPbx, now: Callable[[], Instant]) -> Connector:
    """Return the connector of a configured PBX."""
    settings = _asterisk(pbx) if isinstance(pbx, AsteriskPbx) else _threecx(pbx)
    return KINDS[pbx.kind]()(pbx.name, settings, now)


def _asterisk(pbx: AsteriskPbx) -> Settings:
    return Settings(
        host=pbx.host,
        port=pbx.port,
        username=pbx.username,
        secret=pbx.secret.reveal(),
        tls=trust(pbx.ca_file) if pbx.tls else None,
        snapshot_every_s=pbx.snapshot_every.total_seconds(),
    )


def _threecx(pbx: ThreeCXPbx) -> threecx.Settings:
    return threecx.Settings(
        url=pbx.url or "",
        access=threecx.Access(pbx.access),
        username=(pbx.client_id if pbx.access == "xapi" else pbx.username) or "",
        secret="" if pbx.secret is None else pbx.secret.reveal(),
        tls=None if pbx.ca_file is None else trust(pbx.ca_file),
        fingerprint=None if pbx.fingerprint is None else bytes.fromhex(pbx.fingerprint),
        poll_s=pbx.poll.total_seconds(),
        bridges=pbx.bridges,
        cdr=None if pbx.cdr is None else _cdr(pbx.name, pbx.cdr),
    )


def _cdr(name: str, cdr: Cdr) -> threecx.Cdr:
    missing = threecx_cdr.missing(cdr.fields)
    if missing:
        what = f"lacks {', '.join(missing)}, without which no line can be read"
        hint = "choose these columns on the CDR page of the 3CX's Admin Console too"
        raise ConfigError([Problem(Path("configuration"), f"{name}.cdr.fields", what, hint)])
    host, _, port = (cdr.listen or "").rpartition(":")
    return threecx.Cdr(
        host=host or "127.0.0.1",
        port=int(port) if port else None,
        peer=cdr.peer,
        file=cdr.file,
        utc=cdr.utc,
        fields=cdr.fields,
    )


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that checks certificates, by a private authority if one is given."""
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def contract(tenant: Tenant, rules: Tenancy) -> Contract:
    """Return what a tenant of the configuration agreed; its terms hold from instant 0 until dated."""
    limits = None
    if tenant.capacity is not None:
        limits = Limits(tenant.capacity, tenant.warn_at, round(tenant.repeat.total_seconds() * 1000))
    terms = Terms(
        tenant=tenant.id,
        at=0,
        lines=tenant.capacity,
        basis=tenant.basis,
        pbxs=rules.pbxs_of(tenant.id),
        user_pbxs=rules.user_pbxs_of(tenant.id),
        packages=tenant.packages,
        name=tenant.name,
        timezone=str(tenant.timezone),
        period=tenant.period,
    )
    return Contract(terms, tenant.timezone, limits)


def plan_of(config: Config) -> Plan:
    """Return how and when this agent seals."""
    default = next((t.id for t in config.tenant if t.default), None)
    if default is None and len(config.tenant) == 1:
        default = config.tenant[0].id
    return Plan(
        agent={
            "id": config.agent.id,
            "version": version("pbx-meter"),
            "config_sha256": config_sha256(config),
        },
        grace_ms=round(config.agent.grace.total_seconds() * 1000),
        interim_ms=round(config.upstream.interim.total_seconds() * 1000) if config.upstream else HOUR_MS,
        sampling=sampling(config),
        default=default,
        statements=statements(config),
    )


def sampling(config: Config) -> dict[str, Sampling]:
    """Return how each configured PBX is watched."""
    return {
        pbx.name: Sampling()
        if isinstance(pbx, AsteriskPbx)
        else Sampling(
            "cdr" if pbx.access == "cdr" else "polled",
            None if pbx.access == "cdr" else round(pbx.poll.total_seconds() * 1000),
            "call_log" if pbx.access == "cdr" else pbx.peak_from,
        )
        for pbx in config.pbx
    }


def mail_server(config: Config) -> MailServer | None:
    """Return the server that takes our mail, or None."""
    smtp = config.smtp
    if smtp is None:
        return None
    return MailServer(
        host=smtp.host,
        port=smtp.port,
        sender=smtp.sender,
        security=Security(smtp.tls),
        username=smtp.username,
        password=smtp.password.reveal() if smtp.password else None,
        tls=trust(smtp.ca_file) if smtp.ca_file else None,
    )


def composer(config: Config) -> Callable[[Notice], list[Row]]:
    """Return what turns a notice into the outbox rows that leave for it."""
    tenants = {t.id: t for t in config.tenant}

    def compose(notice: Notice) -> list[Row]:
        tenant = tenants[notice.tenant]
        brand = _brand(config, tenant)
        rows: list[Row] = []
        for address in tenant.alerts if config.smtp else ():
            mail = notice_mail(
                notice,
                brand=brand,
                language=tenant.language,
                tz=tenant.timezone,
                sender=config.smtp.sender if config.smtp else "",
                recipient=address,
            )
            rows.append((f"{notice.id}/mail/{_to(address)}", "mail", address, mail.as_bytes()))
        for hook in config.webhook:
            wanted = tenant.webhooks is None or hook.id in tenant.webhooks
            if wanted and (hook.tenants is None or tenant.id in hook.tenants):
                rows.append((f"{notice.id}/webhook/{hook.id}", "webhook", hook.id, notice_payload(notice)))
        return rows

    return compose


def statements(config: Config) -> Callable[[Sealed], list[Row]]:
    """Return what turns a sealed record into the mails that `[report]` asks for; without it there are none."""
    if config.report is None or config.smtp is None:
        return lambda _: []
    tenants = {t.id: t for t in config.tenant}

    def reader(tenant: str) -> reporting.Reader:
        found = tenants.get(tenant)
        brand = _brand(config, found)
        look = usage.Brand(brand.name, brand.colour, reply_to=brand.reply_to, footer=brand.footer)
        return reporting.Reader("en" if found is None else found.language, look)

    return reporting.statements(config.report.email, config.smtp.sender, reader)


def _brand(config: Config, tenant: Tenant | None) -> Brand:
    """Return in whose name a tenant reads: its own brand, else the first, else ours."""
    brands = {b.id: b for b in config.brand}
    found = brands[tenant.brand] if tenant is not None and tenant.brand else next(iter(config.brand), None)
    if found is None:
        return Brand("pbx-meter")
    return Brand(found.name, found.colour, found.reply_to, found.footer or "")


def telling(config: Config) -> Telling:
    """Return how the operator is told; without `[operator]` nobody is."""
    operator, smtp = config.operator, config.smtp
    if operator is None or smtp is None:
        return Telling()

    def compose(tidings: Tidings) -> list[Row]:
        id_ = topic(config.agent.id, tidings)
        return [
            (
                f"{id_}/mail/{_to(address)}",
                "mail",
                address,
                operator_mail(
                    tidings,
                    agent=config.agent.id,
                    language=operator.language,
                    tz=config.agent.timezone,
                    sender=smtp.sender,
                    recipient=address,
                ).as_bytes(),
            )
            for address in operator.email
        ]

    return Telling(compose, round(operator.unreachable_after.total_seconds() * 1000))


def _to(address: str) -> str:
    """Return what tells an address from others in a row's id, without naming it."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]
