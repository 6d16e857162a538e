"""What only shows when sections are compared with each other.

A problem stops the agent; a warning works and looks unintended. A check that
needs a section of which a part could not be read stays silent: what it would
say could be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeAlias

from config.model import Agent, Asterisk, Brand, Operator, Pbx, Report, Smtp, Tenant, ThreeCX, Webhook
from config.problems import Problem, shown
from config.values import is_loopback
from meter.tenancy import bare

#: sockaddr_un holds 108 bytes, the last of them zero (unix(7)).
_LONGEST_SOCKET_BYTES: Final = 107


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections that are whole, each by where it stands (`tenant[1]`).

    `broken` names the sections of which some part could not be read.
    """

    file: Path
    agent: Agent | None
    pbx: Mapping[str, Pbx]
    tenant: Mapping[str, Tenant]
    smtp: Smtp | None
    operator: Operator | None
    report: Report | None
    webhook: Mapping[str, Webhook]
    brand: Mapping[str, Brand]
    broken: frozenset[str] = frozenset()


#: Key, what, hint, value.
Finding: TypeAlias = tuple[str, str, str, str | int | None]
Check: TypeAlias = Callable[[Sections], Iterator[Finding]]


def problems_between(sections: Sections) -> list[Problem]:
    """Return why these sections can't work together."""
    return _found(_PROBLEMS, sections)


def warnings_between(sections: Sections) -> list[Problem]:
    """Return what works and looks unintended."""
    return _found(_WARNINGS, sections)


def _found(checks: Iterable[Check], sections: Sections) -> list[Problem]:
    return [
        Problem(sections.file, key, what, hint, shown(value))
        for check in checks
        for key, what, hint, value in check(sections)
    ]


def names_are_unique(sections: Sections) -> Iterator[Finding]:
    """Two sections of one sort never have one name."""
    named: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("name", {key: pbx.name for key, pbx in sections.pbx.items()}),
        ("id", {key: tenant.id for key, tenant in sections.tenant.items()}),
        ("id", {key: webhook.id for key, webhook in sections.webhook.items()}),
        ("id", {key: brand.id for key, brand in sections.brand.items()}),
    )
    for what, names in named:
        first: dict[str, str] = {}
        for key, name in names.items():
            if first.setdefault(name, key) != key:
                yield f"{key}.{what}", f"{first[name]} has it already", "give each its own", name


def one_default(sections: Sections) -> Iterator[Finding]:
    """What no rule takes goes to one tenant at most."""
    defaults = [key for key, tenant in sections.tenant.items() if tenant.default]
    for key in defaults[1:]:
        yield f"{key}.default", f"{defaults[0]} is the default already", "leave it out here or there", None


def tenants_take_something(sections: Sections) -> Iterator[Finding]:
    """A tenant that nothing can belong to would be billed zero for ever."""
    for key, tenant in sections.tenant.items():
        if not (tenant.default or tenant.match.takes_legs or tenant.match.extensions):
            yield f"{key}.match", "nothing can be this tenant's", "add match.trunks, or default = true", None


def trunks_are_listed(sections: Sections) -> Iterator[Finding]:
    """A tenant's trunk is a trunk of a PBX, else its legs count nowhere."""
    if "pbx" in sections.broken:
        return
    for key, tenant in sections.tenant.items():
        for i, rule in enumerate(tenant.match.trunks):
            if not any(
                _may_meet(rule, trunk) for pbx in _pbxs(tenant, sections) for trunk in _trunks_of(pbx)
            ):
                where = f"PBX {tenant.match.pbx}" if tenant.match.pbx else "no PBX"
                says = f"{where} does not list it" if tenant.match.pbx else "no PBX lists it"
                yield f"{key}.match.trunks[{i}]", says, "add it to trunks of its [[pbx]], or correct it", rule


def shared_trunk_names_say_which(sections: Sections) -> Iterator[Finding]:
    """A trunk name that two PBXs have says nothing without the PBX."""
    if "pbx" in sections.broken:
        return
    for key, tenant in sections.tenant.items():
        if tenant.match.pbx is not None:
            continue
        for i, rule in enumerate(tenant.match.trunks):
            first: dict[str, str] = {}
            for pbx in sections.pbx.values():
                for trunk in _trunks_of(pbx):
                    if _meets(rule, trunk) and first.setdefault(trunk, pbx.name) != pbx.name:
                        what = f"PBX {first[trunk]} and PBX {pbx.name} both have {trunk}"
                        yield f"{key}.match.trunks[{i}]", what, f'add match.pbx = "{pbx.name}"', rule


def references_exist(sections: Sections) -> Iterator[Finding]:
    """A name that is used is the name of something."""
    pbxs = [pbx.name for pbx in sections.pbx.values()]
    tenants = [tenant.id for tenant in sections.tenant.values()]
    webhooks = [webhook.id for webhook in sections.webhook.values()]
    brands = [brand.id for brand in sections.brand.values()]
    used: list[tuple[str, str, str | None, list[str]]] = []
    for key, tenant in sections.tenant.items():
        used.append((f"{key}.match.pbx", "pbx", tenant.match.pbx, pbxs))
        used.append((f"{key}.brand", "brand", tenant.brand, brands))
        used += [
            (f"{key}.webhooks[{i}]", "webhook", id_, webhooks) for i, id_ in enumerate(tenant.webhooks or ())
        ]
    for key, webhook in sections.webhook.items():
        used += [
            (f"{key}.tenants[{i}]", "tenant", id_, tenants) for i, id_ in enumerate(webhook.tenants or ())
        ]
    for key, sort, name, known in used:
        if name is not None and name not in known and sort not in sections.broken:
            hint = f"known: {', '.join(known)}" if known else f"add [[{sort}]]"
            yield key, f"there is no [[{sort}]] of that name", hint, name


def mail_can_leave(sections: Sections) -> Iterator[Finding]:
    """Addresses need a mail server; an account needs its password."""
    if sections.smtp is None and "smtp" not in sections.broken:
        told = [f"{key}.alerts" for key, tenant in sections.tenant.items() if tenant.alerts]
        told += ["operator.email"] if sections.operator else []
        told += ["report.email"] if sections.report else []
        for key in told:
            yield key, "mail can't be sent without [smtp]", "add [smtp] with host and sender", None
    if sections.smtp and (sections.smtp.username is None) != (sections.smtp.password is None):
        yield "smtp", "username and password come together", "add the missing one, or leave out both", None


def ca_has_a_use(sections: Sections) -> Iterator[Finding]:
    """A certificate that nothing would check misleads whoever reads the file."""
    for key, pbx in _asterisks(sections):
        if pbx.ca_file and not pbx.tls:
            yield (
                f"{key}.ca_file",
                "is not used without TLS",
                "add tls = true, or leave it out",
                str(pbx.ca_file),
            )
    if sections.smtp and sections.smtp.ca_file and sections.smtp.tls == "none":
        yield (
            "smtp.ca_file",
            "is not used without TLS",
            'add tls = "starttls", or leave it out',
            str(sections.smtp.ca_file),
        )


def socket_fits(sections: Sections) -> Iterator[Finding]:
    """A local socket's name has a longest length."""
    if sections.agent and len(str(sections.agent.socket).encode()) > _LONGEST_SOCKET_BYTES:
        what = f"longer than the {_LONGEST_SOCKET_BYTES} bytes that the system takes"
        yield (
            "agent.socket",
            what,
            'write a shorter one, as in "/run/pbx-meter/agent.sock"',
            str(sections.agent.socket),
        )


def passwords_stay_private(sections: Sections) -> Iterator[Finding]:
    """A password in plain TCP can be read on its way."""
    for key, pbx in _asterisks(sections):
        if not pbx.tls and not is_loopback(pbx.host):
            yield (
                f"{key}.host",
                "the AMI secret travels in plain TCP",
                "add tls = true, or run the agent on the PBX",
                pbx.host,
            )
    smtp = sections.smtp
    if smtp and smtp.password and smtp.tls == "none" and not is_loopback(smtp.host):
        yield "smtp.tls", "the password travels in plain TCP", 'write "starttls" or "tls"', "none"


def something_counts(sections: Sections) -> Iterator[Finding]:
    """A PBX without trunks has no external call, one without an extension rule no user."""
    for key, pbx in _asterisks(sections):
        if not pbx.trunks:
            hint = "see their names with: pbx-meter check"
            yield f"{key}.trunks", "nothing counts without trunks", hint, None
        if pbx.extensions is None:
            what = "without a rule there are no users, and phones show as unclassified"
            yield f"{key}.extensions", what, 'add one, as in "1[0-9]{2}"', None


def departments_exist_somewhere(sections: Sections) -> Iterator[Finding]:
    """Departments are 3CX's: without one, a tenant that has only those gets nothing."""
    if "pbx" in sections.broken:
        return
    for key, tenant in sections.tenant.items():
        if tenant.match.departments and not any(isinstance(p, ThreeCX) for p in _pbxs(tenant, sections)):
            yield (
                f"{key}.match.departments",
                "no 3CX has departments here",
                "leave it out, or add the 3CX",
                None,
            )


def call_records_come_from_here(sections: Sections) -> Iterator[Finding]:
    """A port that is open to more than this machine is worth a word."""
    for key, pbx in sections.pbx.items():
        if isinstance(pbx, ThreeCX) and pbx.cdr and pbx.cdr.listen:
            host = pbx.cdr.listen.rpartition(":")[0]
            if not is_loopback(host) and is_loopback(pbx.cdr.peer):
                what = "listens to the network, and only this machine may connect"
                yield f"{key}.cdr.listen", what, "write the PBX's address in peer", pbx.cdr.listen


def login_is_a_choice(sections: Sections) -> Iterator[Finding]:
    """The web client's login is 3CX's own and undocumented."""
    for key, pbx in sections.pbx.items():
        if isinstance(pbx, ThreeCX) and pbx.access == "user_login":
            what = "uses the web client's own login: undocumented, needs an administrator without 2FA"
            yield f"{key}.access", what, 'with an Enterprise licence write access = "xapi"', "user_login"


def trunks_are_no_extensions(sections: Sections) -> Iterator[Finding]:
    """A name that both rules take is a trunk."""
    for key, pbx in sections.pbx.items():
        for i, trunk in enumerate(pbx.trunks):
            if pbx.extensions and pbx.extensions.fullmatch(bare(trunk)):
                what = "is an extension by the rule of this PBX too; it counts as a trunk"
                yield f"{key}.trunks[{i}]", what, "narrow extensions", trunk


def every_rule_is_reached(sections: Sections) -> Iterator[Finding]:
    """Of two tenants with one trunk the first has it all."""
    before: list[tuple[str, Tenant]] = []
    for key, tenant in sections.tenant.items():
        for i, rule in enumerate(tenant.match.trunks):
            for first, other in before:
                apart = None not in (mine := tenant.match.pbx, theirs := other.match.pbx) and mine != theirs
                if not apart and any(rule == own or fnmatchcase(rule, own) for own in other.match.trunks):
                    what = f"{first} ({other.id}) takes it first"
                    yield f"{key}.match.trunks[{i}]", what, "leave it out, or move this tenant up", rule
        before.append((key, tenant))


def capacity_fits_packages(sections: Sections) -> Iterator[Finding]:
    """A capacity that nobody sells, and a capacity that nobody hears of."""
    for key, tenant in sections.tenant.items():
        if tenant.capacity and tenant.packages and tenant.capacity > tenant.packages[-1]:
            what = f"larger than the largest package ({tenant.packages[-1]})"
            yield f"{key}.capacity", what, "correct it, or add the package", tenant.capacity
        if tenant.alerts and tenant.capacity is None:
            yield f"{key}.alerts", "nobody is told anything without a capacity", "add capacity", None


_PROBLEMS: Final = (
    names_are_unique,
    one_default,
    tenants_take_something,
    trunks_are_listed,
    shared_trunk_names_say_which,
    departments_exist_somewhere,
    references_exist,
    mail_can_leave,
    ca_has_a_use,
    socket_fits,
)
_WARNINGS: Final = (
    passwords_stay_private,
    something_counts,
    call_records_come_from_here,
    login_is_a_choice,
    trunks_are_no_extensions,
    every_rule_is_reached,
    capacity_fits_packages,
)


def _pbxs(tenant: Tenant, sections: Sections) -> list[Pbx]:
    """Return the PBXs that a tenant's rules hold on."""
    return [pbx for pbx in sections.pbx.values() if tenant.match.pbx in (None, pbx.name)]


def _asterisks(sections: Sections) -> Iterator[tuple[str, Asterisk]]:
    return ((key, pbx) for key, pbx in sections.pbx.items() if isinstance(pbx, Asterisk))


def _trunks_of(pbx: Pbx) -> tuple[str, ...]:
    """Return the trunk rules of a PBX; a 3CX lists its trunks itself."""
    return ("3CX/*",) if isinstance(pbx, ThreeCX) else pbx.trunks


def _meets(rule: str, trunk: str) -> bool:
    """Whether a tenant's rule certainly takes endpoints that a PBX's rule takes."""
    return rule == trunk or fnmatchcase(trunk, rule) or fnmatchcase(rule, trunk)


def _may_meet(rule: str, trunk: str) -> bool:
    """Whether it possibly does: of two globs only the beginnings can be compared."""
    if _meets(rule, trunk):
        return True
    one, other = _literal(rule), _literal(trunk)
    return rule != one and trunk != other and (one.startswith(other) or other.startswith(one))


def _literal(rule: str) -> str:
    """Return what stands before a glob's first wildcard."""
    return rule[: min((i for i, char in enumerate(rule) if char in "*?["), default=len(rule))]
