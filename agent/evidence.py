"""Commands for a dispute: explain a period's figures, hold them against the PBX's call records, correct them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text

from agent import configured, correcting, desk, explaining
from agent.clock import Clock
from agent.correcting import CallRecords, Draft, Rules
from agent.showing import clock as shown_at
from agent.showing import length, number
from agent.store import agreements, callrecords, ledger, readings
from agent.store.database import Database
from agent.terminal import PROBLEM, USAGE, console, fail, stored, with_config, with_json
from config.load import load
from config.model import Config, ThreeCX
from connectors.asterisk import cdr
from connectors.threecx import cdr as threecx_cdr
from meter.model import Direction, Level
from meter.periods import Period
from meter.statement import instant
from meter.summary import content
from meter.witness import Told, judged, told

F = TypeVar("F", bound=Callable[..., Any])


def _with_cdr(*, required: bool) -> Callable[[F], F]:
    """Return the options that name a file of call records."""

    def options(command: F) -> F:
        for option in (
            click.option(
                "--cdr", "file_of_records", required=required,
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Asterisk's call records: cdr_csv's Master.csv, or an SQLite file with a table cdr.",
            ),
            click.option("--pbx", help="Whose call records; needed where several PBXs are followed."),
            click.option("--utc", is_flag=True, help="Their times are UTC (usegmtime=yes), not local."),
            click.option("--timezone", help="The zone of their local times; the tenant's without."),
        ):  # fmt: skip
            command = option(command)
        return command

    return options


with_tenant = click.option("--tenant", help="Which; needed where there are several.")
with_period = click.option("--period", help="Which (2026-11); the youngest without.")


def _tenant(config: Config, name: str | None) -> str:
    known = stored(config, agreements.tenants)
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        fail(USAGE, "--tenant is needed: there are several", f"one of: {', '.join(known)}")
    return name


def _rules(config: Config, db: Database) -> Rules:
    key = bytes.fromhex(ledger.fact(db, "redaction_key") or "")
    return Rules(
        tenancy=configured.tenancy(config, key),
        trunks={pbx.name: tuple(pbx.trunks) for pbx in config.pbx},
        others=frozenset(
            t.id
            for t in config.tenant
            if t.match.accounts or t.match.contexts or t.match.dids or t.match.departments
        ),
    )


def _records(
    config: Config, tenant: str, file: Path, pbx: str | None, timezone: str | None, *, utc: bool
) -> CallRecords:
    """Read a file of call records."""
    names = [p.name for p in config.pbx]
    if pbx is None and len(names) > 1:
        fail(USAGE, "--pbx is needed: several are followed", f"one of: {', '.join(names)}")
    if pbx is not None and pbx not in names:
        fail(USAGE, f"there is no PBX {pbx!r}", f"one of: {', '.join(names)}")
    watched = next(p for p in config.pbx if p.name == (pbx or names[0]))
    zone = "UTC" if utc else timezone
    if isinstance(watched, ThreeCX):
        return _threecx_records(config, watched, file, zone or "UTC")
    if zone is None:
        terms = stored(config, lambda db: agreements.terms(db, tenant))
        zone = terms[-1].timezone if terms else "UTC"
    try:
        tz = ZoneInfo(zone)
        if callrecords.is_database(file):
            found = cdr.rows(callrecords.rows(file), tz)
        else:
            found = cdr.read(file.read_text("utf-8", "replace"), tz)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    except (ValueError, LookupError, OSError) as error:
        fail(USAGE, f"{file.name} or its time zone can't be used: {error}",
             "give cdr_csv's Master.csv, or an SQLite file with a table cdr")  # fmt: skip
    span = cdr.span(found)
    if span is None:
        fail(PROBLEM, f"{file.name} holds no call record")
    return CallRecords(pbx or names[0], cdr.legs(found), span, sha256)


def _threecx_records(config: Config, pbx: ThreeCX, file: Path, zone: str) -> CallRecords:
    """Read a file of a 3CX's CDR output. Whose a leg is follows from the users as they were last read."""
    lost: list[threecx_cdr.Unreadable] = []
    try:
        fields = () if pbx.cdr is None else pbx.cdr.fields
        found = threecx_cdr.read(file.read_text("utf-8", "replace"), ZoneInfo(zone), fields, lost.append)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    except (ValueError, LookupError, OSError) as error:
        fail(USAGE, f"{file.name} or its time zone can't be used: {error}", "give the 3CX's cdr.log")
    span = threecx_cdr.span(found)
    if span is None:
        why = f": {lost[0]}" if lost else ""
        fail(PROBLEM, f"{file.name} holds no call record that can be read{why}", "compare [pbx.cdr] fields")
    if lost:
        click.echo(f"{len(lost)} lines can't be read and count for nothing; the first: {lost[0]}", err=True)
    owners = stored(config, lambda db: readings.extensions(db, pbx.name, "xapi"))
    departments = {tenant.id: tenant.match.departments for tenant in config.tenant}

    def departments_of(dn: str) -> tuple[str, ...]:
        return departments.get(owners.get(dn) or "", ())

    return CallRecords(pbx.name, threecx_cdr.legs(found, departments_of), span, sha256)


# --- explain ---------------------------------------------------------------------------------


@click.command()
@with_config
@with_tenant
@with_period
@click.option("--language", type=click.Choice(explaining.LANGUAGES), default="en", show_default=True)
def explain(file: Path, tenant: str | None, period: str | None, language: str) -> None:
    """Say in plain words how each figure came about, and where to check it without us."""
    config = load(file)
    whose = _tenant(config, tenant)
    plan = configured.plan_of(config)

    def work(db: Database) -> explaining.Explained:
        which = desk.period_named(db, whose, period)
        found = desk.recompute(db, plan, whose, which)
        statement, _ = desk.folded(db, plan, whose, which, series=True)
        record = found.sealed
        return explaining.Explained(
            statement=statement,
            content=found.content,
            record=None if record is None else (record.id, record.sha256),
            differences=len(found.differences),
            corrects=None if record is None else desk.corrects(record),
        )

    for line in explaining.explain(stored(config, work), language):
        click.echo(line)


# --- reconcile -------------------------------------------------------------------------------


@click.command()
@with_config
@with_tenant
@with_period
@_with_cdr(required=True)
@with_json
def reconcile(
    file: Path, tenant: str | None, period: str | None, file_of_records: Path, pbx: str | None,
    timezone: str | None, *, utc: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hold a period's figures against the PBX's own call records, side by side."""
    config = load(file)
    whose = _tenant(config, tenant)
    found = _records(config, whose, file_of_records, pbx, timezone, utc=utc)
    plan = configured.plan_of(config)

    def work(db: Database) -> tuple[Period, dict[str, Any], Told, str]:
        which = desk.period_named(db, whose, period)
        statement, _ = desk.folded(db, plan, whose, which)
        rules = _rules(config, db).tenancy
        legs = [leg for one in found.legs if (leg := judged(one, found.pbx, rules)) is not None]
        own = [leg for leg in legs if leg.trunk is not None and leg.tenant == whose]
        return which, content(statement, evidence=False), told(own, which.start, which.end), str(statement.tz)

    which, metered, witnessed, zone = stored(config, work)
    lines = list(_compared(metered, witnessed, zone))
    covers = found.told[0] <= which.start and found.told[1] >= which.end
    if as_json:
        click.echo(json.dumps({
            "tenant": whose, "period": which.name, "pbx": found.pbx, "sha256": found.sha256, "covers": covers,
            "figures": {name: {"metered": ours, "call_records": theirs} for name, ours, theirs in lines},
        }))  # fmt: skip
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in (f"{whose}, {which.name}", "metered", "call records"):
        table.add_column(title, overflow="fold")
    for name, ours, theirs in lines:
        table.add_row(Text(name), Text(ours), Text(theirs))
    console.print(table)
    console.print(
        f"The call records are those of {found.pbx} alone; they tell of {shown_at(found.told[0], zone)} to "
        f"{shown_at(found.told[1], zone)}{'' if covers else ', which is not all of the period'}. "
        "They count whole seconds, cut off; don't say when a dialled leg was made; keep calls apart that became "
        "one; and may leave out calls that were never answered. Equal to a second or a leg is equal.",
        markup=False, highlight=False,
    )  # fmt: skip


def _compared(metered: dict[str, Any], witnessed: Told, zone: str) -> Iterable[tuple[str, str, str]]:
    """Yield each figure: its name, as metered, as call records tell it."""
    for level in Level:
        said = metered["levels"][level.value]
        peak, at = witnessed.peaks[level]
        yield f"peak {level.value}", number(said["peak"]), str(peak)
        ours = "-" if said["peak_at"] is None else shown_at(instant(said["peak_at"]), zone)
        yield "  first at", ours, "-" if at is None else shown_at(at, zone)
    for direction in Direction:
        flow, theirs = metered["traffic"][direction.value], witnessed.traffic[direction]
        yield f"legs {direction.value}", str(flow["legs"]), str(theirs.legs)
        yield "  answered", str(flow["answered"]), str(theirs.answered)
        yield "  seconds of talk", str(flow["answered_ms"] // 1000), str(theirs.answered_ms // 1000)
    yield "not observed", length(metered["coverage"]["gaps"]["total_ms"]), "?"


# --- correct ---------------------------------------------------------------------------------


@click.command()
@with_config
@click.option("--tenant", required=True, help="Whose.")
@click.option("--period", required=True, help="Which (2026-11).")
@click.option("--reason", required=True, help="Why, as everybody will read it in the record.")
@_with_cdr(required=False)
@click.option("--dry-run", is_flag=True, help="Show the differences, seal nothing.")
@click.option("--yes", is_flag=True, help="Seal without asking.")
def correct(
    file: Path, tenant: str, period: str, reason: str, file_of_records: Path | None, pbx: str | None,
    timezone: str | None, *, utc: bool, dry_run: bool, yes: bool,
) -> None:  # fmt: skip
    """Seal a new revision of a period: judged again by the present rules, gaps filled from call records.

    The trunk rules and the tenants' trunks are judged again; account code, context and dialled
    number are not stored, so a tenant that came by them stays. The former revision is kept.
    """
    config = load(file)
    if not 1 <= len(reason) <= 200 or not reason.isprintable():  # noqa: PLR2004 - the record's own bound
        fail(USAGE, "--reason is one line of at most 200 characters")
    found = None
    if file_of_records is not None:
        found = _records(config, tenant, file_of_records, pbx, timezone, utc=utc)
    plan = configured.plan_of(config)

    def work(db: Database) -> Draft | None:
        which = desk.period_named(db, tenant, period)
        return correcting.draft(db, plan, tenant, which, _rules(config, db), found)

    draft = stored(config, work)
    if draft is None:
        fail(PROBLEM, f"{tenant} has no sealed summary of {period}: there is nothing to correct",
             "pbx-meter summaries")  # fmt: skip
    _show(draft)
    if dry_run or not draft.differences:
        console.print(
            "nothing is sealed" if draft.differences else "no figure would change: nothing is sealed"
        )
        return
    if not _agreed(draft, yes=yes):
        console.print("nothing is sealed")
        return
    state_dir, clock = config.agent.state_dir, Clock()
    # The time is read in the transaction: a running agent writes up to that moment.
    sealed = stored(
        config,
        lambda db: correcting.seal_draft(db, plan, state_dir, draft, reason, clock.now()),
        write=True,
    )
    if sealed is None:
        fail(
            PROBLEM,
            "another revision was sealed in the meantime: nothing is sealed",
            "look at it again: --dry-run",
        )
    click.echo(f"sealed {sealed.id}, number {sealed.sequence}; it replaces {draft.newest.id}")


def _agreed(draft: Draft, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        fail(
            USAGE, "nobody can be asked here: nothing is sealed", "look at it with --dry-run, then add --yes"
        )
    question = f"Seal revision {draft.newest.revision + 1} of {draft.tenant} {draft.period.name}?"
    return click.confirm(question, default=False)


def _show(draft: Draft) -> None:
    console.print(f"{draft.newest.id} ({draft.newest.sha256[:12]})", markup=False, highlight=False)
    if draft.before is None:
        console.print("  its text was let go: what it said can't be shown beside the new figures")
    for path, old, new in draft.differences:
        console.print(
            f"  {path}: {_short(old)} -> {_short(new)}", markup=False, highlight=False, soft_wrap=True
        )
    for note in draft.notes:
        console.print(f"  note: {note}", markup=False, highlight=False, soft_wrap=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."  # noqa: PLR2004 - a line's width


#: All of them, for the program's main group.
COMMANDS = (explain, reconcile, correct)
