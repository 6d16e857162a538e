"""`pbx-meter-provider export`: what an operator types, over books on disk."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from delivery.reporting.usage import Report, TenantUsage
from provider.cli import main
from provider.closings import Closing
from provider.exporting import METERS
from provider.month.reports import Reports, written
from provider.storage.opening import open_storage
from tests.exports.months import END, missing, report, usage

Type = Callable[..., Result]


@pytest.fixture
def type_(tmp_path: Path) -> Type:
    """Type a command of the provider's."""

    def typed(*words: str) -> Result:
        return CliRunner().invoke(main, ["--data", str(tmp_path), *words])

    return typed


@pytest.fixture
def close(tmp_path: Path) -> Callable[..., None]:
    """Keep a revision of November with some tenants; partners have a report of their own ones."""

    def closed(*tenants: TenantUsage, revision: int = 1, approved: bool = True) -> None:
        asyncio.run(_keep(tmp_path, report(*tenants, revision=revision), approved=approved))

    return closed


async def _keep(folder: Path, whole: Report, *, approved: bool) -> None:
    own = {id_: tuple(one for one in whole.tenants if one.partner == id_) for id_ in ("north", "south")}
    reports = [replace(whole, partner=id_, name=id_, tenants=tenants) for id_, tenants in own.items()]
    document = written(Reports(whole, tuple(one for one in reports if one.tenants)))
    sha256 = hashlib.sha256(document).hexdigest()
    async with open_storage(folder) as storage:
        assert await storage.closings.close(Closing("2026-11", whole.revision, END, document, sha256))
        if approved:
            assert await storage.closings.approve("2026-11", whole.revision, at=END, by="a test")


def told(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_approved_month_is_exported(type_: Type, close: Callable[..., None]) -> None:
    """An approved month is exported as one event per tenant and meter, and nothing else is printed."""
    close(usage("acme"), usage("globex"))

    done = type_("export", "2026-11", "--format", "cloudevents")

    assert (done.exit_code, done.stderr) == (0, "")
    assert len(told(done)) == 2 * len(METERS)


def test_a_missing_final_is_named(type_: Type, close: Callable[..., None]) -> None:
    """A tenant without a final is named on the error output and in the exit code; the others are exported all the same."""
    close(usage("acme"), missing("umbra"))

    done = type_("export", "2026-11", "--format", "cloudevents")

    assert done.exit_code == 1
    assert done.stderr == "ams-02/umbra: no final: nothing came from it\n"
    assert {one["data"]["tenant"] for one in told(done)} == {"acme"}


def test_an_unknown_figure_is_named_and_no_failure(type_: Type, close: Callable[..., None]) -> None:
    """A figure that is not known is named on the error output; the month is complete all the same."""
    close(usage("acme", users=None))

    done = type_("export", "2026-11", "--format", "cloudevents")

    assert (done.exit_code, done.stderr) == (0, "ams-01/acme: not known: users_at_close\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2026-12",), "2026-12 is not closed; type: pbx-meter-provider close 2026-12"),
        (("2026-11",), "2026-11 does not have an approved revision;"),
        (("2026-11", "--revision", "1"), "2026-11 does not have an approved revision 1;"),
    ],
)
def test_only_what_was_approved_is_exported(type_: Type, close, words: tuple[str, ...], said: str) -> None:
    """What is not closed or not approved is not exported, and the command says what to type."""
    close(usage("acme"), approved=False)

    done = type_("export", *words, "--format", "cloudevents")

    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_draft_is_left_out_and_named(type_: Type, close: Callable[..., None]) -> None:
    """A later draft changes nothing in what is exported, and is named."""
    close(usage("acme"))
    before = type_("export", "2026-11", "--format", "cloudevents")
    close(usage("acme", users=7), revision=2, approved=False)

    done = type_("export", "2026-11", "--format", "cloudevents")

    assert done.stdout == before.stdout
    assert done.stderr == "revision 2 waits to be approved and is not in this\n"


def test_a_revision_adds_what_it_states_otherwise(type_: Type, close: Callable[..., None]) -> None:
    """A revised month is exported with all that was said before and one event for each other figure; the former revision is still to be had."""
    close(usage("acme"))
    before = type_("export", "2026-11", "--format", "cloudevents")
    close(usage("acme", users=7), revision=2)

    after = type_("export", "2026-11", "--format", "cloudevents")
    former = type_("export", "2026-11", "--format", "cloudevents", "--revision", "1")

    assert former.stdout == before.stdout
    assert after.stdout.startswith(before.stdout)
    (last,) = told(after)[len(told(before)) :]
    assert (last["data"]["value"], last["data"]["replaces"]) == (7, "ams-01/acme/2026-11/users_at_close/1")


def test_a_partner_gets_his_own(type_: Type, close: Callable[..., None]) -> None:
    """A partner's export holds his own tenants and tells nothing of others, missing ones included."""
    close(usage("acme"), usage("globex", partner="south"), missing("umbra"))

    done = type_("export", "2026-11", "--format", "cloudevents", "--partner", "north")
    nobody = type_("export", "2026-11", "--format", "cloudevents", "--partner", "west")

    assert (done.exit_code, done.stderr) == (0, "")
    assert {one["data"]["tenant"] for one in told(done)} == {"acme"}
    assert (nobody.exit_code, "west has no tenants in 2026-11" in nobody.stderr) == (1, True)


def test_a_tenant_that_moved_is_his_who_has_it_now(type_: Type, close: Callable[..., None]) -> None:
    """A tenant that a revision gives to another partner is taken back from the one, whole, and the other learns nothing of before."""
    close(usage("acme"))
    before = type_("export", "2026-11", "--format", "cloudevents", "--partner", "north")
    close(usage("acme", partner="south", customer="S-9"), revision=2)

    north = type_("export", "2026-11", "--format", "cloudevents", "--partner", "north")
    south = type_("export", "2026-11", "--format", "cloudevents", "--partner", "south")

    assert north.stdout.startswith(before.stdout)
    assert [one["id"].endswith("/2/withdrawn") for one in told(north)[len(METERS) :]] == [True] * len(METERS)
    assert all(one["subject"] == "C-acme" for one in told(north))
    assert sum(one["data"]["difference"] for one in told(north)) == 0
    assert {(one["subject"], one["data"]["partner"]) for one in told(south)} == {("S-9", "south")}
    assert [one["data"]["difference"] for one in told(south)] == [
        one["data"]["value"] for one in told(before)
    ]
    assert {one["data"]["replaces"] for one in told(south)} == {None}


def test_the_csv_has_a_line_per_tenant(type_: Type, close: Callable[..., None]) -> None:
    """The CSV has one line per tenant of the report, missing ones too, which have no figure."""
    close(usage("acme"), missing("umbra"))

    done = type_("export", "2026-11", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert [row["tenant"] for row in rows] == ["acme", "umbra"]
    assert done.exit_code == 1
