"""Which leg is a trunk leg, and whose it is: the operator's rules, judged in the order of the definition.

Rules are exact names or globs, compared with case and in full: `kpn` never
matches `kpn2`. Nothing here remembers a leg; `meter.levels` settles each leg
once and keeps what was settled.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import translate
from typing import Final

_DIGITS: Final = re.compile(r"\d{6,}")
_GLOB: Final = re.compile(r"[*?\[]")


class Kind(Enum):
    """What a leg's endpoint is."""

    TRUNK = "trunk"
    EXTENSION = "extension"
    UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, slots=True)
class PbxRules:
    """How one PBX's endpoints are told apart.

    Attributes:
        pbx: Its configured name.
        trunks: Exact full endpoints (`PJSIP/kpn`) or globs.
        extensions: Matched in full over the bare endpoint (`101`); None: nothing is an extension.
        exclude: Extensions that are not billed, matched likewise.
        listed: How endpoints of a PBX begin that itself says what is a trunk, what a user
            and which department has it (`3CX/`); "": it doesn't.
    """

    pbx: str
    trunks: tuple[str, ...]
    extensions: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    listed: str = ""


@dataclass(frozen=True, slots=True)
class TenantRules:
    """How one tenant's legs and extensions are told from others'.

    Attributes:
        tenant: Its id.
        pbx: The one PBX that the rules hold on; None: every PBX.
        trunks, accounts, contexts, dids: Exact values or globs.
        departments: Names or numbers of departments, or globs, where the PBX has such.
        extensions: Its extensions, matched in full over the bare endpoint; None: none.
        default: Whether it gets what nobody's rule takes.
    """

    tenant: str
    pbx: str | None = None
    trunks: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    dids: tuple[str, ...] = field(default=(), repr=False)
    departments: tuple[str, ...] = ()
    extensions: re.Pattern[str] | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What one leg says about whose it is. "" says nothing.

    Attributes:
        trunk: Its full endpoint if it is a trunk leg.
        account: Its account code.
        context: Its first context; "" if the leg was first met in a snapshot.
        did: The number dialled, of an inbound trunk leg seen from its birth.
        settled: Whose it was found to be before the agent restarted; wins over the rest.
        departments: Names and numbers of the departments that it may belong to, the surest first.
    """

    trunk: str = field(default="", repr=False)
    account: str = field(default="", repr=False)
    context: str = field(default="", repr=False)
    did: str = field(default="", repr=False)
    settled: str | None = None
    departments: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an endpoint is.

    Attributes:
        kind: Trunk, extension or neither.
        rule: The trunk rule that it met, as configured; None unless a trunk.
        shown: The endpoint as it may be stored and shown.
    """

    kind: Kind
    rule: str | None
    shown: str


class _Patterns:
    """Exact values and globs, each with what it stands for; the first in order wins."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._exact: dict[str, tuple[int, str]] = {}
        self._globs: list[tuple[int, re.Pattern[str], str]] = []
        for order, (text, meaning) in enumerate(entries):
            if _GLOB.search(text):
                self._globs.append((order, re.compile(translate(text)), meaning))
            else:
                self._exact.setdefault(text, (order, meaning))

    def find(self, value: str) -> str | None:
        if not value:
            return None
        best = self._exact.get(value)
        for order, pattern, meaning in self._globs:
            if best is not None and best[0] < order:
                break
            if pattern.match(value):
                return meaning
        return best[1] if best else None


class Tenancy:
    """The rules of one agent.

    Args:
        pbxs: Every PBX's rules.
        tenants: Every tenant's rules, in the order of the configuration.
        key: Secret of this agent: the hash of a digit run can't be looked up without it.
    """

    #: Endpoints whose judgement is remembered; DAHDI names carry numbers and never end.
    REMEMBERED = 4096

    def __init__(self, pbxs: Sequence[PbxRules], tenants: Sequence[TenantRules], key: bytes) -> None:
        self._pbxs = {p.pbx: p for p in pbxs}
        self._trunks = {p.pbx: _Patterns((t, t) for t in p.trunks) for p in pbxs}
        self._key = key
        self._judged: dict[tuple[str, str], Judged] = {}
        self._tenants = tuple(tenants)
        self.default = next((t.tenant for t in tenants if t.default), None)
        self._criteria: dict[str, tuple[_Patterns, _Patterns, _Patterns, _Patterns]] = {}
        self._departments: dict[str, _Patterns] = {}
        for p in pbxs:
            own = [t for t in tenants if t.pbx in (None, p.pbx)]
            self._criteria[p.pbx] = (
                _Patterns((v, t.tenant) for t in own for v in t.trunks),
                _Patterns((v, t.tenant) for t in own for v in t.accounts),
                _Patterns((v, t.tenant) for t in own for v in t.contexts),
                _Patterns((v, t.tenant) for t in own for v in t.dids),
            )
            self._departments[p.pbx] = _Patterns((v, t.tenant) for t in own for v in t.departments)

    def judge(self, pbx: str, endpoint: str, *, listed: bool = False) -> Judged:
        """Return what an endpoint of a PBX is. A trunk rule wins over the extension rule.

        Args:
            pbx: The PBX.
            endpoint: The full endpoint.
            listed: The PBX itself lists it as a trunk: it is one by that name.
        """
        if listed:
            return Judged(Kind.TRUNK, endpoint, endpoint)
        known = self._judged.get((pbx, endpoint))
        if known is None:
            known = self._judge(pbx, endpoint)
            if len(self._judged) >= self.REMEMBERED:
                self._judged.clear()
            self._judged[pbx, endpoint] = known
        return known

    def lists_trunks(self, pbx: str) -> bool:
        """Return whether a PBX itself says what is a trunk."""
        return bool(self._pbxs[pbx].listed)

    def _judge(self, pbx: str, endpoint: str) -> Judged:
        rule = self._trunks[pbx].find(endpoint)
        if rule is not None:
            return Judged(Kind.TRUNK, rule, endpoint if rule == endpoint else self.redacted(endpoint))
        pattern = self._pbxs[pbx].extensions
        if pattern is not None and pattern.fullmatch(bare(endpoint)):
            return Judged(Kind.EXTENSION, None, self.redacted(endpoint))
        return Judged(Kind.UNCLASSIFIED, None, self.redacted(endpoint))

    def redacted(self, endpoint: str) -> str:
        """Return an endpoint with every run of six or more digits replaced by a keyed hash."""

        def hashed(run: re.Match[str]) -> str:
            return "#" + hmac.new(self._key, run[0].encode(), hashlib.sha256).hexdigest()[:8]

        return _DIGITS.sub(hashed, endpoint)

    def tenant_of(self, pbx: str, own: Claims, others: Iterable[Claims]) -> str | None:
        """Return whose a trunk leg is: by its own claims, then by its call's other legs, oldest first.

        Returns:
            The tenant's id; the default tenant's if nobody's rule matches; None: unassigned.
        """
        found = self._claimed(pbx, own)
        if found is None:
            found = next((t for c in others if (t := self._claimed(pbx, c)) is not None), None)
        return self.default if found is None else found

    def _claimed(self, pbx: str, claims: Claims) -> str | None:
        if claims.settled is not None:
            return claims.settled
        trunks, accounts, contexts, dids = self._criteria[pbx]
        found = trunks.find(claims.trunk)
        if found is None:
            found = self._of_departments(pbx, claims.departments)
        if found is None:
            found = accounts.find(claims.account)
        if found is None:
            found = contexts.find(claims.context)
        if found is None:
            found = dids.find(claims.did)
        return found

    def is_billed(self, pbx: str, endpoint: str) -> bool:
        """Return whether an endpoint is an extension that counts as a user."""
        rules = self._pbxs[pbx]
        if rules.exclude is not None and rules.exclude.fullmatch(bare(endpoint)):
            return False
        if rules.listed and rules.extensions is None:
            return True  # its list holds users and nothing else
        return self.judge(pbx, endpoint).kind is Kind.EXTENSION

    def user_of(self, pbx: str, number: str, departments: tuple[str, ...] = ()) -> str | None:
        """Return whose user an extension is: by its departments, else first match in the order of the configuration."""
        found = self._of_departments(pbx, departments)
        if found is not None:
            return found
        for tenant in self._tenants:
            if tenant.pbx in (None, pbx) and tenant.extensions and tenant.extensions.fullmatch(number):
                return tenant.tenant
        return self.default

    def _of_departments(self, pbx: str, departments: tuple[str, ...]) -> str | None:
        rules = self._departments[pbx]
        return next((t for name in departments if (t := rules.find(name)) is not None), None)

    def user_pbxs_of(self, tenant: str) -> tuple[str, ...]:
        """Return the PBXs that a tenant's users may be on, in the order of the configuration."""
        rules = next(t for t in self._tenants if t.tenant == tenant)
        if rules.pbx is not None:
            return (rules.pbx,)
        return tuple(self._pbxs) if rules.extensions or rules.default else self.pbxs_of(tenant)

    def pbxs_of(self, tenant: str) -> tuple[str, ...]:
        """Return the PBXs that a tenant's legs may be on, in the order of the configuration.

        One that has only trunk rules is on the PBXs that list one of them, one that has
        departments on those that have such; any other may turn up everywhere.
        """
        rules = next(t for t in self._tenants if t.tenant == tenant)
        if rules.pbx is not None:
            return (rules.pbx,)
        if rules.default or rules.accounts or rules.contexts or rules.dids:
            return tuple(self._pbxs)
        mine = _Patterns((t, t) for t in rules.trunks)
        return tuple(
            name
            for name, pbx in self._pbxs.items()
            if any(mine.find(t) for t in pbx.trunks)
            or any(self._trunks[name].find(t) for t in rules.trunks)
            or (pbx.listed and (rules.departments or any(t.startswith(pbx.listed) for t in rules.trunks)))
        ) or tuple(self._pbxs)


def bare(endpoint: str) -> str:
    """Return the bare endpoint: `101` of `PJSIP/101`."""
    return endpoint.partition("/")[2] or endpoint
