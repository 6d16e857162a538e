"""The token that every question carries: got once, kept, renewed in time, and never fought over.

Rules of this file:
- one token lives per API client, and a new one voids the old: so there is one lock
  around all that asks for one, and one `Tokens` for everything that an agent asks a 3CX;
- how long it lives is read from the token itself and the 3CX's clock, never from ours;
- renewed at 80 % of its life, not more often than every 30 s; beside that once for
  each token that the 3CX refuses;
- credentials that were refused twice, for whatever reasons, are not shown again, and what
  renews a token not after its first refusal: more than three failures in all, and 3CX
  shuts this address out, its telephones too.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeGuard

from connectors.errors import Denied, Garbled, Unreachable
from connectors.threecx import trouble
from connectors.threecx.line import Answer, Line
from connectors.threecx.settings import Access, Settings

#: Of a token whose end nobody tells: 3CX's documentation says 60 minutes.
_SUPPOSED_S: Final = 2700.0
#: Below this, `expires_in` may count minutes (up to 20.0.8) or seconds (since 20.0.9).
_DOUBTFUL: Final = 300
_APART_S: Final = 30.0
_RENEWED_AT: Final = 0.8

#: More tokens than these refused unexpectedly within this time: another program takes them away.
_MOST_SURPRISES: Final = 3
_SURPRISES_WITHIN_S: Final = 600.0
#: Then a new one is asked for so seldom: it takes the other program's away.
_TRUCE_S: Final = 60.0

_SAFE: Final = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """What a question carries.

    Attributes:
        value: The token.
        life_s: How long it lives from when it was given.
        least_s: Its end is no surprise after this (the shorter meaning of `expires_in`).
        roles: What the 3CX says that it may do; empty if it doesn't say.
        refresh: What renews a user's token; "" for an API client's.
        given_at: The event loop's time.
    """

    value: str = field(repr=False)
    life_s: float
    least_s: float
    roles: frozenset[str] = frozenset()
    refresh: str = field(default="", repr=False)
    given_at: float = 0.0

    def due(self, at: float) -> bool:
        """Whether it is time for a new one."""
        return at - self.given_at >= max(_APART_S, _RENEWED_AT * self.life_s)

    def over(self, at: float) -> bool:
        """Whether its end is no surprise."""
        return at - self.given_at >= self.least_s


def token(body: Mapping[str, Any], date_s: float | None) -> Token:
    """Return the token of an answer.

    Its end is the JWT's `exp` against the 3CX's own clock: the answer's date, else
    the JWT's `iat`. Without them `expires_in` from 300 on counts seconds; less may
    count minutes or seconds, so the token is used until it is refused.

    Args:
        body: The answer of `/connect/token`.
        date_s: The 3CX's clock as it answered, s since 1970; None: it doesn't say.

    Raises:
        ValueError: There is no token in it.
    """
    value = body.get("access_token")
    if not isinstance(value, str) or not _SAFE.fullmatch(value):
        raise ValueError("no token")
    claims = _claims(value)
    life_s = least_s = _SUPPOSED_S
    told, exp = body.get("expires_in"), claims.get("exp")
    given_s = date_s if date_s is not None else claims.get("iat")
    if _is_number(exp) and _is_number(given_s) and exp > given_s:
        life_s = least_s = float(exp - given_s)
    elif _is_number(told) and told >= _DOUBTFUL:
        life_s = least_s = float(told)
    elif _is_number(told) and told > 0:
        least_s = float(told)
    return Token(value, life_s, least_s, _roles(claims), _renewing(body.get("refresh_token")))


def _claims(value: str) -> Mapping[str, Any]:
    """Read the middle part of a JWT; who can read it need not check it: it is the 3CX's to judge."""
    try:
        middle = value.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    given = claims.get("role")
    names = given if isinstance(given, list) else [given]
    return frozenset(name for name in [*names, claims.get("MaxRole")] if isinstance(name, str))


def _renewing(value: object) -> str:
    """Return what may stand in a cookie; "" if it may not."""
    return (
        value if isinstance(value, str) and _SAFE.fullmatch(value) and not set(value) & set(' ",;\\') else ""
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Tokens:
    """The one token of one 3CX.

    It outlives connections, so that a new one is asked for as seldom as can be.

    Args:
        settings: Whose it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._held: Token | None = None
        self._next_try = 0.0
        self._refusal: Denied | None = None
        self._refusals = 0
        self._blamed: Token | None = None
        self._surprises: deque[float] = deque()
        self._truce_until = 0.0
        self._spent = ""  # what renewed a token until it was refused

    async def current(self, line: Line) -> Token:
        """Return the token to carry, a new one if it is time for it.

        Raises:
            Denied: The credentials are refused; or were, twice, and are not shown again; or tokens
                were refused unexpectedly too often a moment ago.
            Unreachable: No answer, and there is no token that may still be good.
            Garbled: An answer that can't be understood, likewise.
        """
        async with self._lock:
            held, at = self._held, _loop_s()
            if held is not None and (not held.due(at) or at < self._next_try):
                return held
            if held is None and at < self._truce_until:
                raise trouble.fought_over(self._settings.access)
            try:
                return await self._get(line)
            except (Unreachable, Garbled):
                self._next_try = at + _APART_S
                if held is None or held.over(at):
                    raise
                return held

    async def another(self, line: Line, instead_of: Token) -> Token:
        """Return a token instead of one that the 3CX refused.

        Raises:
            Denied: As `current`; or tokens were refused unexpectedly too often of late.
            Unreachable, Garbled: As `current`.
        """
        async with self._lock:
            if self._held is not None and self._held is not instead_of:
                return self._held  # somebody else was quicker
            self._blame(instead_of)
            return await self._get(line)

    def _blame(self, refused: Token) -> None:
        at = _loop_s()
        if refused is not self._blamed and not refused.over(at):
            self._surprises.append(at)
        self._blamed = refused
        while self._surprises and self._surprises[0] <= at - _SURPRISES_WITHIN_S:
            self._surprises.popleft()
        if len(self._surprises) > _MOST_SURPRISES:
            self._held = None  # it is dead
            self._truce_until = max(self._truce_until, self._surprises[-1] + _TRUCE_S)
            raise trouble.fought_over(self._settings.access)

    async def _get(self, line: Line) -> Token:
        if self._refusal is not None and self._refusals > 1:
            raise trouble.stopped(self._refusal)
        try:
            if self._settings.access is Access.USER_LOGIN:
                given = await self._of_user(line)
            else:
                form = {
                    "client_id": self._settings.username,
                    "client_secret": self._settings.secret,
                    "grant_type": "client_credentials",
                }
                given = self._given(await line.ask_for_token(form))
        except trouble.Foreign:
            raise  # nobody was refused
        except Denied as error:
            self._refusal, self._refusals = error, self._refusals + 1
            raise
        self._refusal, self._refusals = None, 0
        self._held = replace(given, given_at=_loop_s())
        return self._held

    async def _of_user(self, line: Line) -> Token:
        """Renew the user's token, or else log the user in."""
        if self._held is not None and self._held.refresh not in {"", self._spent}:
            form = {"client_id": "Webclient", "grant_type": "refresh_token"}
            answer = await line.ask_for_token(form, refresh=self._held.refresh)
            if answer.status not in _REFUSED:
                return self._given(answer, refresh=self._held.refresh)
            self._spent = self._held.refresh
        answer = await line.log_in(self._settings.username, self._settings.secret)
        body = _read(answer)
        refusal = _refusal(answer, body)
        if refusal is not None:
            raise refusal
        return self._given(answer, body.get("Token"), refresh=answer.refresh)

    def _given(self, answer: Answer, body: Any = None, *, refresh: str = "") -> Token:
        if answer.status in _REFUSED:
            raise trouble.refused(self._settings.access)
        given = _read(answer) if body is None else body
        try:
            found = token(given, None if answer.date is None else answer.date / 1000)
        except (ValueError, AttributeError):
            raise trouble.garbled("a token") from None
        return found if found.refresh else replace(found, refresh=_renewing(refresh))


#: 3CX says 401; 400 (`invalid_client`) and 403 are as good.
_REFUSED: Final = frozenset({400, 401, 403})

#: What a refused log-in's answer names, in any of its fields.
_NAMED: Final = (
    (re.compile(r"lock", re.IGNORECASE), trouble.locked),
    (re.compile(r"not\s*allowed", re.IGNORECASE), trouble.not_allowed),
    (re.compile(r"2fa|two.?factor|second.?factor|security.?code", re.IGNORECASE), trouble.second_factor),
)


def _read(answer: Answer) -> Mapping[str, Any]:
    """Return the object that an answer holds; {} where a refusal holds none."""
    trouble.sift(answer.status, answer.retry_after_s, but=_REFUSED)
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return body
    if answer.status in _REFUSED:
        return {"error": body if isinstance(body, str) else answer.body[:500].decode(errors="replace")}
    raise trouble.garbled("a token")


def _refusal(answer: Answer, body: Mapping[str, Any]) -> Denied | None:
    """Return why a user is not let in; None: he is."""
    status = body.get("Status")
    if answer.status not in _REFUSED and status == "AuthSuccess":
        return None
    said = " ".join(value for value in body.values() if isinstance(value, str))
    for words, named in _NAMED:
        if words.search(said):
            return named()
    return trouble.second_factor() if body.get("TwoFactorAuth") else trouble.refused(Access.USER_LOGIN)


def _loop_s() -> float:
    return asyncio.get_running_loop().time()
