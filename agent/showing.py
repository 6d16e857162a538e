"""How status, figures, records and findings look in a terminal. Takes plain values, returns rich renderables.

- Everything fits 80 columns and loses nothing there; more columns change nothing but the bars.
- What is not known is `?` or says so, and never looks like zero.
- An instant is in the tenant's time zone and names it, or it is UTC and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from agent.checking import Finding, Mark
from agent.store.records import Sealed
from meter.model import Instant
from meter.periods import moment
from meter.statement import instant

_MARKS = {Mark.FINE: ("ok  ", "green"), Mark.NOTE: ("note", "yellow"), Mark.BAD: ("bad ", "bold red")}
_PARTS: Final = "▏▎▍▌▋▊▉"  # of a cell, by eighths
#: A bar ends at this part of its width where the capacity is reached: what is over it is seen too.
_CAPACITY_AT: Final = 0.7
_NARROWEST, _WIDEST = 20, 60
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
_METHODS: Final = {"events": "events", "polled": "polls", "cdr": "call records"}
#: Today's curve has one column for so many minutes: the whole day in 72.
_COLUMN_MINUTES: Final = 20


# --- words -----------------------------------------------------------------------------------


def number(value: int | None) -> str:
    """Return a number, or what stands for one that is not known."""
    return "?" if value is None else str(value)


def length(ms: int) -> str:
    """Return a duration in its two largest units."""
    seconds = ms // 1000
    for size, big, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {big} {seconds % size // part} {small}"
    return f"{ms // 100 / 10:.1f} s"


def coverage(found: Mapping[str, int]) -> str:
    """Return how much of the time was observed; never rounded up to all of it."""
    expected, observed = found["expected_ms"], found["observed_ms"]
    if not expected:
        return "?"
    return "100 %" if observed == expected else f"{min(99.99, 100 * observed / expected):.2f} %"


def clock(at: Instant, timezone: str = "UTC") -> str:
    """Return an instant as people read it, `12 Nov 2026 10:31:07 CET`."""
    return moment(at, ZoneInfo(timezone)).strftime("%-d %b %Y %H:%M:%S %Z")


def bar(level: int | None, capacity: int, width: int) -> Text:
    """Return a level as a bar with a mark where the capacity is; what is over it is red. None: dots."""
    mark = round(width * _CAPACITY_AT)
    if level is None:
        line = Text("·" * width, style="dim")
    else:
        eighths = min(width * 8, round(level / capacity * mark * 8))
        filled = "█" * (eighths // 8) + (_PARTS[eighths % 8 - 1] if eighths % 8 else "")
        line = Text(filled.ljust(width), style="green")
        line.stylize("red", mark)
    if level is None or level <= capacity:
        line = line[:mark] + Text("┃", style="yellow") + line[mark + 1 :]
    return line


class _Bar:
    """A bar as wide as there is room, between a beginning and an end that are never cut."""

    def __init__(self, level: int | None, capacity: int, said: Text) -> None:
        self._level, self._capacity, self._said = level, capacity, said

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - 6 - len(self._said)
        yield (
            Text("  ")
            + bar(self._level, self._capacity, max(_NARROWEST, min(_WIDEST, room)))
            + "  "
            + self._said
        )


# --- status ----------------------------------------------------------------------------------


def status(found: dict[str, Any]) -> RenderableType:
    """Return the answer of a running agent."""
    agent = found["agent"]
    head = Text.assemble(
        (agent["id"], "bold"), f", pbx-meter {agent['version']}, {clock(instant(found['at']))}"
    )
    parts: list[RenderableType] = [head]
    for name, tenant in found["tenants"].items():
        parts += [Text(), *_tenant(name, tenant)]
    parts.append(Text())
    for name, pbx in found["pbxs"].items():
        parts += _pbx(name, pbx)
    box, sealed = found["outbox"], found["records"]
    parked = Text(f"{box['parked']} parked", style="bold red" if box["parked"] else "")
    page = found.get("page")
    if page is not None:
        trouble = f", not served: {page['trouble']}" if page["trouble"] else ""
        parts.append(Text.assemble(("page", "bold"), f": {page['url']}", (trouble, "yellow")))
    parts += [
        Text.assemble(("outbox", "bold"), f": {box['waiting']} waiting, ", parked),
        Text.assemble(
            ("records", "bold"),
            f": {sealed['sealed']} sealed, {sealed['receipted']} receipted, ",
            (f"{sealed['refused']} refused", "bold red" if sealed["refused"] else ""),
        ),
    ]
    for receipt in found.get("receipts") or ():
        style = "green" if receipt["status"] == "counted" else "bold red"
        parts.append(Text.assemble(f"  {receipt['id']} ", (receipt["status"], style)))
    parts += [Text.assemble(("trouble", "bold red"), f": {trouble}") for trouble in found["trouble"]]
    return Group(*parts)


def _tenant(name: str, tenant: dict[str, Any]) -> Iterable[RenderableType]:
    basis, capacity = tenant["basis"], tenant["capacity"]
    level = tenant["levels"][basis]["now"]
    title = name if tenant["name"] == name else f"{tenant['name']} ({name})"
    yield Text.assemble(
        (title, "bold"), f", {tenant['period']}, {coverage(tenant['coverage'])} of it observed"
    )
    if not tenant["observed"]:
        what = "the levels are unknown" if level is None else "the levels may be higher"
        yield Text(f"  not every PBX is seen now: {what}", style="bold yellow")
    over = capacity is not None and level is not None and level > capacity
    if capacity is None:
        yield Text(f"  {number(level)} {basis}, no capacity agreed", style="bold")
    else:
        said = Text(f"{number(level)} of {capacity} {basis}", style="bold red" if over else "bold")
        yield _Bar(level, capacity, said + (Text(", OVER", style="bold red") if over else Text()))
    today = tenant.get("today")
    if today is not None:
        yield from _today(today, capacity)
    yield _levels(tenant)
    overruns, package = tenant["overruns"], tenant["smallest_fitting_package"]
    if capacity is None:
        said_over = "not counted"
    elif tenant["levels"][basis]["peak"] is None:
        said_over = "?"
    else:
        said_over = f"{overruns['count']}, {length(overruns['total_ms'])} in all"
    fits = "" if package is None else f"; smallest fitting package: {package}"
    yield Text(f"  overruns: {said_over}; users: {number(tenant['users'])}{fits}")
    likely = tenant.get("forecast")
    if likely is not None:
        end = f"{likely['overruns']} overruns, {length(likely['over_ms'])} in all"
        yield Text(f"  forecast: {end}, if the rest is like what was observed", style="dim")
        yield Text(
            f"  the peak may still rise: the chance is {likely['rise_percent']} % at most", style="dim"
        )


def _today(today: Mapping[str, Any], capacity: int | None) -> Iterable[Text]:
    """Yield the day so far, a column for the highest of each 20 minutes: red above the capacity, · not observed."""
    minutes = [high for count, high in today["runs"] for _ in range(count)]
    columns = [minutes[at : at + _COLUMN_MINUTES] for at in range(0, len(minutes), _COLUMN_MINUTES)]
    highs = [max((high for high in column if high is not None), default=None) for column in columns]
    top = max((high for high in highs if high is not None), default=0)
    line = Text("  ")
    for high in highs:
        if high is None:
            line.append("·", style="dim")
        else:
            over = capacity is not None and high > capacity
            height = _HEIGHTS[-(-high * (len(_HEIGHTS) - 1) // max(1, top, capacity or 0))]
            line.append(height, style="red" if over else "green")
    yield line
    yield Text(f"  today, each column the highest of {_COLUMN_MINUTES} minutes; at most {top}", style="dim")


def _levels(tenant: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", width=13)
    table.add_column("now", justify="right")
    table.add_column("peak", justify="right")
    table.add_column("reached at", overflow="fold")
    for key, level in tenant["levels"].items():
        at = level["peak_at"]
        reached = "" if at is None else clock(instant(at), tenant.get("timezone", "UTC"))
        billed = key == tenant["basis"]
        table.add_row(
            f"  {key}{' *' if billed else ''}", number(level["now"]), number(level["peak"]), reached,
            style="bold" if billed else "",
        )  # fmt: skip
    return table


def _pbx(name: str, pbx: dict[str, Any]) -> Iterable[Text]:
    up = pbx["link"] == "up"
    yield Text.assemble(
        (name, "bold"), ": link ", (pbx["link"], "green" if up else "bold red"),
        "" if pbx["observed"] else (", not observed", "bold yellow"),
        f"; {_watched(pbx)}",
    )  # fmt: skip
    if pbx.get("day") is not None:
        yield Text(
            f"  watched by {_METHODS[pbx['method']]}; {coverage(pbx['day'])} of the last 24 h observed",
            style="dim",
        )
    beside = ", ".join(f"{what} {count}" for what, count in pbx["beside"].items())
    if beside:
        yield Text(f"  beside the levels: {beside}", style="dim")
    for kind in ("unclassified", "unassigned"):
        if pbx[kind]:
            yield Text(f"  {pbx[kind]} {kind} legs up, counted for nobody: pbx-meter check", style="yellow")
    if pbx["trouble"]:
        yield Text(f"  {pbx['trouble']}", style="yellow")
        yield Text(f"  -> {pbx['hint']}", style="cyan")


def _watched(pbx: dict[str, Any]) -> str:
    if pbx["method"] == "cdr":
        return "told by call records after each call"
    if pbx["method"] == "polled":
        ahead = "" if pbx["ahead_ms"] is None else f", its clock is {pbx['ahead_ms'] / 1000:+.1f} s from ours"
        return f"{pbx['snapshots']} polls, {pbx['missed_polls']} missed{ahead}"
    return (
        f"{pbx['snapshots']} snapshots, {pbx['missed_starts']} missed starts, "
        f"{pbx['missed_hangups']} missed hangups"
    )


# --- check -----------------------------------------------------------------------------------


def findings(found: Iterable[Finding]) -> RenderableType:
    """Return the lines of a check. Print them with `soft_wrap`: what is to be typed must stay one line."""
    lines: list[RenderableType] = []
    for finding in found:
        word, style = _MARKS[finding.mark]
        line = Text.assemble((word, style), " ", (finding.about, "bold"), f": {finding.said}")
        if finding.hint:
            line.append(f"\n       -> {finding.hint}", style="cyan")
        lines.append(line)
    return Group(*lines)


# --- figures ---------------------------------------------------------------------------------


def figures(content: dict[str, Any]) -> RenderableType:
    """Return one tenant's figures as a record states them."""
    period, capacity, users, seen = (content[part] for part in ("period", "capacity", "users", "coverage"))
    zone = period["timezone"]
    over = capacity["overruns"]
    parts: list[RenderableType] = [
        Text.assemble(
            (content["tenant"]["name"], "bold"),
            f", {period['name']} ({zone}), up to {clock(instant(content['as_of']), zone)}",
        )
    ]
    for name, level in content["levels"].items():
        parts += _level(name, level, zone, billed=name == capacity["basis"])
    lines = "no capacity agreed" if capacity["lines"] is None else f"capacity {capacity['lines']}"
    fits = capacity["smallest_fitting_package"]
    parts.append(
        Text(
            f"  {lines}; overruns: "
            + ("not counted" if over is None else f"{over['count']}, {length(over['total_ms'])} in all")
            + ("" if fits is None else f"; smallest fitting package: {fits}")
        )
    )
    parts += [
        Text(
            f"  {way}: {flow['legs']} legs, {flow['answered']} answered, {length(flow['answered_ms'])}, "
            f"{flow['billable_s']} s billable"
        )
        for way, flow in content["traffic"].items()
    ]
    parts.append(
        Text(
            f"  users: {number(users['at_close'])} at the end, {number(users['max'])} at most, "
            f"{users['created']} created, {users['removed']} removed"
        )
    )
    parts += _gaps(seen, zone)
    return Group(*parts)


def _level(name: str, level: dict[str, Any], zone: str, *, billed: bool) -> Iterable[Text]:
    line = Text.assemble("  ", (f"{name}{' *' if billed else ''}", "bold" if billed else ""), ": peak ")
    if level["peak"] is None:
        yield line.append("unknown, nothing was observed", style="yellow")
        return
    line.append(str(level["peak"]), style="bold")
    if level["peak_at"] is not None:
        line.append(f" at {clock(instant(level['peak_at']), zone)} for {length(level['peak_ms'])}")
    line.append(f" ({level['peak_source']}{', at least' if level['lower_bound'] else ''})")
    yield line
    shares, busy = level["minute_peak_percentiles"] or {}, level["busy_hour"]
    said = [f"{share} % of the minutes up to {number(value)}" for share, value in shares.items()]
    if said:
        yield Text("    " + "; ".join(said), style="dim")
    if busy is not None:
        hour = clock(instant(busy["start"]), zone)
        yield Text(f"    busy hour {hour}, mean {busy['mean_milli'] / 1000:.2f}", style="dim")


def _gaps(seen: dict[str, Any], zone: str) -> Iterable[Text]:
    gaps = seen["gaps"]
    yield Text(
        f"  observed: {coverage(seen)} of {length(seen['expected_ms'])}, "
        f"{gaps['count']} {'gap' if gaps['count'] == 1 else 'gaps'}"
    )
    shown = gaps["list"][:20]
    for gap in shown:
        start, end = (clock(instant(gap[edge]), zone) for edge in ("start", "end"))
        yield Text(f"    {gap['pbx']}: {start} to {end}", style="dim")
        yield Text(f"      {gap['cause']}", style="dim")
    if gaps["count"] > len(shown):
        yield Text(f"    and {gaps['count'] - len(shown)} more", style="dim")


# --- records ---------------------------------------------------------------------------------


def summaries(found: Iterable[Sealed]) -> RenderableType:
    """Return sealed records, one a line; why one was refused stands below it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("record", overflow="fold")
    table.add_column("sealed at", no_wrap=True)
    table.add_column("receipt", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for record in found:
        state = record.status or "waiting"
        style = {"counted": "green", "refused": "bold red"}.get(state, "yellow")
        sealed_at = moment(record.sealed_at).strftime("%Y-%m-%d %H:%MZ")
        table.add_row(
            str(record.sequence), record.id, sealed_at, Text(state, style=style), record.sha256[:12]
        )
        if record.why is not None:
            table.add_row("", Text(record.why, style=style))
    return table
