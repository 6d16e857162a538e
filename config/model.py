"""The configuration as values: checked, complete, frozen.

A field's `description` says what belongs there; it is also the hint that an
operator reads when something else stands there. Defaults that depend on another
section (a tenant's time zone) are filled in by `config.load` before these models
see the section. What needs two sections is in `config.checks`.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from config.problems import Problem
from config.secret import Secret
from meter.model import Level

Item = TypeVar("Item")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def wrong(what: str, hint: str) -> PydanticCustomError:
    """Return the error that says `what` is wrong with a value and what to do next."""
    return PydanticCustomError("operator", "{what}", {"what": what, "hint": hint})


def _duration(value: object) -> timedelta:
    """Read "30s", "10m", "4h", "35d"."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", value) if isinstance(value, str) else None
    if found is None:
        raise wrong("not a duration", 'write a whole number and a unit, in quotes: "30s", "10m", "4h", "35d"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _path(path: Path, info: ValidationInfo) -> Path:
    """Return the path; a relative one starts at the configuration's own folder."""
    return Path((info.context or {}).get("folder", "")) / path


def _authority(path: Path) -> Path:
    """Return the file if TLS can use it."""
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        why = (
            "is not there"
            if isinstance(error, FileNotFoundError)
            else "holds no certificate that can be read"
        )
        raise wrong(f"{path.name} {why}", _CA_SAYS) from None
    return path


def _url(url: str) -> str:
    """Return the URL if what goes there can't be read on the way."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL with a password in it would be shown", "take the user and the password out of it")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise wrong("plain http goes to this machine only", "write https://")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise wrong("not a URL", "write https://host/path")
    return url.rstrip("/")


def _trunk(name: str) -> str:
    if "/" not in name:
        raise wrong("a trunk is a full endpoint", f'write the technology too, as in "PJSIP/{name}"')
    return name


def _unique(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if len(set(items)) < len(items):
        raise wrong("something stands here twice", "keep it once")
    return items


def _ascending(packages: tuple[int, ...]) -> tuple[int, ...]:
    if any(low >= high for low, high in itertools.pairwise(packages)):
        raise wrong("packages have to grow", "write the smallest first and each size once")
    return packages


# Slugs stand in record ids (`acme/2026-11/final/1`), URLs and file names.
Slug: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
#: One line without control characters: it goes into AMI, SMTP and mail headers.
Line: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
Host: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:%-]+$")]
Port: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=65535)]
Bool: TypeAlias = Annotated[bool, Field(strict=True)]
Lines: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_duration)]
File: TypeAlias = Annotated[Path, AfterValidator(_path)]
Authority: TypeAlias = Annotated[Path, AfterValidator(_path), AfterValidator(_authority)]
Url: TypeAlias = Annotated[Line, AfterValidator(_url)]
Address: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[!#-'*+\-./0-9=?A-Z^-~]+@[A-Za-z0-9.-]+$", max_length=254)
]
Trunk: TypeAlias = Annotated[Line, AfterValidator(_trunk)]
Trunks: TypeAlias = Annotated[tuple[Trunk, ...], AfterValidator(_unique)]
Rules: TypeAlias = Annotated[tuple[Line, ...], AfterValidator(_unique)]
PeriodName: TypeAlias = Literal["month", "day", "hour", "5min"]

_TRUNKS_SAY: Final = 'a list of full endpoints or globs, as in ["PJSIP/kpn", "PJSIP/ziggo-*"]'
_NUMBERS_SAY: Final = 'a regular expression over the whole bare number, as in "1[0-9]{2}"'
_SLUG_SAYS: Final = "1 to 63 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit"
_PERIOD_SAYS: Final = '"month", or for trials "day", "hour" or "5min"'
_ZONE_SAYS: Final = 'an IANA time zone, as in "Europe/Amsterdam"'
_CA_SAYS: Final = "the file with the private CA's certificate, in PEM"
_ADDRESS_SAYS: Final = 'a bare mail address, as in "noc@partner.example"'


class Section(BaseModel):
    """A table of the file: no key that is not known, nothing that changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class Agent(Section):
    """This agent.

    `socket` is where `pbx-meter status` finds the running agent.
    """

    id: Slug = Field(description=_SLUG_SAYS)
    state_dir: File = Field(description="the folder of the agent's database and key")
    timezone: ZoneInfo = Field(description=_ZONE_SAYS)
    period: PeriodName = Field("month", description=_PERIOD_SAYS)
    grace: Duration = Field(
        timedelta(minutes=10),
        ge=timedelta(0),
        description='how long after a period it is sealed, as in "10m"',
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description='"debug", "info", "warning" or "error"'
    )
    socket: File = Field(
        default_factory=lambda known: known["state_dir"] / "agent.sock",
        description="the file name of the local socket",
    )


class Pbx(Section):
    """One PBX. Without `trunks` nothing counts; `check` then shows the names to choose from."""

    name: Slug = Field(description=_SLUG_SAYS)
    kind: Literal["asterisk"] = Field(description='"asterisk"')
    host: Host = Field(description='a host name or an address, without scheme or port, as in "127.0.0.1"')
    port: Port = Field(5038, description="the port of the AMI, 1 to 65535")
    username: Line = Field(description="the name of the AMI account in manager.conf")
    secret: Secret = Field(description="the AMI account's secret: secret, secret_file or secret_env")
    tls: Bool = Field(False, description="true for AMI over TLS, else false")
    ca_file: Authority | None = Field(None, description=_CA_SAYS)
    trunks: Trunks = Field((), description=_TRUNKS_SAY)
    extensions: re.Pattern[str] | None = Field(None, description=_NUMBERS_SAY)
    exclude: re.Pattern[str] | None = Field(None, description=_NUMBERS_SAY)
    # Asterisk builds the list from snapshots without channel locks, but it builds it in full.
    snapshot_every: Duration = Field(
        timedelta(seconds=60), ge=timedelta(seconds=30), description='"30s" or more'
    )
    extensions_every: Duration = Field(
        timedelta(hours=6), ge=timedelta(seconds=30), description='"30s" or more; the definition says "6h"'
    )


class Match(Section):
    """Which legs and extensions are a tenant's. Entries of the lists are exact names or globs.

    `pbx` restricts all of them to one PBX. DIDs are telephone numbers: never shown.
    """

    trunks: Trunks = Field((), description=_TRUNKS_SAY)
    accounts: Rules = Field((), description="a list of account codes or globs")
    contexts: Rules = Field((), description="a list of dialplan contexts or globs")
    dids: Rules = Field(
        (), repr=False, description="a list of dialled numbers or globs, as the PBX sees them"
    )
    extensions: re.Pattern[str] | None = Field(None, description=_NUMBERS_SAY)
    pbx: Slug | None = Field(None, description="the name of one [[pbx]]")

    @property
    def takes_legs(self) -> bool:
        """Whether any leg can be this tenant's by a rule of its own."""
        return bool(self.trunks or self.accounts or self.contexts or self.dids)


class Tenant(Section):
    """A customer that usage is reported for.

    `webhooks` names those that its notices go to; None: all that take this tenant.
    """

    id: Slug = Field(description=_SLUG_SAYS)
    name: Line = Field(default_factory=lambda known: known["id"], description="the name that people read")
    match: Match = Field(
        default_factory=Match, description='which legs are its own, as in { trunks = ["PJSIP/kpn"] }'
    )
    default: Bool = Field(False, description="true for the one tenant that takes what no rule takes")
    capacity: Lines | None = Field(None, description="how many lines the tenant bought, 1 or more")
    packages: Annotated[tuple[Lines, ...], AfterValidator(_ascending)] = Field(
        (), description="the sizes that can be bought, as in [4, 8, 16]"
    )
    basis: Level = Field(
        Level.CHANNELS, description='what the contract bills: "channels", "calls" or "answered"'
    )
    alerts: Annotated[tuple[Address, ...], AfterValidator(_unique)] = Field(
        (), description=f"a list, each {_ADDRESS_SAYS}"
    )
    webhooks: Annotated[tuple[Slug, ...], AfterValidator(_unique)] | None = Field(
        None, description="a list of ids of [[webhook]]"
    )
    language: Literal["nl", "en", "it", "de"] = Field("en", description='"nl", "en", "it" or "de"')
    brand: Slug | None = Field(None, description="the id of one [[brand]]")
    timezone: ZoneInfo = Field(description=_ZONE_SAYS)
    period: PeriodName = Field(description=_PERIOD_SAYS)
    warn_at: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        90, description="per cent of the capacity, 1 to 100"
    )
    repeat: Duration = Field(
        timedelta(hours=4),
        ge=timedelta(seconds=1),
        description='a duration, as in "4h": at most one notice in it',
    )


class Smtp(Section):
    """The mail server. `tls` defaults to `starttls`, and to `none` on this machine."""

    host: Host = Field(description='a host name or an address, as in "mail.partner.example"')
    tls: Literal["none", "starttls", "tls"] = Field(
        default_factory=lambda known: "none" if is_loopback(known["host"]) else "starttls",
        description='"none", "starttls" or "tls"',
    )
    port: Port = Field(
        default_factory=lambda known: {"none": 25, "starttls": 587, "tls": 465}[known["tls"]],
        description="the port, 1 to 65535",
    )
    sender: Address = Field(description=_ADDRESS_SAYS)
    username: Line | None = Field(None, description="the account's name, if the server asks for one")
    password: Secret | None = Field(None, description="password, password_file or password_env")
    ca_file: Authority | None = Field(None, description=_CA_SAYS)


class Webhook(Section):
    """Where notices are posted to. `tenants`: whose; None: everybody's."""

    id: Slug = Field(description=_SLUG_SAYS)
    # Such a URL often is the only secret of the service behind it.
    url: Url = Field(repr=False, description="https://host/path")
    tenants: Annotated[tuple[Slug, ...], AfterValidator(_unique)] | None = Field(
        None, description="a list of tenants' ids"
    )
    ca_file: Authority | None = Field(None, description=_CA_SAYS)


class Upstream(Section):
    """The provider that takes the signed records. What enrolment needs is typed once, not written here."""

    url: Url = Field(description="https://host; plain http towards this machine only")
    interim: Duration = Field(
        timedelta(hours=1),
        ge=timedelta(seconds=1),
        description='how often the open period is told, as in "1h"',
    )
    ca_file: Authority | None = Field(None, description=_CA_SAYS)


class Brand(Section):
    """In whose name a tenant reads a notice. The first one is everybody's who names none."""

    id: Slug = Field(description=_SLUG_SAYS)
    name: Line = Field(description="the name that people read")
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = Field(
        "#1f4e79", description='six hexadecimal digits, as in "#1f4e79"'
    )
    reply_to: Address | None = Field(None, description=_ADDRESS_SAYS)
    footer: Line | None = Field(None, description="one line under every mail")


class Config(Section):
    """Everything that the operator wrote, resolved.

    `warnings` are things that work and look unintended; `pbx-meter check` prints them.
    """

    agent: Agent
    pbx: tuple[Pbx, ...]
    tenant: tuple[Tenant, ...]
    smtp: Smtp | None = None
    webhook: tuple[Webhook, ...] = ()
    upstream: Upstream | None = None
    brand: tuple[Brand, ...] = ()
    warnings: tuple[Problem, ...] = Field(default=(), repr=False)
