"""Reads from a 3CX with a token, and says what its answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from connectors.threecx import trouble
from connectors.threecx.line import Answer, Line, Resource
from connectors.threecx.settings import Access
from connectors.threecx.token import Token, Tokens
from meter.model import Instant

#: One entry of a collection, as the 3CX sent it.
Row: TypeAlias = Mapping[str, Any]

#: More rows than this in a collection are a fault of the 3CX.
_MOST_ROWS: Final = 1_000_000

#: What is said of each to people.
_TOLD: Final[Mapping[Resource, str]] = {
    Resource.ACTIVE_CALLS: "the active calls (ActiveCalls)",
    Resource.CALL_LOG: "the call log (ReportCallLogData)",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What was asked for.

    Attributes:
        body: The object that came.
        asked_at, came_at: As of `Answer`.
        date: The 3CX's own clock, in whole seconds; None: it doesn't say.
        version: The 3CX's; "" if it doesn't say.
    """

    body: Mapping[str, Any] = field(repr=False)
    asked_at: Instant
    came_at: Instant
    date: Instant | None
    version: str

    @property
    def rows(self) -> Sequence[Row]:
        """The entries of a collection. Raises Garbled if it is none."""
        rows = self.body.get("value")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise trouble.garbled("a list")
        return rows

    @property
    def count(self) -> int | None:
        """How many entries there are on all pages; None: it doesn't say."""
        count = self.body.get("@odata.count")
        return count if isinstance(count, int) and not isinstance(count, bool) else None


class Client:
    """Reads what `Resource` names, over one line, with the one token.

    Args:
        line: Where it asks.
        tokens: Who it is.
        access: Which door is used.

    Attributes:
        roles: What the token may do, as the 3CX says; empty before the first question.
    """

    def __init__(self, line: Line, tokens: Tokens, access: Access) -> None:
        self._line = line
        self._tokens = tokens
        self._access = access
        self.roles: frozenset[str] = frozenset()

    async def read(
        self, resource: Resource, query: Mapping[str, str], *, period: tuple[Instant, Instant] | None = None
    ) -> Reply:
        """Read one resource, or a page of it.

        Raises:
            Denied: The credentials or their rights don't do, or this is no V20: `Forbidden`, `Absent`, `Foreign`.
            Unreachable: No connection, no complete answer, or none that counts (5xx, `Throttled`).
            Garbled: The answer can't be understood, or the question (`Unasked`).
        """
        token = await self._tokens.current(self._line)
        answer = await self._ask(resource, query, token, period)
        if answer.status == 401:  # noqa: PLR2004 -- HTTP's own numbers
            token = await self._tokens.another(self._line, token)
            answer = await self._ask(resource, query, token, period)
        return self._understood(resource, answer)

    async def pages(
        self,
        resource: Resource,
        query: Mapping[str, str],
        *,
        top: int = 100,
        period: tuple[Instant, Instant] | None = None,
    ) -> AsyncIterator[Reply]:
        """Read a collection page by page, up to its count or an empty page.

        3CX refuses a `$top` above 100 (its reports don't) and gives no link to the next
        page; a page may be shorter than asked for though more follow. Raises as `read`.
        """
        got = 0
        while got <= _MOST_ROWS:
            reply = await self.read(resource, {**query, "$top": str(top), "$skip": str(got)}, period=period)
            yield reply
            got += len(reply.rows)
            if not reply.rows or (reply.count is not None and got >= reply.count):
                return
        raise trouble.garbled("a list without end")

    async def whole(self, resource: Resource, query: Mapping[str, str]) -> list[Row]:
        """Read all of a collection that seldom changes, each row once by its `Id`.

        Raises:
            Garbled: Fewer rows came than the 3CX counts: a part is not taken for the whole.
            And as `read`.
        """
        found: dict[int, Row] = {}
        count = 0
        async for reply in self.pages(resource, {**query, "$count": "true"}):
            for row in reply.rows:
                if not isinstance(row.get("Id"), int):
                    raise trouble.garbled(resource.value)
                found[row["Id"]] = row
            count = max(count, reply.count or 0)  # a row that went meanwhile moved another out of sight
        if len(found) < count:
            raise trouble.garbled(f"{resource.value}: it counts more than it shows, and so the list")
        return list(found.values())

    async def _ask(
        self,
        resource: Resource,
        query: Mapping[str, str],
        token: Token,
        period: tuple[Instant, Instant] | None,
    ) -> Answer:
        self.roles = token.roles
        return await self._line.read(resource, query, bearer=token.value, period=period)

    def _understood(self, resource: Resource, answer: Answer) -> Reply:
        what = _TOLD.get(resource, resource.value)
        match answer.status:
            case 400:
                raise trouble.unasked(what)
            case 401 if resource is not Resource.CALL_LOG:
                raise trouble.fought_over(self._access)
            case 401 | 403:  # some builds say 401 where the role is too low for the call log
                raise trouble.forbidden(what, self.roles)
            case 404 if resource is not Resource.DEFS:
                raise trouble.absent(what)
        trouble.sift(answer.status, answer.retry_after_s)
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise trouble.garbled(what)
        return Reply(body, answer.asked_at, answer.came_at, answer.date, answer.version)
