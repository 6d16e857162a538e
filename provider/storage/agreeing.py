"""The provider's tree and what was agreed (see `provider.partners`), in a database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from delivery.reporting.usage import Brand
from provider.partners import Partner, Placement
from provider.storage.database import Store
from provider.storage.tables import AnyRow, marks, partners, placements

Rule = Callable[[Sequence[Partner], Sequence[Placement]], Sequence[str]]


class StoredPartners:
    """Partners (see `provider.partners`) in one database."""

    def __init__(self, database: Store) -> None:
        self._database = database

    async def partners(self) -> Sequence[Partner]:
        """See `Partners.partners`."""
        return await self._database.read(all_partners)

    async def placements(self) -> Sequence[Placement]:
        """See `Partners.placements`."""
        return await self._database.read(all_placements)

    async def change(
        self, partners: Sequence[Partner], placements: Sequence[Placement], rule: Rule
    ) -> Sequence[str]:
        """See `Partners.change`."""
        return await self._database.write(_change, partners, placements, rule)


def all_partners(connection: Connection) -> Sequence[Partner]:
    """See `Partners.partners`."""
    rows = connection.execute(select(partners).order_by(partners.c.id, partners.c.since))
    return [_partner(row) for row in rows]


def all_placements(connection: Connection) -> Sequence[Placement]:
    """See `Partners.placements`."""
    by = (placements.c.agent, placements.c.tenant, placements.c.since)
    return [_placement(row) for row in connection.execute(select(placements).order_by(*by))]


def _change(
    connection: Connection, changed: Sequence[Partner], placed: Sequence[Placement], rule: Rule
) -> Sequence[str]:
    # One change of the tree at a time: two that are right by themselves can make a circle together.
    connection.execute(select(marks).where(marks.c.name == "partners").with_for_update())
    known = {(*one.key, one.since): one for one in all_partners(connection)}
    known |= {(*one.key, one.since): one for one in changed}
    places = {(*one.key, one.since): one for one in all_placements(connection)}
    places |= {(*one.key, one.since): one for one in placed}
    wrong = rule(list(known.values()), list(places.values()))
    if wrong:
        return wrong
    if changed:
        same = (partners.c.id == bindparam("of")) & (partners.c.since == bindparam("on"))
        connection.execute(delete(partners).where(same), [{"of": p.id, "on": p.since} for p in changed])
        connection.execute(insert(partners), [_partner_row(one) for one in changed])
    if placed:
        same = (
            (placements.c.agent == bindparam("a"))
            & (placements.c.tenant == bindparam("t"))
            & (placements.c.since == bindparam("on"))
        )
        gone = [{"a": one.agent, "t": one.tenant, "on": one.since} for one in placed]
        connection.execute(delete(placements).where(same), gone)
        connection.execute(insert(placements), [_placement_row(one) for one in placed])
    return ()


def _partner(row: AnyRow) -> Partner:
    logo = None if row.logo is None else (row.logo_type, bytes(row.logo))
    brand = Brand(row.brand, row.colour, row.sender, row.reply_to, row.footer, logo)
    return Partner(row.id, row.name, row.since, row.parent, row.language, tuple(json.loads(row.email)), brand)


def _partner_row(one: Partner) -> dict[str, object]:
    media_type, logo = one.brand.logo or (None, None)
    return {
        "id": one.id,
        "since": one.since,
        "name": one.name,
        "parent": one.parent,
        "language": one.language,
        "email": json.dumps(one.email),
        "brand": one.brand.name,
        "colour": one.brand.colour,
        "sender": one.brand.sender,
        "reply_to": one.brand.reply_to,
        "footer": one.brand.footer,
        "logo_type": media_type,
        "logo": logo,
    }


def _placement(row: AnyRow) -> Placement:
    packages = tuple(json.loads(row.packages))
    return Placement(
        *(row.agent, row.tenant, row.since, row.partner, row.customer, row.capacity, packages, row.basis),
        ended=bool(row.ended),
    )


def _placement_row(one: Placement) -> dict[str, object]:
    return {
        "agent": one.agent,
        "tenant": one.tenant,
        "since": one.since,
        "partner": one.partner,
        "customer": one.customer,
        "capacity": one.capacity,
        "packages": json.dumps(one.packages),
        "basis": one.basis,
        "ended": int(one.ended),
    }
