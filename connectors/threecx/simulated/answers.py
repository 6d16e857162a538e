"""What a simulated 3CX answers under `/xapi/v1`: who asked, what for, and the bytes of it. No socket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.threecx.simulated import calllog, cdr, states
from connectors.threecx.simulated.calllog import CallLog
from connectors.threecx.simulated.entities import SETS, Entities
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.faults import Fault, Trouble
from connectors.threecx.simulated.filters import Invalid
from connectors.threecx.simulated.odata import EntitySet, Page, page, single
from connectors.threecx.simulated.states import Self
from connectors.threecx.simulated.tokens import Bearer

JSON: Final = "application/json; odata.metadata=minimal; odata.streaming=true"

#: Roles that see everything, and those that see their own department.
_SYSTEM: Final = {"system_owners", "system_admins"}
_DEPARTMENT: Final = {"group_owners", "managers", "group_admins"}

#: The version's third number from which on `Users(Number='100')` is a path.
_BY_NUMBER_SINCE: Final = 8

_SET_NAMES: Final = {name.lower(): name for name in SETS}
_MAX_REPORT: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it leaves.

    Attributes:
        status, body: As they are.
        kind: Content-Type; "" without a body.
        headers: More of them.
    """

    status: int
    body: bytes = b""
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


#: What is said without a body; which role, licence or restriction is in the way is not said.
NOBODY: Final = Answer(401, headers={"WWW-Authenticate": "Bearer"})
REFUSED: Final = Answer(403)
NOWHERE: Final = Answer(404)
FAILED: Final = Answer(500)


def told(status: int, value: Any, kind: str = JSON) -> Answer:
    """Return an answer with JSON in it."""
    return Answer(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), kind)


def complaint(why: str) -> Answer:
    """Return the 400 that OData gives to a query."""
    message = f"The query specified in the URI is not valid. {why}"
    inner = {"message": why, "type": "Microsoft.OData.ODataException", "stacktrace": ""}
    return told(400, {"error": {"code": "", "message": message, "details": [], "innererror": inner}})


@dataclass(slots=True)
class Api:
    """Everything under `/xapi/v1`.

    Attributes:
        me, exchange, entities, log: What it speaks of.
        cdr: Where call records go.
        page_size: How many rows come without `$top`.
    """

    me: Self
    exchange: Exchange
    entities: Entities
    log: CallLog
    cdr: cdr.Target | None
    page_size: int

    def answer(
        self, path: str, query: Mapping[str, str], bearer: Bearer, fault: Fault | None = None
    ) -> Answer:
        """Answer a GET.

        Args:
            path: Behind `/xapi/v1/`, unescaped.
            query: The options of the URI.
            bearer: Who asks.
            fault: What is to happen to the rows, if anything is: `EMPTY`, `SHIFTED`, `LACKING`, `LATE_ROWS`, `PIECEMEAL`.
        """
        if not self._may(bearer):
            return REFUSED
        try:
            return self._found(path, query, bearer, fault)
        except Invalid as error:
            return complaint(str(error))

    def _may(self, bearer: Bearer) -> bool:
        if not bearer.person and (self.me.licence != "enterprise" or not bearer.xapi):
            return False
        return bearer.role in _SYSTEM | _DEPARTMENT

    def _found(self, path: str, query: Mapping[str, str], bearer: Bearer, fault: Fault | None) -> Answer:
        trouble = None if fault is None else fault.trouble
        low = path.lower()
        if low == "activecalls" or low in _SET_NAMES:
            return self._rows(self._set(low, bearer), query, trouble)
        if (function := re.fullmatch(r"(?i)reportcalllogdata/pbx\.getcalllogdata\((.*)\)", path)) is not None:
            return self._call_log(function[1], query, bearer, fault)
        if (key := re.fullmatch(r"(\w+)\((?:number='([^']*)'|(\d+))\)", low)) is not None:
            return self._by_key(key, query, bearer)
        if (by := re.fullmatch(r"users/pbx\.getbynumber\(number='([^']*)'\)", low)) is not None:
            return self._row(self._set("users", bearer), "Number", by[1], query)
        return self._about_itself(low, query, bearer, trouble)

    def _about_itself(
        self, low: str, query: Mapping[str, str], bearer: Bearer, trouble: Trouble | None
    ) -> Answer:
        if low == "defs":
            return self._one(EntitySet("Defs", "Defs", [{"Id": 0}], frozenset({"Id"})), query)
        singletons = self._singletons()
        collection = low == "systemstatus/pbx.systemextensions()"
        if low not in singletons and not collection:
            return NOWHERE
        if bearer.role not in _SYSTEM:
            return REFUSED
        if collection:
            return self._rows(states.system_extensions(self.exchange), query, trouble)
        return self._one(singletons[low](), query)

    def _singletons(self) -> Mapping[str, Callable[[], EntitySet]]:
        settings = cdr.settings(self.cdr)
        restrictions = {"Id": "0", "AccessRestricted": False, "IpWhitelist": [], "MyIpAddress": "127.0.0.1"}
        return {
            "systemstatus": lambda: states.system_status(self.me, self.exchange),
            "systemstatus/pbx.systemhealthstatus()": states.health,
            "licensestatus": lambda: states.licence_status(self.me),
            "defs/pbx.getsystemparameters()": lambda: states.system_parameters(self.me),
            "cdrsettings": lambda: EntitySet("CDRSettings", "CDRSettings", [settings], frozenset(settings)),
            "consolerestrictions": lambda: EntitySet(
                "ConsoleRestrictions", "ConsoleRestrictions", [restrictions], frozenset(restrictions)
            ),
        }

    def _set(self, low: str, bearer: Bearer) -> EntitySet:
        bound = None if bearer.role in _SYSTEM else bearer.department
        if low == "activecalls":
            number = None if bound is None else self.exchange.directory.department(bound).number
            return states.active_calls(self.me, self.exchange, number)
        name = _SET_NAMES[low]
        return self.entities.set(name) if bound is None else self.entities.of_department(name, bound)

    def _call_log(self, text: str, query: Mapping[str, str], bearer: Bearer, fault: Fault | None) -> Answer:
        given = calllog.parameters(text)
        if given is None:
            return NOWHERE
        if bearer.role != "system_owners":
            return REFUSED
        try:
            first, last = calllog.bound(given["periodfrom"]), calllog.bound(given["periodto"])
        except ValueError:
            return FAILED
        trouble = None if fault is None else fault.trouble
        now, ended_by, more = self.exchange.now(), None, []
        if trouble is Trouble.PIECEMEAL:
            up, ahead_ms = self.exchange.up.values(), self.exchange.ahead_ms
            more = [row for call in up for row in self.log.so_far(call, now, ahead_ms)]
        elif fault is not None and trouble is Trouble.LATE_ROWS:
            ended_by = now - round((fault.seconds or 0) * 1000)
        rows = self.log.between(first, last, ended_by=ended_by, more=more)
        return self._rows(rows, query, trouble, max_top=_MAX_REPORT)

    def _by_key(self, key: re.Match[str], query: Mapping[str, str], bearer: Bearer) -> Answer:
        name, number, row_id = key.groups()
        if name not in _SET_NAMES or (number is not None and self.me.update < _BY_NUMBER_SINCE):
            return NOWHERE
        what = self._set(name, bearer)
        if number is not None:
            return self._row(what, "Number", number, query)
        return self._row(what, "Id", int(row_id), query)

    def _row(self, what: EntitySet, field_name: str, value: Any, query: Mapping[str, str]) -> Answer:
        def same(other: Any) -> bool:
            return bool(str(other).lower() == str(value).lower())

        rows = [row for row in what.rows if same(row[field_name])]
        if not rows:
            return NOWHERE
        found = single(EntitySet(what.name, what.type, rows, what.fields, what.navigations), query)
        return told(200, {"@odata.context": self._context(what, found, "/$entity"), **found.rows[0]})

    def _rows(
        self, what: EntitySet, query: Mapping[str, str], trouble: Trouble | None, max_top: int = 100
    ) -> Answer:
        rows = what.rows
        if trouble is Trouble.EMPTY:
            rows = ()
        elif trouble is Trouble.LACKING or (
            trouble is Trouble.SHIFTED and int(query.get("$skip", "0") or 0) > 0
        ):
            rows = rows[1:]
        what = EntitySet(what.name, what.type, rows, what.fields, what.navigations)
        found = page(what, query, page_size=self.page_size, max_top=max_top)
        value: dict[str, Any] = {"@odata.context": self._context(what, found)}
        if found.total is not None:
            value["@odata.count"] = found.total
        return told(200, value | {"value": found.rows})

    def _one(self, what: EntitySet, query: Mapping[str, str]) -> Answer:
        found = single(what, query)
        return told(200, {"@odata.context": self._context(what, found), **found.rows[0]})

    def _context(self, what: EntitySet, found: Page, more: str = "") -> str:
        selected = f"({found.selected})" if found.selected else ""
        return f"https://{self.me.fqdn}/xapi/v1/$metadata#{what.name}{selected}{more}"
