"""What a simulated Asterisk answers to an action, in the formats of a real one. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from connectors.asterisk.simulated.exchange import Exchange, message

Headers: TypeAlias = tuple[tuple[str, str | int], ...]

#: Which class of `write` allows an action; one of them is enough, an empty set needs none.
RIGHTS: Final[dict[str, frozenset[str]]] = {
    "Ping": frozenset(),
    "ListCommands": frozenset(),
    "CoreStatus": frozenset({"system", "reporting"}),
    "CoreSettings": frozenset({"system", "reporting"}),
    "CoreShowChannels": frozenset({"system", "reporting"}),
    "DeviceStateList": frozenset({"call", "reporting"}),
    "SIPpeers": frozenset({"system", "reporting"}),
    "IAXpeerlist": frozenset({"system", "reporting"}),
    "PJSIPShowEndpoints": frozenset({"system"}),
    "PJSIPShowRegistrationsOutbound": frozenset({"system", "reporting"}),
}


def answer(
    exchange: Exchange, action: str, known: Headers, rights: frozenset[str] | None, version: str
) -> bytes:
    """Return the whole answer.

    Args:
        exchange: What there is to tell of.
        action: Its name, as it was sent.
        known: The ActionID header, or nothing.
        rights: The account's `write`; None: nobody is logged in.
        version: What `CoreSettings` says.
    """
    needed = RIGHTS.get(action)
    exists = needed is not None and not (action == "SIPpeers" and not _of(exchange, "SIP"))
    if rights is None or (exists and needed and not needed & rights):
        return _error(known, "Permission denied")
    if not exists:
        return _error(known, "Invalid/unknown command. Use Action: ListCommands to show available commands.")
    if action == "CoreSettings":
        return message("Response", "Success", *known, ("AMIversion", "11.0.0"), ("AsteriskVersion", version))
    if action == "ListCommands":
        may = [(name, "(Priv: …)") for name, some in RIGHTS.items() if not some or some & rights]
        return message("Response", "Success", *known, *may)
    return _ANSWERS[action](exchange, known)


def _error(known: Headers, why: str) -> bytes:
    return message("Response", "Error", *known, ("Message", why))


def _of(exchange: Exchange, technology: str) -> list[str]:
    endpoints = (*exchange.trunks, *exchange.extensions)
    return [
        name for kind, _, name in (endpoint.partition("/") for endpoint in endpoints) if kind == technology
    ]


def _list(known: Headers, opening: str, item: str, rows: list[Headers], end: str) -> bytes:
    return b"".join(
        (
            message("Response", "Success", *known, ("EventList", "start"), ("Message", opening)),
            *(message("Event", item, *known, *row) for row in rows),
            message("Event", end, *known, ("EventList", "Complete"), ("ListItems", len(rows))),
        )
    )


def _ping(exchange: Exchange, known: Headers) -> bytes:
    seconds, ms = divmod(exchange.now(), 1000)
    return message("Response", "Success", *known, ("Ping", "Pong"), ("Timestamp", f"{seconds}.{ms:03d}000"))


def _status(exchange: Exchange, known: Headers) -> bytes:
    booted = datetime.fromtimestamp(exchange.booted_at / 1000, UTC)
    date, time = f"{booted:%Y-%m-%d}", f"{booted:%H:%M:%S}"
    return message(
        *("Response", "Success"),
        *known,
        *(
            ("CoreStartupDate", date),
            ("CoreStartupTime", time),
            ("CoreReloadDate", date),
            ("CoreReloadTime", time),
        ),
        ("CoreCurrentCalls", len(exchange.channels)),
    )


def _channels(exchange: Exchange, known: Headers) -> bytes:
    now = exchange.now()
    rows: list[Headers] = []
    for channel in exchange.channels.values():
        minutes, seconds = divmod((now - channel.created) // 1000, 60)
        rows.append(
            (
                *channel.headers(),
                ("Application", channel.application),
                ("ApplicationData", channel.data),
                ("Duration", f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"),
                ("BridgeId", channel.bridge),
            )
        )
    return _list(known, "Channels will follow", "CoreShowChannel", rows, "CoreShowChannelsComplete")


def _devices(exchange: Exchange, known: Headers) -> bytes:
    busy = {channel.endpoint for channel in exchange.channels.values()}
    rows: list[Headers] = [
        (("Device", endpoint), ("State", "INUSE" if endpoint in busy else "NOT_INUSE"))
        for endpoint in (*exchange.trunks, *exchange.extensions)
    ]
    rows += [
        (("Device", "Queue:sales"), ("State", "NOT_INUSE")),
        (("Device", "MWI:100@default"), ("State", "NOT_INUSE")),
    ]
    return _list(
        known, "Device State Changes will follow", "DeviceStateChange", rows, "DeviceStateListComplete"
    )


def _endpoints(exchange: Exchange, known: Headers) -> bytes:
    names = _of(exchange, "PJSIP")
    if not names:
        return _error(known, "No endpoints found")
    rows: list[Headers] = [
        (("ObjectType", "endpoint"), ("ObjectName", name), ("Aor", name), ("DeviceState", "Not in use"))
        for name in names
    ]
    opening = "A listing of Endpoints follows, presented as EndpointList events"
    return _list(known, opening, "EndpointList", rows, "EndpointListComplete")


def _registrations(exchange: Exchange, known: Headers) -> bytes:
    trunks = [trunk.removeprefix("PJSIP/") for trunk in exchange.trunks if trunk.startswith("PJSIP/")]
    rows: list[Headers] = [
        (("ObjectType", "registration"), ("ObjectName", trunk), ("Endpoint", ""), ("Status", "Registered"))
        for trunk in trunks
    ]
    opening = "Following are Events for each Outbound registration"
    return _list(known, opening, "OutboundRegistrationDetail", rows, "OutboundRegistrationDetailComplete")


def _peers(technology: str, opening: str) -> Callable[[Exchange, Headers], bytes]:
    def peers(exchange: Exchange, known: Headers) -> bytes:
        rows: list[Headers] = [
            (
                ("Channeltype", technology),
                ("ObjectName", name),
                ("ChanObjectType", "peer"),
                ("Status", "OK (1 ms)"),
            )
            for name in _of(exchange, technology)
        ]
        return _list(known, opening, "PeerEntry", rows, "PeerlistComplete")

    return peers


_ANSWERS: Final[dict[str, Callable[[Exchange, Headers], bytes]]] = {
    "Ping": _ping,
    "CoreStatus": _status,
    "CoreShowChannels": _channels,
    "DeviceStateList": _devices,
    "PJSIPShowEndpoints": _endpoints,
    "PJSIPShowRegistrationsOutbound": _registrations,
    "SIPpeers": _peers("SIP", "Peer status list will follow"),
    "IAXpeerlist": _peers("IAX2", "IAX Peer status list will follow"),
}
