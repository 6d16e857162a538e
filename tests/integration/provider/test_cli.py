"""`pbx-meter-provider`, as real processes: what an operator types, reads, and scripts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from importlib import util
from pathlib import Path

import pytest

from agent.upstream import Upstream, Verdict, enrol
from meter import messages, signature
from meter.signature import sha256_hex
from provider import clock

ROOT = Path(__file__).parents[3]
_spec = util.spec_from_file_location("book", ROOT / "tests" / "golden" / "book.py")
book_module = util.module_from_spec(_spec)
_spec.loader.exec_module(book_module)
COMMAND = [sys.executable, "-c", "from provider.cli import main; main()"]


async def run(data: Path, *words: str) -> tuple[int, str, str]:
    process = await start(data, *words)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def start(data: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        "--data",
        str(data),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )


async def test_a_day_at_the_providers(tmp_path, session):
    """Serve, invite, take records, list them, import the rest by file, and stop on SIGTERM."""
    data = tmp_path / "books"
    server = await start(data, "serve", "--port", "0")
    url = (await asyncio.wait_for(server.stdout.readline(), 30)).decode().split()[-1]

    code, line, _ = await run(data, "enrol-token", "ams-01", "--tenant", "acme", "--url", url)
    assert code == 0
    key = signature.new_key()
    receiver, _ = await enrol(session, messages.read_invitation(line), key, now=clock.now)
    upstream = Upstream(session, url, "ams-01", receiver, clock.now)
    book = book_module.Book(key)
    sent = book.seal(kind="final")
    assert (await upstream.post(sent)).verdict is Verdict.COUNTED

    exported = tmp_path / "records.jws"
    book.seal()
    book.seal("stranger")
    exported.write_text("".join(f"{token}\n" for token in book.tokens))
    code, out, _ = await run(data, "import", str(exported), "--json")
    receipts = [
        messages.read_receipt(receipt, receiver)
        for receipt in (tmp_path / "records.jws.receipts").read_text().split()
    ]
    assert (code, json.loads(out)["taken"]) == (0, 3)
    assert [receipt.sha256 for receipt in receipts] == [sha256_hex(token) for token in book.tokens]
    assert [receipt.status for receipt in receipts] == ["counted", "counted", "refused"]

    code, out, _ = await run(data, "agents", "--json")
    row = json.loads(out)
    assert (row["agent"], row["counted"], row["refused"], row["missing"]) == ("ams-01", 2, 1, [])
    code, out, _ = await run(data, "summaries", "--json", "--tenant", "acme")
    assert [json.loads(out)[name] for name in ("state", "peak_channels", "users")] == ["final", 17, 42]
    for words in (("agents",), ("summaries",)):
        code, out, _ = await run(data, *words)
        assert code == 0
        assert "ams-01" in out

    code, out, _ = await run(data, "withdraw", "ams-01")
    assert key.public.thumbprint in out
    assert (await upstream.post(sent)).verdict is Verdict.KEY_TROUBLE
    assert (await run(data, "withdraw", "ams-01"))[0] == 1

    server.send_signal(signal.SIGTERM)
    await asyncio.wait_for(server.communicate(), 15)
    assert server.returncode == 0


async def test_a_file_that_does_not_fit(tmp_path):
    """Lines that are not taken are named, and the exit code says so."""
    file = tmp_path / "records.jws"
    file.write_text("nonsense\n\na.b.c\n")

    code, _, err = await run(tmp_path / "books", "import", str(file))

    assert code == 1
    assert "line 1 not taken" in err
    assert "line 3 not taken" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serve", "--host", "0.0.0.0"), "TLS"),
        (("enrol-token", "ams-01"), "--tenant"),
        (("enrol-token", "a b", "--tenant", "acme"), "an agent's id"),
        (("enrol-token", "ams-01", "--tenant", "acme", "--url", "ftp://x"), "an agent's id"),
    ],
)
async def test_wrong_usage(tmp_path, words, says):
    """What can't be meant is refused with exit code 2 and a sentence."""
    code, _, err = await run(tmp_path, *words)

    assert code == 2
    assert says in err


async def test_books_that_cant_be_used(tmp_path):
    """Damaged books and an open key are a sentence with a hint and exit code 74, not a traceback."""
    (tmp_path / "books.db").write_bytes(b"x" * 5000)

    code, _, err = await run(tmp_path, "agents")
    assert (code, "Traceback" in err) == (74, False)

    (tmp_path / "receiver-key.json").write_text("{}")
    (tmp_path / "receiver-key.json").chmod(0o644)
    code, _, err = await run(tmp_path, "serve", "--port", "0")
    assert code == 74
    assert "chmod 600" in err
