"""What a simulated 3CX says of itself and of the calls that are up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from connectors.threecx.simulated.directory import Kind
from connectors.threecx.simulated.entities import SECRET, entity_set, of_version
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.odata import EntitySet
from connectors.threecx.simulated.timeline import Call, Phase
from meter.model import Instant

#: ProductCode and what SystemParameters says of it.
_EDITIONS: Final = {"enterprise": "3CXPSENTERP", "pro": "3CXPSPROF", "free": "3CXPSFREE"}

_CALL_FIELDS: Final = frozenset(
    {"Id", "Caller", "Callee", "Status", "LastChangeStatus", "EstablishedAt", "ServerNow"}
)


@dataclass(slots=True)
class Self:
    """What the 3CX is.

    Attributes:
        version: Four numbers; the third is the update.
        licence: `enterprise`, `pro` or `free`; may be changed.
        fqdn: Its name.
        max_calls: The licence's simultaneous calls.
        unanswered: What EstablishedAt shows before an answer: null, or the year 1.
    """

    version: str
    licence: str = "enterprise"
    fqdn: str = "pbx.example.3cx.eu"
    max_calls: int = 1024
    unanswered: str | None = None

    @property
    def update(self) -> int:
        """The third number of the version."""
        return int(self.version.split(".")[2])


def when(at: Instant) -> str:
    """Return an instant as ServerNow shows it, with .NET's seven decimals."""
    return f"{_utc(at):%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}0000Z"


@lru_cache(maxsize=8192)  # hundreds of calls are shown again with every poll
def second(at: Instant) -> str:
    """Return an instant as ActiveCalls' other fields show it, in whole seconds."""
    return f"{_utc(at):%Y-%m-%dT%H:%M:%SZ}"


def millisecond(at: Instant) -> str:
    """Return an instant as the call log shows it."""
    return f"{_utc(at):%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z"


def active_calls(me: Self, exchange: Exchange, department: str | None = None) -> EntitySet:
    """Return what is up now, of one department or all. No row names a direction, a trunk or a department."""
    at = exchange.now()
    server_now = when(at + exchange.ahead_ms)
    rows = [
        row
        for call in exchange.up.values()
        for phase in [call.phase(at)]
        if department is None or _touches(phase, department)
        for row in _shown(me, exchange.ahead_ms, call, phase, at, server_now)
    ]
    return EntitySet("ActiveCalls", "ActiveCall", rows, _CALL_FIELDS)


def _touches(phase: Phase, department: str) -> bool:
    return any(party is not None and party.department == department for party in (phase.caller, phase.callee))


def _shown(
    me: Self, ahead: int, call: Call, phase: Phase, at: Instant, server_now: str
) -> list[dict[str, Any]]:
    established = call.established(at)
    row = {
        "Id": call.id,
        "Caller": None if phase.caller is None else phase.caller.shown,
        "Callee": None if phase.callee is None else phase.callee.shown,
        "Status": str(phase.status),
        "LastChangeStatus": second(phase.at + ahead),
        "EstablishedAt": me.unanswered if established is None else second(established + ahead),
        "ServerNow": server_now,
    }
    if phase.also is None:
        return [row]
    callee, status = phase.also
    return [row, row | {"Callee": callee.shown, "Status": str(status)}]


def system_status(me: Self, exchange: Exchange) -> EntitySet:
    """Return the singleton SystemStatus."""
    who = exchange.directory
    counted = [user for user in who.users if not user.number.startswith("HD")]
    row = {
        "Id": 0,
        "FQDN": me.fqdn,
        "Version": me.version,
        "Activated": True,
        "CallsActive": len(exchange.up),
        "MaxSimCalls": me.max_calls,
        "ExtensionsTotal": len(who.users),
        "ExtensionsRegistered": sum(user.registered for user in who.users),
        "TrunksTotal": len(who.trunks),
        "TrunksRegistered": sum(trunk.online for trunk in who.trunks),
        "UserExtensions": len(counted),
        "MaxUserExtensions": 6144,
        "LicenseActive": True,
        "LicenseKey": SECRET,
        "ProductCode": _EDITIONS[me.licence],
        "ExpirationDate": "2035-01-01T00:00:00Z",
        "MaintenanceExpiresAt": "2035-01-01T00:00:00Z",
        "OS": "Linux",
        "DiskUsage": 21,
        "FreeDiskSpace": 23_911_714_816,
        "Ip": "192.0.2.10",
        "ResellerName": "Partner",
        "Support": True,
        "HasNotRunningServices": False,
        "RemoteStorageStatus": "NotConfigured",
    }
    return entity_set("SystemStatus", "SystemStatus", [row], me.update)


def licence_status(me: Self) -> EntitySet:
    """Return the singleton LicenseStatus."""
    row = {
        "LicenseKey": SECRET,
        "CompanyName": "Example Ltd",
        "ContactName": SECRET,
        "EMail": SECRET,
        "ProductCode": _EDITIONS[me.licence],
        "MaxSimCalls": me.max_calls,
        "LicenseActive": True,
        "Activated": True,
        "ExpirationDate": "2035-01-01T00:00:00Z",
        "MaintenanceExpiresAt": "2035-01-01T00:00:00Z",
        "ActiveModules": [],
        "SimMeetingParticipants": 250,
        "ResellerName": "Partner",
        "Version": "20.0",
        "Support": True,
    }
    return entity_set("LicenseStatus", "LicenseStatus", [row], me.update)


def system_parameters(me: Self) -> EntitySet:
    """Return what Defs/Pbx.GetSystemParameters() says."""
    licence = {
        "MaxSimCalls": me.max_calls,
        "ProductCode": _EDITIONS[me.licence],
        "IsEnterprise": me.licence == "enterprise",
        "IsProfessional": me.licence == "pro",
        "IsMaintainceExpired": False,
        "CountryCode": "GB",
    }
    row = {
        "FQDN": me.fqdn,
        "Version": me.version,
        "IsHosted": False,
        "IsHosted3CX": False,
        "IsMulticompanyMode": False,
        "HttpPort": 5000,
        "HttpsPort": 5001,
        "SipPort": 5060,
        "ENL": 3,
        "ENLRange": {"From": 2, "To": 5},
        "License": of_version("License", licence, me.update),
    }
    return entity_set("Pbx.SystemParameters", "SystemParameters", [row], me.update)


def health() -> EntitySet:
    """Return what SystemStatus/Pbx.SystemHealthStatus() says."""
    row: Mapping[str, Any] = {
        "Id": 0,
        "Firewall": True,
        "Phones": True,
        "Trunks": True,
        "CustomTemplatesCount": 0,
        "UnsupportedFirmwaresCount": 0,
    }
    return EntitySet("Pbx.SystemHealthStatus", "SystemHealthStatus", [row], frozenset(row))


def system_extensions(exchange: Exchange) -> EntitySet:
    """Return what SystemStatus/Pbx.SystemExtensions() says."""
    rows = [
        {"Number": service.number, "Name": service.name, "Type": str(service.kind), "IsRegistered": True}
        for service in exchange.directory.services
        if service.kind in {Kind.CONFERENCE, Kind.SPECIAL_MENU, Kind.PARKING}
    ]
    fields = frozenset({"Number", "Name", "Type", "IsRegistered"})
    return EntitySet("Collection(Pbx.SystemExtensionStatus)", "SystemExtensionStatus", rows, fields)


def _utc(at: Instant) -> datetime:
    return datetime.fromtimestamp(at // 1000, UTC)
