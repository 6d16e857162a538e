"""The configuration as values: checked, complete, frozen.

A field's `description` says what belongs there; it is also the hint that an
operator reads when something else stands there. Defaults that depend on another
section (a tenant's time zone) are filled in by `config.load` before these models
see the section. What needs two sections is in `config.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from config.problems import Problem
from config.secret import Secret
from config.values import (
    ADDRESS_SAYS,
    CA_SAYS,
    DEPARTMENTS_SAY,
    FINGERPRINT_SAYS,
    NUMBERS_SAY,
    PERIOD_SAYS,
    SLUG_SAYS,
    TRUNKS_SAY,
    ZONE_SAYS,
    Address,
    Authority,
    Bool,
    Duration,
    Expression,
    File,
    Fingerprint,
    Host,
    IpAddress,
    Line,
    Lines,
    Listen,
    PeriodName,
    Poll,
    Port,
    Rules,
    Slug,
    Trunks,
    Url,
    ascending,
    is_loopback,
    unique,
    wrong,
)
from meter.model import Level


class Section(BaseModel):
    """A table of the file: no key that is not known, nothing that changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    @classmethod
    def of(cls, table: Mapping[str, object]) -> type[Self]:  # noqa: ARG003  # for sections of several kinds
        """Return which kind of this section a table is."""
        return cls


class Agent(Section):
    """This agent.

    `socket` is where `pbx-meter status` finds the running agent.
    """

    id: Slug = Field(description=SLUG_SAYS)
    state_dir: File = Field(description="the folder of the agent's database and key")
    timezone: ZoneInfo = Field(description=ZONE_SAYS)
    period: PeriodName = Field("month", description=PERIOD_SAYS)
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
    """One PBX, of whatever kind."""

    name: Slug = Field(description=SLUG_SAYS)
    kind: Literal["asterisk", "3cx"] = Field(description='"asterisk" or "3cx"')
    trunks: Trunks = Field((), description=TRUNKS_SAY)
    extensions: Expression | None = Field(None, description=NUMBERS_SAY)
    exclude: Expression | None = Field(None, description=NUMBERS_SAY)
    extensions_every: Duration = Field(
        timedelta(hours=6), ge=timedelta(seconds=30), description='"30s" or more; the definition says "6h"'
    )

    @classmethod
    def of(cls, table: Mapping[str, object]) -> type[Self]:
        """Return which kind of PBX a table is: an Asterisk, unless it says otherwise."""
        kind: type[Pbx] = cls
        if cls is Pbx:
            kind = ThreeCX if table.get("kind") == "3cx" else Asterisk
        return cast("type[Self]", kind)


class Asterisk(Pbx):
    """One Asterisk. Without `trunks` nothing counts; `check` then shows the names to choose from."""

    kind: Literal["asterisk"] = Field(description='"asterisk" or "3cx"')
    host: Host = Field(description='a host name or an address, without scheme or port, as in "127.0.0.1"')
    port: Port = Field(5038, description="the port of the AMI, 1 to 65535")
    username: Line = Field(description="the name of the AMI account in manager.conf")
    secret: Secret = Field(description="the AMI account's secret: secret, secret_file or secret_env")
    tls: Bool = Field(False, description="true for AMI over TLS, else false")
    ca_file: Authority | None = Field(None, description=CA_SAYS)
    # Asterisk builds the list from snapshots without channel locks, but it builds it in full.
    snapshot_every: Duration = Field(
        timedelta(seconds=60), ge=timedelta(seconds=30), description='"30s" or more'
    )


class Cdr(Section):
    """Where a 3CX's CDR output arrives: on a port that the agent opens, or in a file.

    The port is the one listener that the agent opens: on loopback unless written otherwise,
    and for the PBX's own address only.
    """

    listen: Listen | None = Field(None, description='an address and a port, as in "127.0.0.1:5015"')
    peer: IpAddress = Field(
        "127.0.0.1", description='the PBX\'s address, the only one that may connect, as in "192.0.2.10"'
    )
    file: File | None = Field(
        None, description="the file that the 3CX writes, as in /var/lib/3cxpbx/…/cdr.log"
    )
    utc: Bool = Field(True, description="true if its times are UTC, false for this machine's time zone")
    fields: tuple[Line, ...] = Field(
        (), description='its columns in their order, as in ["historyid", "callid"]; none: the usual ones'
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.listen is None) == (self.file is None):
            raise wrong("needs one of listen and file", 'write listen = "127.0.0.1:5015", or file = …')
        return self


class ThreeCX(Pbx):
    """One 3CX. It lists its trunks, users and departments itself."""

    kind: Literal["3cx"] = Field(description='"asterisk" or "3cx"')
    access: Literal["xapi", "user_login", "cdr"] = Field(
        "xapi", description='"xapi" (Enterprise licence), "user_login" or "cdr" (every edition)'
    )
    url: Url | None = Field(None, description="https://pbx.example.3cx.eu, with :5001 if it has a port")
    client_id: Line | None = Field(None, description="the Client ID under Integrations > API")
    username: Line | None = Field(None, description="the number of a System Owner or Admin without 2FA")
    secret: Secret | None = Field(
        None, repr=False, description="the API key or password: secret, secret_file or secret_env"
    )
    poll: Poll = Field(timedelta(seconds=2), description='"0.5s" to "10s"')
    peak_from: Literal["polls", "call_log"] = Field(
        "call_log", description='which may set the billed peak: "call_log" (where it can be had) or "polls"'
    )
    bridges: Bool = Field(False, description="true if calls over bridges to other 3CX systems count")
    ca_file: Authority | None = Field(None, description=CA_SAYS)
    fingerprint: Fingerprint | None = Field(None, description=FINGERPRINT_SAYS)
    cdr: Cdr | None = Field(None, description='where CDR output arrives, as in { listen = "127.0.0.1:5015" }')

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.trunks:
            raise wrong(
                "3CX lists its trunks itself", "leave trunks out; match tenants by departments or trunks"
            )
        if self.access == "cdr":
            if self.cdr is None:
                raise wrong('access = "cdr" needs [pbx.cdr]', 'add cdr = { listen = "127.0.0.1:5015" }')
            return self
        who = "client_id" if self.access == "xapi" else "username"
        missing = [name for name in ("url", who, "secret") if getattr(self, name) is None]
        if missing:
            raise wrong(
                f"{', '.join(missing)} is missing", f'access = "{self.access}" needs it; README shows where'
            )
        if self.ca_file is not None and self.fingerprint is not None:
            raise wrong("ca_file and fingerprint exclude each other", "keep one of them")
        return self


class Match(Section):
    """Which legs and extensions are a tenant's. Entries of the lists are exact names or globs.

    `pbx` restricts all of them to one PBX. DIDs are telephone numbers: never shown.
    """

    trunks: Trunks = Field((), description=TRUNKS_SAY)
    accounts: Rules = Field((), description="a list of account codes or globs")
    contexts: Rules = Field((), description="a list of dialplan contexts or globs")
    dids: Rules = Field(
        (), repr=False, description="a list of dialled numbers or globs, as the PBX sees them"
    )
    departments: Rules = Field((), description=DEPARTMENTS_SAY)
    extensions: Expression | None = Field(None, description=NUMBERS_SAY)
    pbx: Slug | None = Field(None, description="the name of one [[pbx]]")

    @property
    def takes_legs(self) -> bool:
        """Whether any leg can be this tenant's by a rule of its own."""
        return bool(self.trunks or self.accounts or self.contexts or self.dids or self.departments)


class Tenant(Section):
    """A customer that usage is reported for.

    `webhooks` names those that its notices go to; None: all that take this tenant.
    """

    id: Slug = Field(description=SLUG_SAYS)
    name: Line = Field(default_factory=lambda known: known["id"], description="the name that people read")
    match: Match = Field(
        default_factory=Match, description='which legs are its own, as in { trunks = ["PJSIP/kpn"] }'
    )
    default: Bool = Field(False, description="true for the one tenant that takes what no rule takes")
    capacity: Lines | None = Field(None, description="how many lines the tenant bought, 1 or more")
    packages: Annotated[tuple[Lines, ...], AfterValidator(ascending)] = Field(
        (), description="the sizes that can be bought, as in [4, 8, 16]"
    )
    basis: Level = Field(
        Level.CHANNELS, description='what the contract bills: "channels", "calls" or "answered"'
    )
    alerts: Annotated[tuple[Address, ...], AfterValidator(unique)] = Field(
        (), description=f"a list, each {ADDRESS_SAYS}"
    )
    webhooks: Annotated[tuple[Slug, ...], AfterValidator(unique)] | None = Field(
        None, description="a list of ids of [[webhook]]"
    )
    language: Literal["nl", "en", "it", "de"] = Field("en", description='"nl", "en", "it" or "de"')
    brand: Slug | None = Field(None, description="the id of one [[brand]]")
    timezone: ZoneInfo = Field(description=ZONE_SAYS)
    period: PeriodName = Field(description=PERIOD_SAYS)
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
    sender: Address = Field(description=ADDRESS_SAYS)
    username: Line | None = Field(None, description="the account's name, if the server asks for one")
    password: Secret | None = Field(None, description="password, password_file or password_env")
    ca_file: Authority | None = Field(None, description=CA_SAYS)


class Operator(Section):
    """Who hears of what needs a hand: a PBX that can't be followed, a provider that refuses, a full disk."""

    email: Annotated[tuple[Address, ...], Field(min_length=1), AfterValidator(unique)] = Field(
        description=f"a list, each {ADDRESS_SAYS}"
    )
    language: Literal["nl", "en", "it", "de"] = Field("en", description='"nl", "en", "it" or "de"')
    unreachable_after: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=10),
        le=timedelta(days=1),
        description='how long a PBX is out of sight before you hear of it, "10s" to "1d"',
    )


class Report(Section):
    """Who gets each tenant's statement by mail, once its period is sealed and at each correction."""

    email: Annotated[tuple[Address, ...], Field(min_length=1), AfterValidator(unique)] = Field(
        description=f"a list, each {ADDRESS_SAYS}"
    )


class Webhook(Section):
    """Where notices are posted to. `tenants`: whose; None: everybody's."""

    id: Slug = Field(description=SLUG_SAYS)
    # Such a URL often is the only secret of the service behind it.
    url: Url = Field(repr=False, description="https://host/path")
    tenants: Annotated[tuple[Slug, ...], AfterValidator(unique)] | None = Field(
        None, description="a list of tenants' ids"
    )
    ca_file: Authority | None = Field(None, description=CA_SAYS)


class Upstream(Section):
    """The provider that takes the signed records. What enrolment needs is typed once, not written here."""

    url: Url = Field(description="https://host; plain http towards this machine only")
    interim: Duration = Field(
        timedelta(hours=1),
        ge=timedelta(seconds=1),
        description='how often the open period is told, as in "1h"',
    )
    ca_file: Authority | None = Field(None, description=CA_SAYS)


class Page(Section):
    """The status page, `/metrics` and `/healthz`: on loopback unless written otherwise; whoever reaches it may read it."""

    enabled: Bool = Field(True, description="true or false")
    listen: Listen = Field("127.0.0.1:8470", description='an address and a port, as in "127.0.0.1:8470"')


class Brand(Section):
    """In whose name a tenant reads a notice. The first one is everybody's who names none."""

    id: Slug = Field(description=SLUG_SAYS)
    name: Line = Field(description="the name that people read")
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = Field(
        "#1f4e79", description='six hexadecimal digits, as in "#1f4e79"'
    )
    reply_to: Address | None = Field(None, description=ADDRESS_SAYS)
    footer: Line | None = Field(None, description="one line under every mail")


class Config(Section):
    """Everything that the operator wrote, resolved.

    `warnings` are things that work and look unintended; `pbx-meter check` prints them.
    """

    agent: Agent
    pbx: tuple[Asterisk | ThreeCX, ...]
    tenant: tuple[Tenant, ...]
    smtp: Smtp | None = None
    operator: Operator | None = None
    report: Report | None = None
    webhook: tuple[Webhook, ...] = ()
    upstream: Upstream | None = None
    page: Page = Page()
    brand: tuple[Brand, ...] = ()
    warnings: tuple[Problem, ...] = Field(default=(), repr=False)
