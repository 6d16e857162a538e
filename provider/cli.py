"""`pbx-meter-provider`: serve, invite agents, look at what they reported, import what came by file.

Exit codes: 0 all well; 1 something was not taken or not found; 2 wrong usage;
74 the books or the key can't be used, 78 the settings (a hint says what to do).
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
import structlog
from rich.console import Console
from rich.table import Table

from meter import periods
from provider import clock, contracts, custody, enrolment, export_commands, jobs, keys
from provider.fleet import commands as fleet_commands
from provider.month import commands as month_commands
from provider.receiving import receive
from provider.serving import serving
from provider.statements import AgentRow
from provider.storage.opening import Storage
from provider.terminal import Site, as_json, print_json, run, run_with, site_of


@click.group(
    epilog="Exit codes: 0 well, 1 not taken or not found, 2 usage, 74 books or key unusable, 78 settings unusable."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/pbx-meter-provider"),
    show_default=True,
    envvar="PBX_METER_PROVIDER_DATA",
    help="The folder of the receiver's key, and of the books.",
)
@click.option(
    "--database",
    metavar="URL",
    envvar="PBX_METER_PROVIDER_DATABASE",
    help="A PostgreSQL for the books, postgresql://USER@HOST/NAME, instead of the file in --data.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PBX_METER_PROVIDER_CONFIG",
    help="The settings: mail server, operator, when a month is closed, brand. Without: none.",
)
@click.pass_context
def main(context: click.Context, data: Path, database: str | None, config: Path | None) -> None:
    """Receive and keep the signed usage records of pbx-meter agents."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # standard output is what was asked for
    )
    context.obj = site_of(data, database, config)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8480, show_default=True, help="Where to listen; 0: any free port.")
@click.option("--url", help="Where agents reach it, if that is another address.")
@click.option("--cert", type=click.Path(exists=True, path_type=Path), help="Certificate chain, PEM.")
@click.option("--key", "key_file", type=click.Path(exists=True, path_type=Path), help="Its key, PEM.")
@click.option("--behind-tls", is_flag=True, help="Plain HTTP beyond this machine: a proxy adds TLS.")
@click.pass_obj
def serve(
    site: Site,
    host: str,
    port: int,
    url: str | None,
    cert: Path | None,
    key_file: Path | None,
    behind_tls: bool,
) -> None:
    """Serve until stopped."""
    if cert is None and not behind_tls and not _is_loopback(host):
        raise click.UsageError(
            "agents speak TLS beyond their own machine: give --cert and --key, or --behind-tls"
        )
    tls = None
    if cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(cert, key_file)
    run(site, lambda: _serve(site, host, port, url, tls))


async def _serve(site: Site, host: str, port: int, url: str | None, tls: ssl.SSLContext | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(site.data, host=host, port=port, url=url, tls=tls, database=site.database) as receiver:
        click.echo(f"listening on {receiver.host} port {receiver.port}; agents reach it at {receiver.url}")
        click.echo(f"receiver key {receiver.key.public.thumbprint}")
        async with asyncio.TaskGroup() as group:
            work = group.create_task(jobs.recur(receiver.storage, site.settings, clock.now))
            await stopped.wait()
            work.cancel()


@main.command("enrol-token")
@click.argument("agent")
@click.option("--tenant", "tenants", multiple=True, required=True, help="A tenant id it may report; repeat.")
@click.option("--url", default="http://127.0.0.1:8480", show_default=True, help="As given to `serve`.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 90), help="Good for so long.")
@as_json
@click.pass_obj
def enrol_token(site: Site, agent: str, tenants: tuple[str, ...], url: str, days: int, as_json: bool) -> None:
    """Print the one line with which AGENT enrols."""

    async def work(storage: Storage) -> str:
        receiver, now = keys.load_or_make(site.data), clock.now()
        invitation = await enrolment.invite(
            storage.books, agent=agent, tenants=tenants, url=url, receiver=receiver, now=now, days=days
        )
        return invitation.line()

    line = run_with(site, work)
    if as_json:
        click.echo(json.dumps({"agent": agent, "tenants": tenants, "days": days, "invitation": line}))
    else:
        click.echo(line)
        click.echo(f"good for {days} days, once; on the PBX: pbx-meter enrol '<the line above>'", err=True)


@main.command()
@as_json
@click.pass_obj
def agents(site: Site, as_json: bool) -> None:
    """List the agents: keys, chain, what is missing."""
    rows = run_with(site, lambda storage: storage.books.agents())
    if as_json:
        print_json(rows)
        return
    table = Table("agent", "tenants", "key", "chain", "last", "counted", "refused", "missing", "last record")
    for row in rows:
        table.add_row(
            row.agent,
            ", ".join(row.tenants),
            "\n".join(_key(row, thumbprint, state) for thumbprint, state in row.keys),
            row.head.chain if row.head else "-",
            str(row.head.sequence) if row.head else "-",
            str(row.counted),
            str(row.refused),
            "\n".join(f"{first}-{last} of {chain}" for chain, first, last in row.missing) or "-",
            periods.iso(row.taken_at) if row.taken_at is not None else "never",
        )
    Console().print(table)


@main.command()
@click.option("--agent", help="Of this agent only.")
@click.option("--tenant", help="Of this tenant only.")
@click.option("--revisions", is_flag=True, help="The revisions that were replaced by a correction too.")
@as_json
@click.pass_obj
def summaries(site: Site, agent: str | None, tenant: str | None, revisions: bool, as_json: bool) -> None:
    """List the newest statement of every agent, tenant and period."""
    rows = run_with(
        site, lambda storage: storage.books.summaries(agent=agent, tenant=tenant, every=revisions)
    )
    if as_json:
        print_json(rows)
        return
    table = Table(
        *("agent", "tenant", "period", "state", "rev", "channels", "calls", "answered", "capacity", "users"),
        "observed",
    )
    for row in rows:
        peaks = [row.peak_channels, row.peak_calls, row.peak_answered]
        share = f"{100 * row.observed_ms / row.expected_ms:.2f} %" if row.expected_ms else "-"
        table.add_row(
            *(row.agent, row.tenant, row.period, row.state, str(row.revision)),
            *("?" if value is None else str(value) for value in (*peaks, row.capacity, row.users)),
            share,
        )
    Console().print(table)


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--receipts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where receipts go; default FILE.receipts.",
)
@as_json
@click.pass_obj
def import_file(site: Site, file: Path, receipts: Path | None, as_json: bool) -> None:
    """Take the records in FILE, one a line, as if they had been posted."""
    target = receipts or file.with_name(file.name + ".receipts")

    async def work(storage: Storage) -> tuple[list[str], list[dict[str, Any]]]:
        receiver = keys.load_or_make(site.data)
        given, refused = [], []
        with file.open(encoding="ascii", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                reply = await receive(line.strip(), storage.books, receiver=receiver, now=clock.now())
                if reply.taken:
                    given.append(reply.body)
                else:
                    refused.append({"line": number, "status": reply.status, **json.loads(reply.body)})
        return given, refused

    given, refused = run_with(site, work)
    target.write_text("".join(f"{receipt}\n" for receipt in given), encoding="ascii")
    if as_json:
        click.echo(json.dumps({"taken": len(given), "receipts": str(target), "not_taken": refused}))
    else:
        click.echo(f"{len(given)} taken; receipts for the agent in {target}")
        for each in refused[:20]:
            click.echo(
                f"line {each['line']} not taken: {each['error']} {each.get('reason', '')}".rstrip(), err=True
            )
        if len(refused) > 20:  # noqa: PLR2004  # a screen
            click.echo(f"and {len(refused) - 20} more", err=True)
    if refused:
        raise SystemExit(1)


def _key(row: AgentRow, thumbprint: str, state: str) -> str:
    ends_at = dict(row.ends).get(thumbprint)
    return f"{thumbprint} {state}" + ("" if ends_at is None else f" until {periods.iso(ends_at)}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


for _command in (
    custody.rebuild,
    fleet_commands.fleet,
    fleet_commands.withdraw,
    custody.audit,
    contracts.partner,
    contracts.tenant,
    export_commands.export,
    month_commands.close_period,
    month_commands.report,
    month_commands.statement,
    month_commands.approve_period,
    month_commands.revisions,
    month_commands.letters,
):
    main.add_command(_command)
