"""`pbx-meter-provider export`: an approved report, as events or as CSV for an invoicing program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import click

from delivery.reporting import columns
from delivery.reporting.document import Unreadable
from delivery.reporting.usage import Report
from provider.closings import Closing
from provider.exporting import events, lines, unsaid
from provider.month.reports import Reports, read
from provider.storage.opening import Storage
from provider.terminal import EX_PROBLEM, Site, fail, run_with


class NotThere(Exception):  # noqa: N818 - it says what is so
    """What was asked for can't be exported; the message ends with the next thing to type."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported.

    Attributes:
        revisions: The approved reports of the period, the whole or the partner's own, up to the
            one that is exported, the first one first.
        drafts: The later revisions, which wait to be approved.
    """

    revisions: tuple[Report, ...]
    drafts: tuple[int, ...]

    @property
    def report(self) -> Report:
        """The one that is exported."""
        return self.revisions[-1]


def chosen(closings: Sequence[Closing], period: str, partner: str | None, revision: int | None) -> Chosen:
    """Choose what to export of a period's revisions: the newest that is approved, if none is named.

    Raises:
        NotThere: It is not closed or not approved, the partner has no tenants in it, or a
            document is of another version.
    """
    if not closings:
        raise NotThere(f"{period} is not closed; type: pbx-meter-provider close {period}")
    approved = [one for one in closings if one.approved_at is not None]
    if revision is not None:
        approved = [one for one in approved if one.revision <= revision]
    if not approved or revision not in (None, approved[-1].revision):
        which = "an approved revision" if revision is None else f"an approved revision {revision}"
        raise NotThere(
            f"{period} does not have {which}; look at it, then type: pbx-meter-provider approve {period}"
        )
    try:
        revisions = tuple(read(one.document) for one in approved)
    except Unreadable as error:
        raise NotThere(f"{period} can't be read ({error}); type: pbx-meter-provider audit") from error
    if all(one.of(partner) is None for one in revisions):
        raise NotThere(f"{partner} has no tenants in {period}; type: pbx-meter-provider partner list")
    last = revisions[-1].whole.revision
    return Chosen(
        tuple(_own(one, partner) for one in revisions),
        tuple(one.revision for one in closings if one.revision > last),
    )


def _own(reports: Reports, partner: str | None) -> Report:
    """Return a partner's report in one revision; in one that has none he had no tenants."""
    own = reports.of(partner)
    if own is not None:
        return own
    return replace(reports.whole, partner=partner, tenants=(), partners=(), customers=(), differences=())


def exported(found: Chosen, form: str) -> Iterator[bytes]:
    """Yield what is written: UTF-8, in pieces that end as they are to end.

    Args:
        found: What to export.
        form: `cloudevents` or `csv`.
    """
    if form == "csv":
        yield columns.csv_bytes(found.report)
        return
    for line in lines(events(found.revisions)):
        yield f"{line}\n".encode()


@click.command("export")
@click.argument("period")
@click.option(
    "--format",
    "form",
    type=click.Choice(["cloudevents", "csv"]),
    required=True,
    help="One event per tenant and meter and line, or one line per tenant.",
)
@click.option("--partner", help="His tenants only, and those below him.")
@click.option("--revision", type=click.IntRange(1), help="This revision; else the newest that is approved.")
@click.pass_obj
def export(site: Site, period: str, form: str, partner: str | None, revision: int | None) -> None:
    """Print PERIOD's approved report for an invoicing program; docs/exports.md says what goes where.

    What is not in it is named on the error output; exit code 1: a tenant's final is missing.
    """

    async def work(storage: Storage) -> Sequence[Closing]:
        return await storage.closings.closings(period)

    try:
        found = chosen(run_with(site, work), period, partner, revision)
    except NotThere as error:
        fail(str(error))
    for piece in exported(found, form):
        click.echo(piece, nl=False)
    for usage, why in unsaid(found.report):
        click.echo(f"{usage.agent}/{usage.tenant}: {why}", err=True)
    for draft in found.drafts:
        click.echo(f"revision {draft} waits to be approved and is not in this", err=True)
    if found.report.missing:
        raise SystemExit(EX_PROBLEM)
