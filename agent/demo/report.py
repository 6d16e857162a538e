"""What the demo says before and after the picture: what stands where, what came of it, what to do next."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from agent.clock import Clock
from agent.demo.proof import Billed, Proof
from agent.demo.screen import letter
from agent.demo.stage import Stage
from agent.demo.story import Story
from agent.showing import coverage, length, number
from meter.model import Level

_WIDEST: Final = 100

_NEXT: Final = """\
Now watch a real PBX:
  1. Give the agent an account: put deploy/manager.d/pbx-meter.conf into
     /etc/asterisk/manager.d/. It reads, and can't touch a call.
  2. Write what to watch: config/example.toml -> /etc/pbx-meter/config.toml
     export PBX_METER_CONFIG=/etc/pbx-meter/config.toml
  3. pbx-meter check     looks at every door, and says what to type next
  4. pbx-meter run       and from another terminal: pbx-meter status"""


def introduce(console: Console, around: Stage, folder: str) -> None:
    """Say what stands where."""
    smtp = around.config.smtp
    console.print(
        f"A simulated Asterisk at 127.0.0.1:{around.pbx.port}, a mailbox at 127.0.0.1:{smtp.port if smtp else 0},\n"
        f"the provider at {around.receiver.url}, and between them the real agent.\n"
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
        console.print("\n".join(_bill(one, width)))
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
            f"\nKept in {keep}: mail.html to open in a browser, mail.eml, records.jws, receipts.jws.\n"
            f"  pbx-meter verify {records} --key {key}"
        )
    console.print(f"{said}\n\n{_NEXT}", soft_wrap=True)


def _bill(one: Billed, width: int) -> Iterable[str]:
    data = one.data
    peaks = ", ".join(f"{number(one.peak(level))} {level.value}" for level in Level)
    seen, missing = data["coverage"], data["coverage"]["gaps"]["total_ms"]
    receipt = "NO RECEIPT" if one.receipt is None else f"{one.receipt.status}, receipt signed by the provider"
    yield _wrapped(f"  {one.id}: {receipt}", width)
    yield _wrapped(f"    peaks: {peaks}; users: {number(data['users']['at_close'])}", width)
    yield _wrapped(
        f"    observed: {coverage(seen)} of {length(seen['expected_ms'])}; the other {length(missing)} "
        "it was not there: a gap, not a zero",
        width,
    )
    yield f"    sha256 {one.sha256}"


def _wrapped(line: str, width: int, indent: str | None = None) -> str:
    """Return a line cut into several, the later ones below the text of the first."""
    if indent is None:
        indent = " " * (len(line) - len(line.lstrip(" -")))
    return textwrap.fill(
        indent + line if not line.startswith(" ") and indent else line, width - 1, subsequent_indent=indent,
        break_on_hyphens=False,
    )  # fmt: skip
