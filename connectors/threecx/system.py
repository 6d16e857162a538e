"""What answers at the address: whether it is a 3CX V20, of which version, and what it counts itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from connectors.threecx import trouble
from connectors.threecx.client import Client
from connectors.threecx.line import Resource

_VERSION: Final = re.compile(r"\d{1,5}(?:\.\d{1,9}){1,3}", re.ASCII)
_V20: Final = (20,)
#: Its own count of users is told since Update 9; asked before, it answers 400.
_COUNTS_USERS: Final = (20, 0, 9)


@dataclass(frozen=True, slots=True)
class System:
    """What a 3CX says of itself.

    Attributes:
        trunks: How many it has, bridges perhaps among them; None: it doesn't say.
        users: Its own licence count of users; None: its version has none.
    """

    trunks: int | None
    users: int | None


async def version(client: Client) -> str:
    """Return the version (`20.0.9.995`); "" if it doesn't say.

    Raises:
        Denied: It is no V20 (`Foreign`), or the role sees a part of it only.
        And as `Client.read`.
    """
    told = (await client.read(Resource.DEFS, {"$select": "Id"})).version
    found = told if _VERSION.fullmatch(told) else ""
    if found and _numbers(found) < _V20:
        raise trouble.not_v20()
    if (part := trouble.of_a_part(client.roles)) is not None:
        raise part
    return found


async def status(client: Client, of_version: str) -> System:
    """Read what it counts. Raises as `Client.read`."""
    fields = "Version,TrunksTotal"
    if _numbers(of_version) >= _COUNTS_USERS:
        try:
            return await _status(client, f"{fields},UserExtensions")
        except trouble.Unasked:
            pass  # the version is not what decides, after all
    return await _status(client, fields)


async def _status(client: Client, fields: str) -> System:
    body = (await client.read(Resource.SYSTEM_STATUS, {"$select": fields})).body
    trunks, users = body.get("TrunksTotal"), body.get("UserExtensions")
    return System(trunks if isinstance(trunks, int) else None, users if isinstance(users, int) else None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(".")) if text else ()
