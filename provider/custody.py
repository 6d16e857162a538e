"""`rebuild` and `audit`: what is derived is made again, and everything is held against what was signed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import click

from provider import keys
from provider.statements import Audit
from provider.storage.opening import Storage
from provider.terminal import EX_PROBLEM, Site, as_json, run_with

#: So many findings are printed for people; more are counted.
_SHOWN: Final = 50


@click.command()
@click.pass_obj
def rebuild(site: Site) -> None:
    """Make everything that is derived again from the signed records. Serving may go on meanwhile."""
    rows = run_with(site, lambda storage: storage.books.rebuild())
    click.echo(f"{rows} rows made again from the signed records")


@click.command()
@as_json
@click.pass_obj
def audit(site: Site, as_json: bool) -> None:
    """Check every chain, signature, receipt and derived row, and say in words what is wrong. Changes nothing."""

    async def work(storage: Storage) -> Audit:
        return await storage.books.audit(keys.load_or_make(site.data).public)

    checked = run_with(site, work)
    if as_json:
        click.echo(json.dumps(asdict(checked)))
    else:
        for sentence in checked.found[:_SHOWN]:
            click.echo(sentence)
        if len(checked.found) > _SHOWN:
            click.echo(f"and {len(checked.found) - _SHOWN} more: --json shows all")
        click.echo(_verdict(checked))
    if checked.found:
        raise SystemExit(EX_PROBLEM)


def _verdict(checked: Audit) -> str:
    read = f"{_many(checked.records, 'record')} of {_many(checked.agents, 'agent')} read"
    if checked.found:
        return f"NOT WHOLE: {read}, {_many(len(checked.found), 'finding')}"
    return (
        f"WHOLE: {read}; every signature and receipt holds, every chain is complete and in order, "
        "and every derived row is what the records say"
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
