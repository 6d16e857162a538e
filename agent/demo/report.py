"""What the demo says before and after the picture: what stands where, what came of it, what to do next."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from agent.clock import Clock
from agent.demo.proof import Billed, Proof
from agent.demo.screen import letter
from agent.demo.stage import CLOUD, Stage
from agent.demo.story import Story
from agent.showing import coverage, length, number
from meter.model import Level

_WIDEST: Final = 100

_NEXT: Final = """\
Now watch a real PBX:
  1. Give the agent an account.
     Asterisk: put deploy/manager.d/pbx-meter.conf into /etc/asterisk/manager.d/
       It reads, and can't touch a call.
     3CX: make a client of its own under Integrations > API
       Its role could do more; the agent only reads.
  2. Write what to watch: config/example.toml -> /etc/pbx-meter/config.toml
     export PBX_METER_CONFIG=/etc/pbx-meter/config.toml
  3. pbx-meter check     looks at every door, and says what to type next
  4. pbx-meter run       and from another terminal: pbx-meter status"""


def introduce(console: Console, around: Stage, folder: str) -> None:
    """Say what stands where."""
    smtp = around.config.smtp
    console.print(
        f"ACME B.V. is on a simulated Asterisk at 127.0.0.1:{around.asterisk.port}, which tells events.\n"
        f"Globex is on a simulated 3CX at 127.0.0.1:{around.threecx.port}, which is asked every 0.5 s.\n"
        f"A mailbox at 127.0.0.1:{smtp.port if smtp else 0}, the provider at {around.receiver.url},\n"
        "and between all of them the real agent.\n"
        f"All is in {folder} and goes with it.\n"
        f"The agent's clock is {length(around.clock.wall() - Clock().wall())} ahead, so that a period closes in view.\n",
        soft_wrap=True,
    )


def conclude(
    console: Console, story: Story, proof: Proof, keep: Path | None, murmur: str, *, with_letter: bool
) -> None:
    """Say what came of it, and what to do next."""
    width = min(console.width, _WIDEST)
    if with_letter and story.letter is not None:
        console.print(letter(story.letter, min(width, 84)))
    console.print("\nThe final records", style="bold")
    for one in proof.billed:
        console.print("\n".join(_bill(one, story, width)))
    console.print("\nWhat the chain of records proves, in the words of pbx-meter verify", style="bold")
    for line in proof.verdict.lines:
        console.print(_wrapped(line, width))
    console.print("\nWhat this demo promised", style="bold")
    for claim in proof.claims:
        mark, style = ("  kept  ", "green") if claim.kept else ("  NOT   ", "bold red")
        console.print(Text.assemble((mark, style), _wrapped(claim.said, width, "        ").lstrip()))
    for line in murmur.splitlines()[-5:]:
        console.print(Text.assemble(("  log   ", "yellow"), _wrapped(line[:400], width, "        ").lstrip()))
    if keep is None:
        said = "\nTo look at the mail's HTML and keep the records: pbx-meter demo --keep DIR"
    else:
        records, key = (shlex.quote(str(keep / name)) for name in ("records.jws", "agent-key.json"))
        said = (
            f"\nKept in {keep}:\n"
            "  mail.html to open in a browser, mail.eml, records.jws, receipts.jws\n"
            f"  pbx-meter verify {records} --key {key}"
        )
    console.print(f"{said}\n\n{_NEXT}", soft_wrap=True)


def _bill(one: Billed, story: Story, width: int) -> Iterable[str]:
    data = one.data
    peaks = ", ".join(f"{number(one.peak(level))} {level.value}" for level in Level)
    seen, missing = data["coverage"], data["coverage"]["gaps"]["total_ms"]
    receipt = "NO RECEIPT" if one.receipt is None else f"{one.receipt.status}, receipt signed by the provider"
    yield _wrapped(f"  {one.id}: {receipt}", width)
    yield _wrapped(f"    peaks: {peaks}; users: {number(data['users']['at_close'])}", width)
    for pbx, how in data["sampling"].items():
        yield _wrapped(f"    {pbx}: {_watched(how)}", width)
    if one.on_3cx:
        for line in _beside(one, story):
            yield _wrapped(f"      {line}", width)
    yield _wrapped(
        f"    observed: {coverage(seen)} of {length(seen['expected_ms'])}; the other {length(missing)} "
        "it was not there: a gap, not a zero",
        width,
    )
    yield f"    sha256 {one.sha256}"


def _watched(how: Mapping[str, Any]) -> str:
    """Say how a PBX was watched, as the record states it."""
    if how["method"] == "events":
        return "method events: every change was told as it happened"
    return (
        f"method {how['method']}, every {how['interval_ms'] / 1000:g} s: {how['polls']} polls, "
        f"{how['missed_polls']} missed; so far proven on {how['proven_on']}"
    )


def _beside(one: Billed, story: Story) -> Iterable[str]:
    """Say what the 3CX itself tells beside the polls."""
    by = one.peak_by(Level.CHANNELS)
    polls, log = number(by.get("polls")), number(by.get("call_log"))
    yield f"peak by polls {polls} channels, by the 3CX's own call log {log}"
    users = one.data["users"]["pbxs"].get(CLOUD, {})
    yield f"users {number(users.get('count'))}, by the 3CX's own count {number(users.get('pbx_own_count'))}"
    between_ms = one.data["sampling"][CLOUD]["interval_ms"] * story.speed
    yield f"between two polls {length(round(between_ms))} of this hurried day pass"


def _wrapped(line: str, width: int, indent: str | None = None) -> str:
    """Return a line cut into several, the later ones below the text of the first."""
    if indent is None:
        indent = " " * (len(line) - len(line.lstrip(" -")))
    return textwrap.fill(
        indent + line if not line.startswith(" ") and indent else line, width - 1, subsequent_indent=indent,
        break_on_hyphens=False,
    )  # fmt: skip
