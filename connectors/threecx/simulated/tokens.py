"""Who may speak to a simulated 3CX, and for how long: API clients, tokens, and addresses that are shut out.

As of the facts: one token lives per API client, a new one voids the old at once; it is a
JWT with `exp`; `expires_in` counts minutes up to 20.0.8 and seconds since 20.0.9; more than
three wrong secrets from one address shut it out. All by the 3CX's own clock.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from connectors.connector import Now
from connectors.threecx.simulated.directory import User
from meter.model import Instant

#: How often a secret may be wrong, for how long an address is shut out then.
WRONG_SECRETS: Final = 4
SHUT_OUT_MS: Final = 15 * 60_000

#: From which third number of the version on `expires_in` counts seconds.
SECONDS_SINCE: Final = 9


@dataclass(frozen=True, slots=True)
class Client:
    """One entry of Integrations > API.

    Attributes:
        client_id: It is the DN of a route point, too.
        role: One of `system_owners`, `system_admins`, `group_owners`, `managers`,
            `group_admins`, `receptionists`, `users`.
        department: Name or number of its department; "": system wide, which leaves the role `users`.
        xapi: Whether "3CX Configuration API Access" is ticked.
    """

    client_id: str = "900"
    secret: str = field(default="only-for-simulations", repr=False)
    role: str = "system_admins"
    department: str = "DEFAULT"
    xapi: bool = True

    @property
    def true_role(self) -> str:
        """The role that works."""
        return self.role if self.department else "users"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token stands for.

    Attributes:
        name: Client id, or the user's number.
        role, department: What they may see.
        xapi: Whether the configuration API is open to them.
        person: A user's own log-in, no API client.
        until: When it ends, by the 3CX's clock.
    """

    name: str
    role: str
    department: str
    xapi: bool
    person: bool
    until: Instant


class Tokens:
    """The tokens that live, and the addresses that are shut out.

    Args:
        now: Reads the 3CX's own clock.
        issuer: Its host name.
        update: The third number of its version.
        odd_expiry: `expires_in` 60, and meant as seconds, whatever the version.
        life_s: How long a token lives; None: as the version has it.
    """

    def __init__(
        self, now: Now, *, issuer: str, update: int, odd_expiry: bool = False, life_s: float | None = None
    ) -> None:
        self._now = now
        self._issuer = issuer
        self._update = update
        self._odd = odd_expiry
        self._life_s = life_s
        self._bearers: dict[str, Bearer] = {}
        self._refreshes: dict[str, User] = {}
        self._wrong: dict[str, int] = {}
        self._shut: dict[str, Instant] = {}
        self._serial = count(1)

    @property
    def life_s(self) -> float:
        """How long a token lives."""
        return self._life_s or (60.0 if self._odd else 3600.0)

    @property
    def expires_in(self) -> int:
        """What the 3CX says about it."""
        if self._odd:
            return 60
        life_s = round(self.life_s)
        return life_s if self._update >= SECONDS_SINCE else max(1, life_s // 60)

    def shut_out(self, address: str) -> bool:
        """Return whether this address gets no answer now."""
        return self._now() < self._shut.get(address, 0)

    def wrong(self, address: str) -> None:
        """Note a wrong secret."""
        self._wrong[address] = self._wrong.get(address, 0) + 1
        if self._wrong[address] >= WRONG_SECRETS:
            self._shut[address] = self._now() + SHUT_OUT_MS
            self._wrong[address] = 0

    def right(self, address: str) -> None:
        """Note a right secret."""
        self._wrong.pop(address, None)

    def mint(self, client: Client) -> str:
        """Return a new token for a client, and void the one it had."""
        self.void(client.client_id)
        bearer = Bearer(
            client.client_id,
            client.true_role,
            client.department,
            client.xapi,
            person=False,
            until=self._until(),
        )
        return self._give(bearer, ["App", "Reports", client.true_role, "CallFlowApp", "MyPhone"])

    def log_in(self, user: User) -> tuple[str, str]:
        """Return a token for a user, and the one to renew it with. Others of the same user live on."""
        bearer = Bearer(user.number, user.role, user.department, xapi=True, person=True, until=self._until())
        refresh = f"simulated-refresh-{next(self._serial)}"
        self._refreshes[refresh] = user
        roles = ["MyUser", "Local", "SingleCompany", "Reports", user.role, "Enterprise"]
        return self._give(bearer, roles), refresh

    def renewing(self, refresh: str) -> User | None:
        """Return the user whom a refresh token stands for; None: it is unknown."""
        return self._refreshes.get(refresh)

    def bearer(self, token: str) -> Bearer | None:
        """Return whom a token stands for; None: it is unknown, void or over."""
        bearer = self._bearers.get(token)
        return bearer if bearer is not None and self._now() < bearer.until else None

    def void(self, client_id: str) -> None:
        """End a client's token, as another program does that uses the same Client ID."""
        for token in [token for token, bearer in self._bearers.items() if bearer.name == client_id]:
            if not self._bearers[token].person:
                del self._bearers[token]

    def forget(self) -> None:
        """End every token, as a restart does."""
        self._bearers.clear()

    def _until(self) -> Instant:
        return self._now() + round(self.life_s * 1000)

    def _give(self, bearer: Bearer, roles: list[str]) -> str:
        now_s = self._now() // 1000
        claims = {
            "sub": bearer.name,
            "scope": "xapi",
            "aud": "/api",
            "iss": self._issuer,
            "role": roles,
            "nbf": now_s,
            "iat": now_s,
            "exp": bearer.until // 1000,
        }
        header = {"alg": "ES256", "kid": "simulated", "typ": "JWT"}
        signature = f"no-signature-{next(self._serial)}".encode()
        token = ".".join(_part(part) for part in (_json(header), _json(claims), signature))
        self._bearers[token] = bearer
        return token


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
