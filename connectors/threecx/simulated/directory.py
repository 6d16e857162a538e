"""Who and what there is on a simulated 3CX: users, trunks, departments, queues and the rest. Pure.

The defaults hold what makes a careless reader stumble: an extension with five digits
beside trunk numbers, hot-desk pseudo users, a disabled user, a bridge to another 3CX,
trunk names with brackets and digits, a favourites group that is no department.

Telephone numbers are from 020 7946 0000-0999, which Ofcom keeps free for fiction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a DN is, in the words of `PeerType`."""

    EXTENSION = "Extension"
    TRUNK = "ExternalLine"
    QUEUE = "Queue"
    IVR = "IVR"
    RING_GROUP = "RingGroup"
    PARKING = "Parking"
    FAX = "Fax"
    CONFERENCE = "Conference"
    SPECIAL_MENU = "SpecialMenu"
    ROUTE_POINT = "RoutePoint"


@dataclass(frozen=True, slots=True)
class Department:
    """One department (`Groups`).

    Attributes:
        id, number, name: What it goes by (28, `GRP0000`, `DEFAULT`).
        users, system, trunks: Its number ranges, first and last; None: it has none.
    """

    id: int
    number: str
    name: str
    users: tuple[str, str] | None = None
    system: tuple[str, str] | None = None
    trunks: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class User:
    """One user, who may also log in to the web client.

    Attributes:
        number: The extension; `HD...` is a hot-desk pseudo user.
        department: Number of the primary department.
        role: What the user may do in that department.
        password: For the web client; "": no log-in.
        two_factor: Whether the log-in asks for a second factor.
    """

    number: str
    first: str = "Sam"
    last: str = "Sample"
    department: str = "GRP0000"
    enabled: bool = True
    registered: bool = True
    role: str = "users"
    password: str = field(default="", repr=False)
    two_factor: bool = False


@dataclass(frozen=True, slots=True)
class Trunk:
    """One trunk, or a bridge to another 3CX.

    Attributes:
        number: Its DN.
        name: Its gateway's name.
        gateway: `GatewayType`.
        lines: `SimultaneousCalls`.
        departments: Numbers of the departments that it belongs to.
    """

    number: str
    name: str
    gateway: str = "Provider"
    lines: int = 10
    online: bool = True
    departments: tuple[str, ...] = ()

    @property
    def bridge(self) -> bool:
        """Whether it leads to another 3CX, not to the telephone network."""
        return self.gateway.startswith("Bridge")


@dataclass(frozen=True, slots=True)
class Service:
    """A DN that is neither a user nor a trunk."""

    number: str
    name: str
    kind: Kind
    department: str = "GRP0000"


DEPARTMENTS: Final = (
    Department(28, "GRP0000", "DEFAULT"),
    Department(95, "GRP0001", "Sales", ("200", "299"), ("8200", "8299"), ("10200", "10209")),
    Department(96, "GRP0002", "Workshop", ("300", "399"), ("8300", "8399"), ("10300", "10309")),
    Department(97, "GRP0003", "___FAVORITES___100"),
)
USERS: Final = (
    User("100", "Ada", "Admin", role="system_owners", password="only-for-simulations"),  # noqa: S106 -- made up
    *(User(str(number), f"First{number}", f"Last{number}") for number in range(101, 120)),
    *(User(str(number), f"First{number}", f"Last{number}", "GRP0001") for number in range(200, 212)),
    *(User(str(number), f"First{number}", f"Last{number}", "GRP0002") for number in range(300, 308)),
    User("120", "Gone", "Away", enabled=False, registered=False),
    User("10016", "Five", "Digits (home)"),
    User("HD101", "Hot", "Desk", registered=False),
)
TRUNKS: Final = (
    Trunk("10000", "ACME SIP", departments=("GRP0000",)),
    Trunk("10001", "OB-Trunk 0555-53830 0-99"),
    Trunk("10020", "Backup (no 2) [old]", lines=4, departments=("GRP0001", "GRP0002")),
    Trunk("10200", "Sales line", lines=4, departments=("GRP0001",)),
    Trunk("10002", "Branch bridge", "BridgeMaster", lines=4),
)
SERVICES: Final = (
    Service("8003", "Queue 1", Kind.QUEUE),
    Service("8203", "Sales queue", Kind.QUEUE, "GRP0001"),
    Service("8010", "Main menu", Kind.IVR),
    Service("8020", "Everybody", Kind.RING_GROUP),
    Service("8050", "Opening hours", Kind.ROUTE_POINT),
    Service("SP0", "Shared Parking", Kind.PARKING),
    Service("888", "Fax", Kind.FAX),
    Service("700", "Conference", Kind.CONFERENCE),
    Service("*777", "Echo test", Kind.SPECIAL_MENU),
)


def outside_number(place: int) -> str:
    """Return one of the thousand numbers that belong to nobody."""
    return f"+442079460{place % 1000:03d}"


@dataclass(slots=True)
class Directory:
    """Everything that has a number.

    Attributes:
        users, trunks, departments, services: As configured; may be replaced at any time.
    """

    users: tuple[User, ...] = USERS
    trunks: tuple[Trunk, ...] = TRUNKS
    departments: tuple[Department, ...] = DEPARTMENTS
    services: tuple[Service, ...] = SERVICES

    def trunk(self, dn: str) -> Trunk | None:
        """Return the trunk with this DN; None: there is none."""
        return next((trunk for trunk in self.trunks if trunk.number == dn), None)

    def user(self, dn: str) -> User | None:
        """Return the user with this number; None: there is none."""
        return next((user for user in self.users if user.number == dn), None)

    def service(self, dn: str) -> Service | None:
        """Return what else has this DN; None: nothing."""
        return next((service for service in self.services if service.number == dn), None)

    def department(self, number: str) -> Department:
        """Return a department by its number or its name. Raises KeyError."""
        for department in self.departments:
            if number in {department.number, department.name}:
                return department
        raise KeyError(number)
