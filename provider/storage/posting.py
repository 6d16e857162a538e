"""Closed periods, and what has to leave (see `provider.closings`), in a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, insert, or_, select, update
from sqlalchemy.sql.functions import max as highest

from meter.model import Instant
from provider.closings import Claimed, Closing, Letter, LetterRow, Revision
from provider.storage.database import Store
from provider.storage.tables import AnyRow, closings, mails, marks


class StoredClosings:
    """Closings (see `provider.closings`) in one database."""

    def __init__(self, database: Store) -> None:
        self._database = database

    async def close(self, closing: Closing, letters: Sequence[Letter] = ()) -> bool:
        """See `Closings.close`."""
        return await self._database.write(_close, closing, letters)

    async def closings(self, period: str | None = None) -> Sequence[Closing]:
        """See `Closings.closings`."""
        return await self._database.read(_closings, period)

    async def revisions(self, period: str | None = None) -> Sequence[Revision]:
        """See `Closings.revisions`."""
        return await self._database.read(_revisions, period)

    async def closing(self, period: str, revision: int) -> Closing | None:
        """See `Closings.closing`."""
        return await self._database.read(_closing, period, revision)

    async def lease(self, name: str, now: Instant, until: Instant) -> bool:
        """See `Closings.lease`."""
        return await self._database.write(_lease, name, now, until)

    async def approve(
        self, period: str, revision: int, *, at: Instant, by: str, letters: Sequence[Letter] = ()
    ) -> bool:
        """See `Closings.approve`."""
        return await self._database.write(_approve, period, revision, at, by, letters)


class StoredPost:
    """Post (see `provider.closings`) in one database."""

    def __init__(self, database: Store) -> None:
        self._database = database

    async def claim(
        self,
        now: Instant,
        *,
        most: int = 20,
        to_one: int | None = None,
        held: Sequence[str] = (),
        lease_ms: int = 120_000,
    ) -> Sequence[Claimed]:
        """See `Post.claim`."""
        return await self._database.write(_claim, now, most, to_one, held, lease_ms)

    async def delivered(self, letter: str, at: Instant) -> None:
        """See `Post.delivered`."""
        # Also one that another process parked meanwhile: the other side has it.
        undelivered = mails.c.state != "delivered"
        settled: dict[str, object] = {"state": "delivered", "settled_at": at, "said": None}
        await self._settle(letter, undelivered, body=None, target="", **settled)

    async def again(self, letter: str, due_at: Instant, said: str) -> None:
        """See `Post.again`."""
        await self._settle(letter, mails.c.state == "waiting", due_at=due_at, said=said)

    async def park(self, letter: str, at: Instant, said: str) -> None:
        """See `Post.park`."""
        await self._settle(letter, mails.c.state == "waiting", state="parked", settled_at=at, said=said)

    async def write(self, letters: Sequence[Letter], at: Instant) -> None:
        """See `Post.write`."""
        await self._database.write(post, letters, at)

    async def retry(self, now: Instant) -> int:
        """See `Post.retry`."""
        return await self._database.write(_retry, now)

    async def letters(self, *, settled_since: Instant | None = None) -> Sequence[LetterRow]:
        """See `Post.letters`."""
        return await self._database.read(_letters, settled_since)

    async def _settle(self, letter: str, still: ColumnElement[bool], **values: object) -> None:
        """Write what became of a letter, unless another process, whose claim came later, settled it already."""

        def settle(connection: Connection) -> None:
            one = update(mails).where(mails.c.id == letter, still)
            connection.execute(one.values(attempts=mails.c.attempts + 1, **values))

        await self._database.write(settle)


def _close(connection: Connection, closing: Closing, letters: Sequence[Letter]) -> bool:
    _lock(connection)
    one = (closings.c.period == closing.period) & (closings.c.revision == closing.revision)
    if connection.execute(select(closings.c.revision).where(one)).first() is not None:
        return False
    connection.execute(
        insert(closings).values(
            period=closing.period,
            revision=closing.revision,
            state="draft" if closing.approved_at is None else "approved",
            made_at=closing.made_at,
            approved_at=closing.approved_at,
            approved_by=closing.approved_by,
            document=closing.document,
            sha256=closing.sha256,
        )
    )
    post(connection, letters, closing.made_at)
    return True


def _approve(
    connection: Connection, period: str, revision: int, at: Instant, by: str, letters: Sequence[Letter]
) -> bool:
    _lock(connection)
    newest = select(highest(closings.c.revision)).where(closings.c.period == period).scalar_subquery()
    draft = (closings.c.period == period) & (closings.c.revision == revision) & (closings.c.state == "draft")
    draft &= closings.c.revision == newest
    released = update(closings).where(draft).values(state="approved", approved_at=at, approved_by=by)
    if connection.execute(released).rowcount == 0:
        return False
    post(connection, letters, at)
    return True


def _closings(connection: Connection, period: str | None) -> Sequence[Closing]:
    asked = select(closings).order_by(closings.c.period, closings.c.revision)
    if period is not None:
        asked = asked.where(closings.c.period == period)
    return [_closing_of(row) for row in connection.execute(asked)]


def _closing(connection: Connection, period: str, revision: int) -> Closing | None:
    one = (closings.c.period == period) & (closings.c.revision == revision)
    row = connection.execute(select(closings).where(one)).one_or_none()
    return None if row is None else _closing_of(row)


def _closing_of(row: AnyRow) -> Closing:
    return Closing(
        period=row.period,
        revision=row.revision,
        made_at=row.made_at,
        document=bytes(row.document),
        sha256=row.sha256,
        approved_at=row.approved_at,
        approved_by=row.approved_by,
    )


def _revisions(connection: Connection, period: str | None) -> Sequence[Revision]:
    names = ("period", "revision", "made_at", "sha256", "approved_at", "approved_by")
    asked = select(*(closings.c[name] for name in names)).order_by(closings.c.period, closings.c.revision)
    if period is not None:
        asked = asked.where(closings.c.period == period)
    return [Revision(**row) for row in connection.execute(asked).mappings()]


def _lease(connection: Connection, name: str, now: Instant, until: Instant) -> bool:
    _lock(connection)
    mark = marks.c.name == f"lease:{name}"
    held = connection.execute(select(marks.c.value).where(mark)).scalar_one_or_none()
    if held is not None and held > now and until > now:
        return False
    connection.execute(delete(marks).where(mark))
    connection.execute(insert(marks).values(name=f"lease:{name}", value=until))
    return True


def post(connection: Connection, letters: Sequence[Letter], at: Instant) -> None:
    """Write letters, due at once. A known id is left as it is."""
    known = set(
        connection.execute(select(mails.c.id).where(mails.c.id.in_([one.id for one in letters]))).scalars()
    )
    fresh = [
        {
            "id": one.id,
            "kind": one.kind,
            "target": one.target,
            "body": one.body,
            "state": "waiting",
            "made_at": at,
            "due_at": at,
            "attempts": 0,
        }
        for one in {one.id: one for one in letters}.values()
        if one.id not in known
    ]
    if fresh:
        connection.execute(insert(mails), fresh)


def _claim(
    connection: Connection, now: Instant, most: int, to_one: int | None, held: Sequence[str], lease_ms: int
) -> Sequence[Claimed]:
    due = (mails.c.state == "waiting") & (mails.c.due_at <= now) & mails.c.body.is_not(None)
    if to_one is not None:
        due &= mails.c.id.in_(_first(due, to_one, Counter(held)))
    rows = connection.execute(
        select(mails)
        .where(due)
        .order_by(mails.c.due_at, mails.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    mine = mails.c.id.in_([row.id for row in rows])
    connection.execute(update(mails).where(mine).values(due_at=now + lease_ms))
    return [
        Claimed(Letter(row.id, row.kind, row.target, bytes(row.body)), row.attempts, row.made_at)
        for row in rows
    ]


def _first(due: ColumnElement[bool], to_one: int, held: Counter[str]) -> Select[tuple[str]]:
    """Ask for the ids of the first so many to each address, less those that are held."""
    by = (mails.c.due_at, mails.c.id)
    number = func.row_number().over(partition_by=mails.c.target, order_by=by).label("number")
    listed = select(mails.c.id, mails.c.target, number).where(due).subquery()
    away = case(held, value=listed.c.target, else_=0) if held else 0
    return select(listed.c.id).where(listed.c.number + away <= to_one)


def _retry(connection: Connection, now: Instant) -> int:
    parked = update(mails).where(mails.c.state == "parked", mails.c.body.is_not(None))
    return connection.execute(parked.values(state="waiting", attempts=0, due_at=now)).rowcount


def _letters(connection: Connection, settled_since: Instant | None) -> Sequence[LetterRow]:
    shown = mails.c.state != "delivered"
    if settled_since is not None:
        shown = or_(shown, mails.c.settled_at >= settled_since)
    names = ("id", "kind", "state", "made_at", "due_at", "attempts", "said", "settled_at")
    asked = select(*(mails.c[name] for name in names)).where(shown)
    rows = connection.execute(asked.order_by(mails.c.made_at.desc(), mails.c.id)).mappings()
    return [LetterRow(**row) for row in rows]


def _lock(connection: Connection) -> None:
    """One at a time closes, approves and tells: who is second sees what the first wrote."""
    connection.execute(select(marks).where(marks.c.name == "post").with_for_update())
