"""Who may report: agents, their keys, and the invitations that made them known. Work on a connection, no more.

Whoever changes what belongs to an agent locks its row first (`provider.storage.database`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.sql.functions import coalesce
from sqlalchemy.sql.functions import max as highest

from meter import signature
from meter.model import Instant
from meter.signature import PublicKey
from provider.books import Invited, KeyState, Known
from provider.storage.tables import AnyRow, agents, invitations, keys


def invite(connection: Connection, token_sha256: str, invited: Invited) -> None:
    """See `Books.invite`."""
    connection.execute(
        insert(invitations).values(
            token_sha256=token_sha256,
            agent=invited.agent,
            tenants=json.dumps(invited.tenants),
            expires_at=invited.expires_at,
        )
    )


def known(connection: Connection, thumbprint: str) -> Known | None:
    """See `Books.key`."""
    return all_known(connection, [thumbprint]).get(thumbprint)


def all_known(connection: Connection, thumbprints: Sequence[str]) -> Mapping[str, Known]:
    """Return what is known of keys, by thumbprint; what is not known is left out."""
    rows = connection.execute(select(keys).where(keys.c.thumbprint.in_(thumbprints)))
    return {
        row.thumbprint: Known(row.agent, _parsed(row.jwk), KeyState(row.state), row.ends_at) for row in rows
    }


@lru_cache(maxsize=4096)
def _parsed(jwk: str) -> PublicKey:
    return signature.public_key(jwk)


def enrol(
    connection: Connection,
    token_sha256: str,
    key: PublicKey,
    at: Instant,
    rule: Callable[[Invited | None, Known | None], str | None],
) -> str | None:
    """See `Books.enrol`."""
    mine = invitations.c.token_sha256 == token_sha256
    row = connection.execute(select(invitations).where(mine).with_for_update()).one_or_none()
    invited = _invited(row) if row else None
    if invited is not None:
        lock(connection, invited.agent)
    answer = rule(invited, known(connection, key.thumbprint))
    if answer is not None and invited is not None and invited.used_by is None:
        _admit(connection, invited)
        know(connection, invited.agent, key)
        connection.execute(
            update(invitations).where(mine).values(used_by=key.thumbprint, used_at=at, answer=answer)
        )
    return answer


def withdraw(connection: Connection, agent: str, thumbprint: str | None, at: Instant | None) -> Sequence[str]:
    """See `Books.withdraw`."""
    lock(connection, agent)
    good = (keys.c.agent == agent) & (keys.c.state != KeyState.WITHDRAWN.value)
    if thumbprint is not None:
        good &= keys.c.thumbprint == thumbprint
    gone = connection.execute(select(keys.c.thumbprint).where(good).order_by(keys.c.number)).scalars().all()
    ends = {"state": KeyState.WITHDRAWN.value} if at is None else {"ends_at": at}
    connection.execute(update(keys).where(good).values(ends))
    return gone


def lock(connection: Connection, agent: str) -> None:
    """Make an agent's books ours until the end of the transaction."""
    connection.execute(select(agents.c.id).where(agents.c.id == agent).with_for_update())


def know(connection: Connection, agent: str, key: PublicKey) -> None:
    """Make a key the newest one of an agent; a key that is known already is known afresh."""
    mine = select(coalesce(highest(keys.c.number), 0) + 1).where(keys.c.agent == agent)
    number = connection.execute(mine).scalar_one()
    again = update(keys).where(keys.c.thumbprint == key.thumbprint).values(number=number)
    if connection.execute(again).rowcount == 0:
        connection.execute(
            insert(keys).values(
                thumbprint=key.thumbprint,
                agent=agent,
                jwk=key.json(),
                state=KeyState.ACTIVE.value,
                number=number,
            )
        )


def _admit(connection: Connection, invited: Invited) -> None:
    values = {"tenants": json.dumps(invited.tenants), "rejoining": 1}
    if connection.execute(update(agents).where(agents.c.id == invited.agent).values(values)).rowcount == 0:
        connection.execute(insert(agents).values(id=invited.agent, **values))


def _invited(row: AnyRow) -> Invited:
    return Invited(row.agent, tuple(json.loads(row.tenants)), row.expires_at, row.used_by, row.answer)
