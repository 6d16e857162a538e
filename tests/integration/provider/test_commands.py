"""Partners, tenants, rebuild and audit as an operator types them, on both databases."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from meter import messages, signature
from provider import clock, enrolment, keys
from provider.cli import main
from provider.receiving import receive
from provider.storage.database import FILE
from provider.storage.opening import open_storage

URL = "http://127.0.0.1:1"


@pytest.fixture
def typed(tmp_path, database):
    """Type a command; the books are in a folder, or in a PostgreSQL beside it."""

    def run(*words: str) -> Result:
        where = ["--data", str(tmp_path / "books"), *(["--database", database] if database else [])]
        return CliRunner().invoke(main, [*where, *words], env={"COLUMNS": "200"}, catch_exceptions=False)

    return run


def said(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_partners_are_added_and_changed(typed, tmp_path):
    """A partner is added for ever, changed from a day on, and shown as he is on any day."""
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg/>")
    assert (
        typed(
            "partner", "add", "north", "--name", "North B.V.", "--email", "a@n.example", "--logo", str(logo)
        ).exit_code
        == 0
    )
    assert typed("partner", "add", "south", "--parent", "north", "--language", "it").exit_code == 0
    assert (
        typed(
            "partner", "change", "north", "--name", "Nord", "--colour", "#aa0011", "--since", "2026-12-01"
        ).exit_code
        == 0
    )
    assert typed("partner", "change", "south", "--parent", "-", "--since", "2026-12-01").exit_code == 0

    before = {one["id"]: one for one in said(typed("partner", "list", "--json", "--on", "2026-11-30"))}
    after = {one["id"]: one for one in said(typed("partner", "list", "--json"))}

    assert (before["north"]["name"], after["north"]["name"]) == ("North B.V.", "Nord")
    assert (before["north"]["brand"]["name"], after["north"]["brand"]["name"]) == ("North B.V.", "Nord")
    assert after["north"]["brand"]["logo"] == "image/svg+xml, 6 bytes"
    assert after["north"]["email"] == ["a@n.example"]
    assert (before["south"]["parent"], after["south"]["parent"], after["south"]["language"]) == (
        "north",
        None,
        "it",
    )
    assert len(said(typed("partner", "list", "--json", "--every"))) == 4
    assert "Nord" in typed("partner", "list").stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("partner", "add", "north"), 1, "known already"),
        (("partner", "add", "x", "--parent", "nobody"), 1, "there is no partner nobody"),
        (("partner", "change", "nobody", "--since", "2026-12-01"), 1, "there is no partner nobody"),
        (("partner", "change", "north", "--parent", "north", "--since", "2026-12-01"), 1, "under himself"),
        (("partner", "change", "north", "--since", "soon"), 2, "a day like"),
        (("partner", "change", "north"), 2, "--since"),
        (("partner", "add", "x", "--colour", "red"), 1, "#rrggbb"),
        (("tenant", "place", "ams-01", "acme", "--partner", "nobody"), 1, "there is no partner nobody"),
        (("tenant", "place", "ams-01", "acme", "--capacity", "many"), 2, "a number of lines"),
    ],
)
def test_what_can_not_be_is_refused(typed, words, code, says):
    """A change that can't be is refused with a sentence, and nothing is changed."""
    typed("partner", "add", "north")
    before = typed("partner", "list", "--json").stdout

    result = typed(*words)

    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert typed("partner", "list", "--json").stdout == before
    assert typed("tenant", "list", "--json").stdout == ""


def test_tenants_are_placed(typed):
    """A tenant is placed once for ever; after that every change needs its day, and leaves what it does not name."""
    typed("partner", "add", "north")
    place = ("tenant", "place", "ams-01", "acme")
    assert (
        typed(*place, "--partner", "north", "--capacity", "16", "--package", "8", "--package", "24").exit_code
        == 0
    )
    assert "from which day" in typed(*place, "--capacity", "24").output
    assert typed(*place, "--customer", "1007", "--capacity", "-", "--since", "2026-12-01").exit_code == 0

    (row,) = said(typed("tenant", "list", "--json"))
    (was,) = said(typed("tenant", "list", "--json", "--on", "2026-11-30"))

    assert (row["partner"], row["customer"], row["capacity"], row["packages"]) == (
        "north",
        "1007",
        None,
        [8, 24],
    )
    assert (was["customer"], was["capacity"], was["since"]) == (None, 16, "0001-01-01")
    assert "1007" in typed("tenant", "list").stdout


def test_a_tenant_that_leaves(typed):
    """A tenant ends on a day, is there as ended from then on, and is there again when it is placed again."""
    typed("partner", "add", "north")
    place = ("tenant", "place", "ams-01", "acme", "--partner", "north")
    typed(*place)
    end = ("tenant", "end", "ams-01", "acme")
    assert typed(*end).exit_code == 2  # it has its day
    assert typed(*end, "--since", "2026-11-10").exit_code == 0
    assert "ended" in typed("tenant", "list").stdout
    assert typed(*place, "--since", "2027-02-01").exit_code == 0
    too_early = typed(*end, "--since", "2026-12-01")

    ended = {
        day: said(typed("tenant", "list", "--json", "--on", day))[0]["ended"]
        for day in ("2026-11-09", "2026-11-10", "2027-01-31", "2027-02-01")
    }
    assert list(ended.values()) == [False, True, True, False]
    assert (too_early.exit_code, "is placed from 2027-02-01 on" in too_early.stderr) == (1, True)
    assert {one["partner"] for one in said(typed("tenant", "list", "--json", "--every"))} == {"north"}


def test_nobody_has_that_name(typed, tmp_path, book, database):
    """A place for an agent or a tenant that nobody enrolled is taken with a warning; an enrolled one without."""
    folder = tmp_path / "books"
    folder.mkdir()

    async def enrol() -> None:
        receiver = keys.load_or_make(folder)
        async with open_storage(folder, database) as storage:
            line = await enrolment.invite(
                storage.books, agent="ams-01", tenants=["acme"], url=URL, receiver=receiver, now=clock.now()
            )
            asks = messages.seal_enrolment(line, book.key)
            await enrolment.enrol(asks, storage.books, audience=URL, receiver=receiver, now=clock.now())

    asyncio.run(enrol())
    file = tmp_path / "tenants.csv"
    file.write_text("agent,tenant\nams-01,acmee\n", "utf-8")

    assert typed("tenant", "place", "ams-01", "acme").stderr == ""
    warned = [typed("tenant", "place", "ams-O1", "acme"), typed("tenant", "import", str(file))]
    assert [one.exit_code for one in warned] == [0, 0]
    assert "no agent ams-O1 has enrolled" in warned[0].stderr
    assert "agent ams-01 is not enrolled for a tenant acmee" in warned[1].stderr


def test_what_was_said_can_be_cleared(typed, tmp_path):
    """A dash takes back what a partner or a tenant was given: addresses, looks, logo, packages, basis."""
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg/>")
    looks = ("brand", "colour", "sender", "reply-to", "footer", "email", "logo")
    values = ("Nord", "#aa0011", "s@n.example", "r@n.example", "Below", "a@n.example", str(logo))
    options = [word for look, value in zip(looks, values, strict=True) for word in (f"--{look}", value)]
    cleared = [word for look in looks for word in (f"--{look}", "-")]
    typed("partner", "add", "north", *options)
    place = ("tenant", "place", "ams-01", "acme")
    typed(*place, "--package", "8", "--basis", "calls")

    assert typed("partner", "change", "north", *cleared, "--since", "2026-12-01").exit_code == 0
    assert typed(*place, "--package", "-", "--basis", "-", "--since", "2026-12-01").exit_code == 0
    typed("partner", "add", "plain", "--name", "north", "--since", "2026-12-01")

    partners = {one["id"]: one for one in said(typed("partner", "list", "--json"))}
    (tenant,) = said(typed("tenant", "list", "--json"))
    assert partners["north"] == partners["plain"] | {"id": "north"}
    assert (tenant["packages"], tenant["basis"]) == ([], None)
    assert typed(*place, "--package", "8", "--package", "x", "--since", "2027-01-01").exit_code == 2


def test_a_file_changes_what_it_names(typed, tmp_path):
    """A file without a column leaves what was; one that would rewrite ever for who is known is refused, with a hint."""
    typed("partner", "add", "north", "--email", "a@n.example")
    typed("tenant", "place", "ams-01", "acme", "--partner", "north", "--customer", "1007", "--capacity", "16")
    file = tmp_path / "tenants.csv"
    file.write_text("agent,tenant,capacity\nams-01,acme,24\n", "utf-8")
    refused = typed("tenant", "import", str(file))
    file.write_text("agent,tenant,since,capacity\nams-01,acme,2026-12-01,24\n", "utf-8")
    assert typed("tenant", "import", str(file)).stdout == "1 taken\n"

    assert (refused.exit_code, "from which day is it so? since" in refused.stderr) == (1, True)
    was, now = said(typed("tenant", "list", "--json", "--every"))
    assert now == was | {"since": "2026-12-01", "capacity": 24}


def test_files_are_taken_whole_or_not_at_all(typed, tmp_path):
    """A CSV with one wrong line changes nothing and names every one; a right one is taken, again with the same result."""
    partners, places = tmp_path / "partners.csv", tmp_path / "tenants.csv"
    partners.write_text("id,name,parent\nnorth,North,\nsouth,South,nort\nx y,X,\n", "utf-8")
    refused = typed("partner", "import", str(partners))
    assert refused.exit_code == 1
    assert "line 4: partner x y: an id has" in refused.stderr
    assert typed("partner", "list", "--json").stdout == ""

    partners.write_text("id,name,parent\nnorth,North,\nsouth,South,north\n", "utf-8")
    places.write_text("agent;tenant;partner;capacity\nams-01;acme;south;16\n", "utf-8")
    for _ in range(2):
        assert typed("partner", "import", str(partners)).stdout == "2 taken\n"
        assert typed("tenant", "import", str(places)).stdout == "1 taken\n"

    assert [one["parent"] for one in said(typed("partner", "list", "--json"))] == [None, "north"]
    assert [one["partner"] for one in said(typed("tenant", "list", "--json"))] == ["south"]


def test_a_file_of_another_kind(typed, tmp_path):
    """A file that is no UTF-8 is refused with what to do."""
    file = tmp_path / "x.csv"
    file.write_bytes(b"id,name\nn,\xff\xfe\n")

    result = typed("partner", "import", str(file))

    assert (result.exit_code, "UTF-8" in result.output) == (1, True)


def test_logs_are_no_output(typed, capsys):
    """What the software says for the log goes to standard error, so that standard output is what was asked for."""
    typed("agents")

    structlog.get_logger("any").warning("something.happened", period="2026-11")

    said_ = capsys.readouterr()
    assert (said_.out, json.loads(said_.err)["event"]) == ("", "something.happened")


def test_audit_and_rebuild(typed, tmp_path, book, database):
    """The audit of whole books says so; of damaged ones it says what, exits with 1, and rebuilding mends what is derived."""
    folder = tmp_path / "books"
    folder.mkdir()

    async def fill() -> None:
        receiver = keys.load_or_make(folder)
        async with open_storage(folder, database) as storage:
            line = await enrolment.invite(
                storage.books, agent="ams-01", tenants=["acme"], url=URL, receiver=receiver, now=clock.now()
            )
            asks = messages.seal_enrolment(line, book.key)
            assert await enrolment.enrol(
                asks, storage.books, audience=URL, receiver=receiver, now=clock.now()
            )
            for token in (book.seal(), book.seal(kind="final")):
                assert (await receive(token, storage.books, receiver=receiver, now=clock.now())).taken

    async def damage() -> None:
        async with open_storage(folder, database) as storage:
            await storage.database.write(
                lambda db: db.exec_driver_sql("UPDATE summaries SET peak_channels = 1 WHERE kind = 'final'")
            )

    asyncio.run(fill())
    whole = typed("audit")
    assert (whole.exit_code, whole.stdout.startswith("WHOLE: 2 records of 1 agent read;")) == (0, True)

    asyncio.run(damage())
    broken = typed("audit")
    assert broken.exit_code == 1
    assert "acme/2026-11/final/1: peak_channels is 1 where the record says 17" in broken.stdout
    assert "NOT WHOLE: 2 records of 1 agent read, 1 finding" in broken.stdout
    assert json.loads(typed("audit", "--json").stdout)["records"] == 2

    assert typed("rebuild").stdout == "2 rows made again from the signed records\n"
    assert typed("audit").exit_code == 0


def test_a_database_that_can_not_be_used(tmp_path):
    """A database that is none, or that nobody answers at, is a sentence with a hint and exit code 74."""
    for address in ("mysql://x@y/z", "postgresql://somebody:s3cret@127.0.0.1:1/books"):
        result = CliRunner().invoke(main, ["--data", str(tmp_path), "--database", address, "agents"])

        assert result.exit_code == 74
        assert "--database" in result.stderr
        assert "s3cret" not in result.output


def test_the_file_stays_unused_beside_a_database(typed, tmp_path, database):
    """With a database given, the folder holds the key alone; without, the books too."""
    typed("enrol-token", "ams-01", "--tenant", "acme")
    folder = Path(tmp_path / "books")

    assert (folder / "receiver-key.json").exists()
    assert (folder / FILE).exists() is (database is None)
    if database is None:
        with sqlite3.connect(folder / FILE) as db:
            assert db.execute("SELECT agent FROM invitations").fetchall() == [("ams-01",)]
        db.close()
    assert signature.private_key((folder / "receiver-key.json").read_text())
