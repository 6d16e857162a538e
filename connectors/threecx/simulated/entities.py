"""The entity sets of a simulated 3CX, row by row, with the fields of each version.

Without `$select` the real ones answer with passwords and keys. So do these: every such
value holds `SECRET`, for which a test can look wherever it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connectors.threecx.simulated.directory import Department, Directory, Kind, Service, Trunk, User
from connectors.threecx.simulated.odata import EntitySet
from connectors.threecx.simulated.tokens import Client

#: What no reader may ever ask for.
SECRET: Final = "simulated-secret"  # noqa: S105 -- that is the point

#: From which third number of the version on a field exists.
SINCE: Final[Mapping[str, Mapping[str, int]]] = {
    "Users": {"AIAgent": 9, "ForbidRecording": 10},
    "ServicePrincipals": {"MyPhoneEnabled": 8, "IsSystem": 9},
    "SystemStatus": {"RemoteStorageStatus": 7, "UserExtensions": 9, "MaxUserExtensions": 9},
    "Gateway": {"IsCustom": 10},
    "License": {"IsEnterprise": 10, "IsProfessional": 10},
}

_SERVICE_SETS: Final = {
    "Queues": (Kind.QUEUE, "Queue"),
    "RingGroups": (Kind.RING_GROUP, "RingGroup"),
    "Receptionists": (Kind.IVR, "Receptionist"),
    "Parkings": (Kind.PARKING, "Parking"),
    "Fax": (Kind.FAX, "Fax"),
    "CallFlowApps": (Kind.ROUTE_POINT, "CallFlowApp"),
}
_MORE: Final[Mapping[str, Mapping[str, Any]]] = {
    "Queues": {"PollingStrategy": "RingAll", "IsRegistered": True, "RingTimeout": 20, "Agents": []},
    "RingGroups": {"RingStrategy": "RingAll", "IsRegistered": True, "RingTime": 20, "Members": []},
    "Receptionists": {"IVRType": "Default", "IsRegistered": True, "Timeout": 5},
    "Parkings": {},
    "Fax": {"FaxServer": True, "AuthID": SECRET, "AuthPassword": SECRET, "OutboundCallerId": ""},
    "CallFlowApps": {"IsRegistered": True},
}
_NAVIGATIONS: Final = frozenset({"Groups", "Members", "Rights", "MemberOf", "Peers", "Agents"})

#: The sets that `Entities` has.
SETS: Final = ("Users", "Trunks", "Groups", "Peers", "ServicePrincipals", *_SERVICE_SETS)


class Entities:
    """The sets of one directory.

    Args:
        directory: Who and what there is. Rows are made anew when one of its tuples is another one.
        clients: The API clients, which are route points too.
        update: The third number of the version.
    """

    def __init__(self, directory: Directory, clients: Sequence[Client], update: int) -> None:
        self._directory = directory
        self._clients = clients
        self._update = update
        self._made: dict[str, tuple[tuple[object, ...], EntitySet]] = {}

    def set(self, name: str) -> EntitySet:
        """Return an entity set of `SETS`, whole."""
        whole = self._directory
        source = (whole.users, whole.trunks, whole.departments, whole.services)
        made = self._made.get(name)
        if made is None or any(one is not other for one, other in zip(made[0], source, strict=True)):
            made = source, self._make(name)
            self._made[name] = made
        return made[1]

    def of_department(self, name: str, department: str) -> EntitySet:
        """Return what a role sees that is bound to one department."""
        whole = self.set(name)
        known = self._directory.department(department)

        def belongs(row: Mapping[str, Any]) -> bool:
            if name == "Groups":
                return bool(row["Id"] == known.id)
            groups = row.get("Groups") or row.get("MemberOf") or []
            return any(known.number == group["Number"] or known.name == group["Name"] for group in groups)

        rows = [row for row in whole.rows if belongs(row)]
        return EntitySet(whole.name, whole.type, rows, whole.fields, whole.navigations)

    def _make(self, name: str) -> EntitySet:
        whole = self._directory
        if name == "Users":
            kind, rows = "User", [self._user(place, user) for place, user in enumerate(whole.users, 1000)]
        elif name == "Trunks":
            kind, rows = "Trunk", [self._trunk(place, trunk) for place, trunk in enumerate(whole.trunks, 56)]
        elif name == "Groups":
            kind, rows = "Group", [self._group(department) for department in whole.departments]
        elif name == "Peers":
            kind, rows = "Peer", self._peers()
        elif name == "ServicePrincipals":
            kind = "ServicePrincipal"
            rows = [self._principal(place, client) for place, client in enumerate(self._clients, 700)]
        else:
            dn_kind, kind = _SERVICE_SETS[name]
            rows = [
                self._service(place, service, name)
                for place, service in enumerate(whole.services, 400)
                if service.kind is dn_kind
            ]
        return entity_set(name, kind, rows, self._update)

    def _user(self, place: int, user: User) -> dict[str, Any]:
        return {
            "Id": place,
            "Number": user.number,
            "FirstName": user.first,
            "LastName": user.last,
            "DisplayName": f"{user.first} {user.last}",
            "EmailAddress": f"{user.number.lower()}@example.com",
            "Mobile": "",
            "OutboundCallerID": "",
            "CurrentProfileName": "Available",
            "QueueStatus": "LoggedIn",
            "Enabled": user.enabled,
            "Internal": False,
            "IsRegistered": user.registered,
            "Require2FA": user.two_factor,
            "Enable2FA": user.two_factor,
            "VMEnabled": True,
            "HideInPhonebook": False,
            "EnableHotdesking": user.number.startswith("HD"),
            "HotdeskingAssignment": "",
            "AIAgent": False,
            "ForbidRecording": False,
            "PrimaryGroupId": self._directory.department(user.department).id,
            "Tags": [],
            "AuthID": SECRET,
            "AuthPassword": SECRET,
            "AccessPassword": SECRET,
            "DeskphonePassword": SECRET,
            "VMPIN": SECRET,
            "SIPID": SECRET,
            "Groups": [
                self._membership(user.department, user.number, f"{user.last}, {user.first}", user.role)
            ],
        }

    def _membership(self, department: str, number: str, name: str, role: str = "users") -> dict[str, Any]:
        group = self._directory.department(department)
        return {
            "Id": group.id * 10_000 + len(number),
            "GroupId": group.id,
            "Number": group.number,
            "Name": group.name,
            "MemberName": name,
            "Type": "Extension",
            "CanDelete": True,
            "Tags": [],
            "Rights": {"RoleName": role},
        }

    def _trunk(self, place: int, trunk: Trunk) -> dict[str, Any]:
        gateway = {
            "Id": place - 44,
            "Name": trunk.name,
            "Host": "sip.provider.example",
            "Port": 5060,
            "ProxyHost": "",
            "ProxyPort": 5060,
            "Type": trunk.gateway,
            "Lines": trunk.lines,
            "Internal": trunk.bridge,
            "IsCustom": False,
            "TemplateFilename": "provider.pv.xml",
            "RequireRegistrationFor": "InOutCalls",
        }
        return {
            "Id": place,
            "Number": trunk.number,
            "SimultaneousCalls": trunk.lines,
            "IsOnline": trunk.online,
            "Direction": "Both",
            "EnableInboundCalls": True,
            "EnableOutboundCalls": True,
            "ExternalNumber": "",
            "AuthID": SECRET,
            "AuthPassword": {"Concealed": True, "Value": SECRET},
            "DidNumbers": [],
            "ConfigurationIssue": "",
            "TunnelEnabled": False,
            "TrunkRegTimes": [],
            "Tags": [],
            "Gateway": of_version("Gateway", gateway, self._update),
            "Groups": [self._membership(number, trunk.number, trunk.name) for number in trunk.departments],
        }

    def _group(self, department: Department) -> dict[str, Any]:
        ranges = (
            ("User", department.users),
            ("System", department.system),
            ("Trunk", department.trunks),
        )
        props: dict[str, Any] = {"TrunksMaxCount": None, "ResellerName": None, "Subscription": None}
        for name, bounds in ranges:
            if bounds is not None:
                props |= {f"{name}NumberFrom": bounds[0], f"{name}NumberTo": bounds[1]}
        members = [user for user in self._directory.users if user.department == department.number]
        return {
            "Id": department.id,
            "Number": department.number,
            "Name": department.name,
            "IsDefault": department.name == "DEFAULT",
            "HasMembers": bool(members),
            "Language": "EN",
            "Props": props,
            "Rights": [{"RoleName": "users"}],
            "Members": [
                self._membership(user.department, user.number, f"{user.last}, {user.first}", user.role)
                | {"Number": user.number}
                for user in members
            ],
        }

    def _peers(self) -> list[dict[str, Any]]:
        whole = self._directory
        found: list[tuple[str, str, Kind, Iterable[str], list[str]]] = [
            *(
                (user.number, f"{user.last}, {user.first}", Kind.EXTENSION, (user.department,), [])
                for user in whole.users
            ),
            *(
                (service.number, service.name, service.kind, (service.department,), [])
                for service in whole.services
            ),
            *((trunk.number, trunk.name, Kind.TRUNK, trunk.departments, []) for trunk in whole.trunks),
            *(
                (client.client_id, client.client_id, Kind.ROUTE_POINT, (), ["Principal"])
                for client in self._clients
            ),
        ]
        return [
            {
                "Id": place,
                "Number": number,
                "Name": name,
                "Type": str(kind),
                "Hidden": False,
                "Tags": tags,
                "MemberOf": [self._peer_group(department, at) for at, department in enumerate(departments)],
            }
            for place, (number, name, kind, departments, tags) in enumerate(found, 2000)
        ]

    def _peer_group(self, number: str, place: int) -> dict[str, Any]:
        group = self._directory.department(number)
        return {
            "GroupID": group.id,
            "IsPrimary": place == 0,
            "Name": group.name,
            "Number": group.number,
            "RoleName": "users",
        }

    def _principal(self, place: int, client: Client) -> dict[str, Any]:
        groups = [self._membership(client.department, client.client_id, client.client_id, client.role)]
        return {
            "Id": place,
            "Number": client.client_id,
            "XAPIEnabled": client.xapi,
            "CallControlEnabled": False,
            "MyPhoneEnabled": False,
            "IsSystem": False,
            "LastUsed": None,
            "Groups": groups if client.department else [],
            "Peers": [],
        }

    def _service(self, place: int, service: Service, name: str) -> dict[str, Any]:
        more = dict(_MORE[name])
        if name not in {"Parkings", "Fax"}:
            more["Name"] = service.name
        groups = [self._membership(service.department, service.number, service.name)]
        return {"Id": place, "Number": service.number, "Groups": groups, **more}


def entity_set(name: str, kind: str, rows: Sequence[Mapping[str, Any]], update: int) -> EntitySet:
    """Return a set with the fields that its version has."""
    rows = [of_version(name, row, update) for row in rows]
    fields = frozenset(rows[0]) if rows else _EMPTY.get(name, frozenset({"Id", "Number"}))
    return EntitySet(name, kind, rows, fields, _NAVIGATIONS & fields)


def of_version(name: str, row: Mapping[str, Any], update: int) -> dict[str, Any]:
    """Return a row without what its version has not."""
    since = SINCE.get(name, {})
    return {field: value for field, value in row.items() if since.get(field, 0) <= update}


#: What sets have for fields that have no row.
_EMPTY: Final[Mapping[str, frozenset[str]]] = {
    "Trunks": frozenset(
        {"Id", "Number", "SimultaneousCalls", "IsOnline", "Direction", "ExternalNumber", "Gateway", "Groups"}
    ),
    **{
        name: frozenset(
            {"Id", "Number", "Groups", *more, *(() if name in {"Parkings", "Fax"} else ("Name",))}
        )
        for name, more in _MORE.items()
    },
}
