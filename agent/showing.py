"""How status, figures and findings look in a terminal. Takes plain values, returns rich renderables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.checking import Finding, Mark
from agent.store.records import Sealed
from meter.periods import iso

_MARKS = {Mark.FINE: ("ok  ", "green"), Mark.NOTE: ("note", "yellow"), Mark.BAD: ("bad ", "bold red")}


def number(value: int | None) -> str:
    """Return a number, or what stands for one that is not known."""
    return "?" if value is None else str(value)


def length(ms: int) -> str:
    """Return a duration in its two largest units."""
    seconds = ms // 1000
    for size, big, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {big} {seconds % size // part} {small}"
    return f"{ms / 1000:.1f} s"


def coverage(found: dict[str, int]) -> str:
    """Return how much of the time was observed; never rounded up to all of it."""
    expected, observed = found["expected_ms"], found["observed_ms"]
    if not expected:
        return "?"
    return "100 %" if observed == expected else f"{min(99.99, 100 * observed / expected):.2f} %"


def status(found: dict[str, Any]) -> RenderableType:
    """Return the answer of a running agent."""
    tenants = Table(title=f"{found['agent']['id']} at {found['at']}", title_justify="left")
    for column in (
        "tenant",
        "period",
        "channels",
        "calls",
        "answered",
        "capacity",
        "overruns",
        "users",
        "observed",
    ):
        tenants.add_column(column, no_wrap=True)
    for name, tenant in found["tenants"].items():
        levels, basis = tenant["levels"], tenant["basis"]
        over = tenant["capacity"] is not None and (levels[basis]["now"] or 0) > tenant["capacity"]
        tenants.add_row(
            name,
            tenant["period"],
            *(
                Text(
                    f"{number(level['now'])} (peak {number(level['peak'])})",
                    style=("bold red" if over else "bold") if key == basis else "",
                )
                for key, level in levels.items()
            ),
            "-" if tenant["capacity"] is None else str(tenant["capacity"]),
            f"{tenant['overruns']['count']}, {length(tenant['overruns']['total_ms'])}",
            number(tenant["users"]),
            coverage(tenant["coverage"]),
        )
    pbxs = Table()
    for column in (
        "PBX",
        "link",
        "snapshots",
        "missed starts",
        "missed hangups",
        "unclassified",
        "unassigned",
    ):
        pbxs.add_column(column)
    for name, pbx in found["pbxs"].items():
        pbxs.add_row(
            name,
            Text(pbx["link"], style="green" if pbx["link"] == "up" else "bold red"),
            str(pbx["snapshots"]),
            str(pbx["missed_starts"]),
            str(pbx["missed_hangups"]),
            str(pbx["unclassified"]),
            str(pbx["unassigned"]),
        )
    parts: list[RenderableType] = [tenants, pbxs]
    for name, pbx in found["pbxs"].items():
        if pbx["trouble"]:
            parts.append(Text(f"{name}: {pbx['trouble']} -> {pbx['hint']}", style="yellow"))
    box, sealed = found["outbox"], found["records"]
    parts.append(
        Text(
            f"outbox: {box['waiting']} waiting, {box['parked']} parked; records: {sealed['sealed']} sealed, "
            f"{sealed['receipted']} receipted, {sealed['refused']} refused"
        )
    )
    parts += [Text(trouble, style="bold yellow") for trouble in found["trouble"]]
    return Group(*parts)


def findings(found: Iterable[Finding]) -> RenderableType:
    """Return the lines of a check."""
    lines: list[RenderableType] = []
    for finding in found:
        word, style = _MARKS[finding.mark]
        line = Text.assemble((word, style), " ", (finding.about, "bold"), f": {finding.said}")
        if finding.hint:
            line.append(f"\n       -> {finding.hint}", style="cyan")
        lines.append(line)
    return Group(*lines)


def figures(content: dict[str, Any]) -> RenderableType:
    """Return one tenant's figures as a record states them."""
    period, found = content["period"], content["coverage"]
    table = Table(
        title=f"{content['tenant']['name']}, {period['name']} ({period['timezone']}), up to {content['as_of']}",
        title_justify="left",
    )
    for column in ("level", "peak", "at", "for", "known", "95 %", "98 %", "busy hour", "at least"):
        table.add_column(column)
    for name, level in content["levels"].items():
        shares, busy = level["minute_peak_percentiles"] or {}, level["busy_hour"]
        table.add_row(
            name,
            number(level["peak"]),
            level["peak_at"] or "-",
            "-" if level["peak_ms"] is None else length(level["peak_ms"]),
            level["peak_source"] or "-",
            number(shares.get("95")),
            number(shares.get("98")),
            "-" if busy is None else f"{busy['start']} ({busy['mean_milli'] / 1000:.2f})",
            "yes" if level["lower_bound"] else "",
        )
    capacity, users = content["capacity"], content["users"]
    over = capacity["overruns"]
    lines = [
        f"capacity: {number(capacity['lines'])} {capacity['basis']}; overruns: "
        + ("-" if over is None else f"{over['count']}, {length(over['total_ms'])} in all")
        + f"; smallest fitting package: {number(capacity['smallest_fitting_package'])}",
        *(
            f"{way}: {flow['legs']} legs, {flow['answered']} answered, {length(flow['answered_ms'])}, "
            f"{flow['billable_s']} s billable"
            for way, flow in content["traffic"].items()
        ),
        (
            f"users: {number(users['at_close'])} now, {number(users['max'])} at most, "
            f"{users['created']} created, {users['removed']} removed"
        ),
        f"observed: {coverage(found)} of {length(found['expected_ms'])}, {found['gaps']['count']} gaps",
        *(f"  {g['pbx']}: {g['start']} to {g['end']} ({g['cause']})" for g in found["gaps"]["list"][:20]),
    ]
    return Group(table, *lines)


def summaries(found: Iterable[Sealed]) -> RenderableType:
    """Return sealed records as a table."""
    table = Table()
    for column in ("no.", "record", "sealed at", "receipt", "sha256"):
        table.add_column(column, no_wrap=column != "receipt")
    for record in found:
        state = record.status or "waiting"
        table.add_row(
            str(record.sequence),
            record.id,
            iso(record.sealed_at),
            Text(state if record.why is None else f"{state}: {record.why}",
                 style={"counted": "green", "refused": "bold red"}.get(state, "yellow")),
            record.sha256[:12],
        )  # fmt: skip
    return table
