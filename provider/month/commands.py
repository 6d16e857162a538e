"""`close`, `report`, `statement`, `approve`, `revisions`: a period's reports, by hand. And `letters`: what waits to leave."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import click
from rich.console import Console
from rich.table import Table

from delivery.reporting import columns, document
from delivery.reporting.html import report_html
from delivery.reporting.mail import stem
from delivery.reporting.pdf import PdfUnavailableError, pdf
from delivery.reporting.statement import statement_html
from delivery.reporting.usage import Bounds, Heap, Report, State, TenantUsage
from delivery.reporting.xlsx import XlsxUnavailableError, xlsx
from meter.model import Instant
from meter.periods import iso
from provider import clock
from provider.closings import Revision
from provider.jobs import addressees
from provider.month.closing import Closed, NotClosable, close, opened, stored
from provider.month.mailing import Addressees, Approved, approve
from provider.month.mailing import again as write_again
from provider.month.reports import Reports
from provider.month.sources import day_of, span
from provider.storage.opening import Storage
from provider.terminal import EX_IOERR, EX_PROBLEM, Site, as_json, fail, print_json, run_with

T = TypeVar("T")

#: How a report can be written, by the ending of its file.
FORMATS: Final[Mapping[str, Callable[[Report], bytes]]] = MappingProxyType(
    {
        "html": lambda report: report_html(report).encode(),
        "pdf": lambda report: pdf(report_html(report)),
        "csv": columns.csv_bytes,
        "xlsx": xlsx,
        "json": document.written,
    }
)


_out = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="The folder to write it into; a - writes it to standard output.",
)


@click.command("close")
@click.argument("period")
@as_json
@click.pass_obj
def close_period(site: Site, period: str, as_json: bool) -> None:
    """Close PERIOD, as in 2026-11: put its reports together, and say what is missing.

    Closing again makes a further revision if anything is stated otherwise by now, else nothing.
    Exit code 1 if a tenant has no final.
    """
    of = _span(site, period)

    async def work(storage: Storage) -> Closed:
        return await close(storage, of, site.settings.provider, clock.now())

    closed = _run(site, work)
    if as_json:
        print_json([_said(closed)])
    else:
        _show(closed)
    if closed.reports.whole.missing:
        raise SystemExit(EX_PROBLEM)


@click.command()
@click.argument("period")
@click.option("--partner", help="His report; else the whole.")
@click.option("--revision", type=click.IntRange(1), help="This revision; else the newest.")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="html", show_default=True)
@_out
@click.pass_obj
def report(site: Site, period: str, partner: str | None, revision: int | None, form: str, out: Path) -> None:
    """Write the report of PERIOD, as it was closed, to a file; its name is printed."""

    async def work(storage: Storage) -> Reports:
        return await opened(await stored(storage.closings, period, revision))

    found = _run(site, work).of(partner)
    if found is None:
        fail(f"{partner} has no tenants in {period}; look at: pbx-meter-provider partner list")
    _write(lambda: FORMATS[form](found), out, f"{stem(found)}.{form}")


@click.command()
@click.argument("period")
@click.argument("agent")
@click.argument("tenant")
@click.option("--revision", type=click.IntRange(1), help="Of this revision; else the newest.")
@click.option(
    "--format", "form", type=click.Choice(["html", "pdf", "jws"]), default="html", show_default=True
)
@_out
@click.pass_obj
def statement(
    site: Site, period: str, agent: str, tenant: str, revision: int | None, form: str, out: Path
) -> None:
    """Write one tenant's statement of PERIOD, as it was closed: a page for the customer, with what it takes to check it.

    It is in the language and the brand of the tenant's partner. With `--format jws` it is the
    signed record itself: `pbx-meter verify` checks it.
    """

    async def work(storage: Storage) -> tuple[Reports, TenantUsage, str | None]:
        reports = await opened(await stored(storage.closings, period, revision))
        for usage in reports.whole.tenants:
            if (usage.agent, usage.tenant) == (agent, tenant):
                proof = usage.proof
                key = None if proof is None else (agent, proof.sha256)
                signed = {} if key is None else await storage.books.signed([key])
                return reports, usage, None if key is None else signed[key]
        raise NotClosable(
            f"{tenant} of {agent} is not in {period}", f"look at: pbx-meter-provider close {period}"
        )

    reports, usage, token = _run(site, work)
    if form == "jws" and token is None:
        fail(f"nothing came of {tenant} of {agent} for {period}: there is no signed record")
    whose = reports.of(usage.partner) or reports.whole

    def content() -> bytes:
        if form == "jws":
            return f"{token}\n".encode("ascii")
        page = statement_html(
            usage, period=period, language=whose.language, brand=whose.brand, made_at=whose.made_at
        )
        return page.encode() if form == "html" else pdf(page)

    _write(content, out, f"statement-{period}-{agent}-{tenant}.{form}")


@click.command("approve")
@click.argument("period")
@click.option("--revision", type=click.IntRange(1), help="The revision that was looked at.")
@click.option("--by", default=getpass.getuser, show_default="your name here", help="Who approves.")
@click.option("--no-mail", is_flag=True, help="Nobody gets it by mail.")
@click.pass_obj
def approve_period(site: Site, period: str, revision: int | None, by: str, *, no_mail: bool) -> None:
    """Approve the newest revision of PERIOD: every partner gets his report by mail, the operator the whole."""
    if not no_mail:
        _server(site, "approve it without mail: --no-mail")

    async def work(storage: Storage) -> Approved:
        now = clock.now()
        to = None if no_mail else addressees(site.settings, day_of(now, site.settings.timezone))
        return await approve(storage, period, to, by=by, now=now, revision=revision)

    done = _run(site, work)
    if not done.new:
        click.echo(f"revision {done.revision} of {period} was approved before; nothing was done")
        return
    click.echo(f"approved revision {done.revision} of {period}")
    if not no_mail:
        _leaving(site, period, done)


@click.command()
@click.argument("period", required=False)
@as_json
@click.pass_obj
def revisions(site: Site, period: str | None, as_json: bool) -> None:
    """List the revisions of PERIOD, or of all."""
    found = run_with(site, lambda storage: storage.closings.revisions(period))
    if as_json:
        print_json(found)
        return
    table = Table("period", "revision", "made", "state", "by", "sha256")
    for one in found:
        table.add_row(
            *(one.period, str(one.revision), iso(one.made_at), _state(one)),
            *(one.approved_by or "-", one.sha256),
        )
    Console().print(table)


@click.command()
@click.option("--retry", is_flag=True, help="Let those that were refused go again.")
@click.option("--again", metavar="PERIOD", help="Write those of PERIOD's last approved revision once more.")
@click.option("--partner", help="With --again: his only.")
@as_json
@click.pass_obj
def letters(site: Site, retry: bool, again: str | None, partner: str | None, as_json: bool) -> None:
    """List the letters that wait or were refused. Exit code 1 if one was refused."""
    if partner is not None and again is None:
        raise click.UsageError("--partner goes with --again")
    if again is not None:
        _again(site, again, partner)

    async def work(storage: Storage) -> Any:
        if retry:
            await storage.post.retry(clock.now())
        return await storage.post.letters()

    found = run_with(site, work)
    if as_json:
        print_json(found)
    else:
        table = Table("letter", "state", "made", "tries", "next", "said")
        for one in found:
            due = "-" if one.state == "parked" else iso(one.due_at)
            table.add_row(one.id, one.state, iso(one.made_at), str(one.attempts), due, one.said or "-")
        Console().print(table)
    if any(one.state == "parked" for one in found):
        raise SystemExit(EX_PROBLEM)


def _again(site: Site, period: str, partner: str | None) -> None:
    """Write a period's letters once more."""
    _server(site, "nothing can be mailed without it")

    async def work(storage: Storage) -> Approved:
        now = clock.now()
        to = cast("Addressees", addressees(site.settings, day_of(now, site.settings.timezone)))
        return await write_again(storage, storage.post, period, to, now=now, partner=partner)

    _leaving(site, period, _run(site, work), err=True)


def _server(site: Site, otherwise: str) -> None:
    """End the command if no mail could ever leave."""
    if site.settings.smtp is None:
        fail(f"there is no [smtp] to mail it by\n  name the settings that have one: --config; or {otherwise}")


def _leaving(site: Site, period: str, done: Approved, *, err: bool = False) -> None:
    """Say what leaves, and for whom there is no address."""
    click.echo(f"{done.letters} letters leave as soon as `serve` runs with the same settings", err=err)
    for partner in done.unaddressed:
        click.echo(
            f"{partner} has no address and gets none; give him one: pbx-meter-provider partner change {partner}"
            f" --email ADDRESS; then: pbx-meter-provider letters --again {period} --partner {partner}",
            err=True,
        )
    if site.settings.operator is None:
        click.echo("nobody gets the whole: the settings name no [operator]", err=True)


def _write(content: Callable[[], bytes], folder: Path, name: str) -> None:
    """Write what was asked for to a file of the folder, and print its name; `-`: to standard output."""
    try:
        made = content()
    except (PdfUnavailableError, XlsxUnavailableError) as error:
        fail(str(error), EX_IOERR)
    if str(folder) == "-":
        sys.stdout.buffer.write(made)
        return
    target = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(made)
    except OSError as error:
        fail(f"{target}: {error.strerror}", EX_IOERR)
    click.echo(target)


def _run(site: Site, work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
    try:
        return run_with(site, work)
    except NotClosable as error:
        fail(f"{error}\n  {error.hint}")
    except document.Unreadable as error:
        fail(f"the document can't be read: {error}\n  look for damage: pbx-meter-provider audit", EX_IOERR)


def _span(site: Site, period: str) -> Any:
    try:
        return span(period, site.settings.timezone)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _said(closed: Closed) -> dict[str, Any]:
    whole = closed.reports.whole
    return {
        "period": whole.period,
        "revision": whole.revision,
        "new": closed.new,
        "state": _state(closed.closing),
        "sha256": closed.closing.sha256,
        "tenants": whole.heap.tenants,
        "missing": [
            {"agent": one.agent, "tenant": one.tenant, "state": one.state.value, "as_of": one.as_of}
            for one in whole.missing
        ],
        "differences": len(whole.differences),
        "partners": {report.partner: document.plain(report.heap) for report in closed.reports.partners},
    }


def _show(closed: Closed) -> None:
    whole = closed.reports.whole
    news = "closed" if closed.new else "as it was closed before; nothing new came"
    click.echo(f"{whole.period}, revision {whole.revision}: {news}")
    table = Table("partner", "tenants", "missing", "users", "capacity", "peak together")
    for name, heap in [("(the whole)", whole.heap), *((n, heap) for _, n, heap in whole.partners)]:
        table.add_row(
            *(name, str(heap.tenants), str(heap.missing), _least(heap.users, heap.users_unknown)),
            *(str(heap.capacity), _bounds(heap)),
        )
    Console().print(table)
    if whole.differences:
        against = f"differences to revision {whole.compared}"
        click.echo(f"{against}: {len(whole.differences)}; pbx-meter-provider report {whole.period}")
    for one in whole.missing:
        known = "nothing came" if one.state is State.MISSING else f"the last interim is of {_at(one.as_of)}"
        click.echo(f"missing: {one.tenant} of {one.agent}: no final; {known}")
    if not whole.missing:
        click.echo("complete: every tenant's final is in")
    if closed.closing.approved_at is None:
        click.echo(f"look at it, then: pbx-meter-provider approve {whole.period} --revision {whole.revision}")


def _bounds(heap: Heap) -> str:
    peak: Bounds | None = heap.peak
    if peak is None:
        return "?"
    said = str(peak.at_least) if peak.at_least == peak.at_most else f"{peak.at_least} to {peak.at_most}"
    return f"{said} + {heap.peak_unknown} not known" if heap.peak_unknown else said


def _least(known: int, unknown: int) -> str:
    return f"{known} + {unknown} not known" if unknown else str(known)


def _at(at: Instant | None) -> str:
    return "?" if at is None else iso(at)


def _state(one: Revision | Any) -> str:
    return "draft" if one.approved_at is None else f"approved {iso(one.approved_at)}"
