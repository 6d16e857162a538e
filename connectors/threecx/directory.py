"""What a 3CX's numbers (DNs) are: trunks, users and the rest, and to which departments each belongs.

No person's name is asked for, and `$select` is always sent: without it users come with their passwords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeGuard

from connectors.connector import Extension
from connectors.threecx import trouble
from connectors.threecx.client import Client, Row
from connectors.threecx.line import Resource

#: `GatewayType` of a link to another 3CX.
_BRIDGE: Final = "Bridge"
_RANGES: Final = ("UserNumber", "SystemNumber", "TrunkNumber")
#: People's favourites are groups, too.
_FAVOURITES: Final = "___FAVORITES___"
#: Numbers of hot-desk pseudo users.
_HOT_DESK: Final = "HD"
_LONGEST_DN: Final = 15


@dataclass(frozen=True, slots=True)
class Department:
    """One department (`Groups`).

    Attributes:
        names: What it goes by: its name and its number.
        ranges: The number ranges that it was given, first and last.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[str, str], ...] = ()

    def has(self, dn: str) -> bool:
        """Whether a number lies in one of its ranges."""
        return dn.isdecimal() and any(
            len(first) <= len(dn) <= len(last) and int(first) <= int(dn) <= int(last)
            for first, last in self.ranges
        )


@dataclass(frozen=True, slots=True)
class Trunk:
    """One trunk, or a bridge to another 3CX; with the ids of its departments."""

    bridge: bool
    departments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """What every DN is.

    Attributes:
        trunks: By DN, bridges among them.
        users: The ids of each one's departments by number, the primary first.
        others: Queues, menus and all the rest likewise.
        departments: By id.
    """

    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    users: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    others: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    departments: Mapping[int, Department] = field(default_factory=dict)

    def knows(self, dn: str) -> bool:
        """Whether the 3CX has this number."""
        return dn in self.trunks or dn in self.users or dn in self.others

    def endpoints(self) -> tuple[str, ...]:
        """Return every number as a full endpoint."""
        return tuple(f"3CX/{dn}" for dn in (*self.trunks, *self.users, *self.others))

    def extensions(self) -> tuple[Extension, ...]:
        """Return the users as extensions."""
        return tuple(
            Extension(number, f"3CX/{number}", self._names(groups)) for number, groups in self.users.items()
        )

    def of_inside(self, dn: str) -> tuple[str, ...]:
        """Return what the departments of a user, queue or menu go by: a user's primary one; () if it has none."""
        if dn in self.users:
            return self._names(self.users[dn][:1])
        return self._names(self.others.get(dn, ()))

    def of_trunk(self, dn: str) -> tuple[str, ...]:
        """Return what a trunk's department goes by; () if it has none or several."""
        trunk = self.trunks.get(dn)
        return self._names(trunk.departments) if trunk is not None and len(trunk.departments) == 1 else ()

    def of_range(self, *dns: str) -> tuple[str, ...]:
        """Return what the department goes by whose number range holds the first of these that any holds; else ()."""
        return next((known.names for dn in dns for known in self.departments.values() if known.has(dn)), ())

    def of_any(self, dn: str) -> tuple[str, ...]:
        """Return what the department of any number goes by, by itself, as a trunk, or by number range."""
        return self.of_inside(dn) or self.of_trunk(dn) or self.of_range(dn)

    def of_leg(self, trunk: str, inside: Sequence[str]) -> tuple[str, ...]:
        """Return the departments of a trunk leg: of what is inside, else of its trunk, else by number range.

        Args:
            trunk: The trunk's DN.
            inside: The DNs that its call shows inside, the first first.
        """
        of_inside = next((names for dn in inside if (names := self.of_inside(dn))), ())
        return of_inside or self.of_trunk(trunk) or self.of_range(*inside, trunk)

    def _names(self, groups: Sequence[int]) -> tuple[str, ...]:
        return tuple(
            name for group in groups if group in self.departments for name in self.departments[group].names
        )


async def read(client: Client) -> Directory:
    """Read all of it. Raises as `Client.read`."""
    trunks = await read_trunks(client)
    departments = await read_departments(client)
    users = await read_users(client)
    return Directory(trunks, users, await read_others(client, trunks), departments)


async def read_others(client: Client, trunks: Mapping[str, Trunk]) -> dict[str, tuple[int, ...]]:
    """Read what is neither a user nor one of the trunks; nothing depends on the right to. Raises as `Client.read`."""
    query = {"$select": "Id,Number,Type", "$filter": "Type ne 'Extension'", "$orderby": "Number"}
    try:
        rows = await _expanded(client, Resource.PEERS, query, "MemberOf")
    except (trouble.Forbidden, trouble.Absent):
        return {}
    return {_dn(row): _groups(row, "MemberOf") for row in rows if _dn(row) not in trunks}


async def read_trunks(client: Client) -> dict[str, Trunk]:
    """Read the trunks by DN. Raises as `Client.read`."""
    query = {"$select": "Id,Number,Gateway", "$orderby": "Number"}
    rows = await _expanded(client, Resource.TRUNKS, query, "Groups")
    return {_dn(row): Trunk(_is_bridge(row), _groups(row, "Groups")) for row in rows}


async def read_departments(client: Client) -> dict[int, Department]:
    """Read the departments by id. Raises as `Client.read`."""
    query = {
        "$select": "Id,Number,Name,Props",
        "$filter": f"not startsWith(Name,'{_FAVOURITES}')",
        "$orderby": "Number",
    }
    found = {}
    for row in await client.whole(Resource.GROUPS, query):
        number, name, props = row.get("Number"), row.get("Name"), row.get("Props")
        names = tuple(text for text in (name, number) if isinstance(text, str) and text)
        if not isinstance(row.get("Id"), int) or not names:
            raise trouble.garbled("Groups")
        if not names[0].startswith(_FAVOURITES):
            found[row["Id"]] = Department(names, _ranges(props if isinstance(props, dict) else {}))
    return found


async def read_users(client: Client) -> dict[str, tuple[int, ...]]:
    """Read the users with the ids of their departments, the primary first. Raises as `Client.read`."""
    query = {
        "$select": "Id,Number,PrimaryGroupId",
        "$filter": f"not startsWith(Number,'{_HOT_DESK}')",
        "$orderby": "Number",
    }
    found = {}
    for row in await _expanded(client, Resource.USERS, query, "Groups"):
        primary = row.get("PrimaryGroupId")
        groups = (primary, *_groups(row, "Groups")) if isinstance(primary, int) else _groups(row, "Groups")
        if not _dn(row).startswith(_HOT_DESK):
            found[_dn(row)] = tuple(dict.fromkeys(groups))
    return found


#: The entries of a navigation that are read; of a group the id says all.
_WITHIN: Final = {"Groups": "Groups($select=GroupId)", "MemberOf": "MemberOf"}


async def _expanded(
    client: Client, resource: Resource, query: Mapping[str, str], navigation: str
) -> list[Row]:
    """Read with a navigation, or without it where this version does not know how."""
    try:
        return await client.whole(resource, {**query, "$expand": _WITHIN[navigation]})
    except trouble.Unasked:
        return await client.whole(resource, query)


def _dn(row: Row) -> str:
    number = row.get("Number")
    if not isinstance(number, str) or not number or number != number.strip():
        raise trouble.garbled("a number")
    return number


def _is_bridge(row: Row) -> bool:
    gateway = row.get("Gateway")
    kind = gateway.get("Type") if isinstance(gateway, dict) else None
    return isinstance(kind, str) and kind.startswith(_BRIDGE)


def _groups(row: Row, navigation: str) -> tuple[int, ...]:
    """Return the ids of the groups that a row names; the primary first where that is said."""
    given = row.get(navigation)
    groups: list[Mapping[str, Any]] = (
        [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    )
    groups.sort(key=lambda group: group.get("IsPrimary") is not True)
    ids = [group.get("GroupId", group.get("GroupID")) for group in groups]
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, int)))


def _ranges(props: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    bounds = [(props.get(f"{name}From"), props.get(f"{name}To")) for name in _RANGES]
    return tuple((first, last) for first, last in bounds if _is_dn(first) and _is_dn(last))


def _is_dn(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isdecimal() and len(value) <= _LONGEST_DN


def with_trunks(known: Directory, trunks: Mapping[str, Trunk]) -> Directory:
    """Return a directory with its trunks as they are now."""
    return replace(known, trunks=trunks)
