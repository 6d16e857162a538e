"""How the demo looks: a picture that moves where there is a terminal, calm lines where there is none."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from agent.demo.script import CLOSES_S, DAY_S, OPENS_S
from agent.demo.stage import Mail
from agent.demo.story import Note, Story, Tenant, office_clock
from agent.showing import bar, number

_WIDEST: Final = 120
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
#: For how long the letter is shown, and how long after it came: the overrun is to be seen too.
_LETTER_AFTER_S: Final = 2.5
_LETTER_FOR_S: Final = 11.0


class Screen(Protocol):
    """Shows a story as it happens."""

    def draw(self, story: Story, murmur: str) -> None:
        """Show how things are now; `murmur` is what the agent's log complains of."""
        ...


@contextmanager
def screen(console: Console, *, moving: bool) -> Iterator[Screen]:
    """Give a screen until the end of the block."""
    if not moving:
        yield _Told(console)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield _Moving(live)


class _Moving:
    """Draws everything anew each time, on the terminal's other page."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def draw(self, story: Story, murmur: str) -> None:
        size = self._live.console.size
        self._live.update(picture(story, murmur, min(size.width, _WIDEST), size.height), refresh=True)


class _Told:
    """Prints what happens as it happens, and the levels each hour of the simulated day."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._hour = int(OPENS_S // 3600)
        self._letter: Mail | None = None  # the one that was shown

    def draw(self, story: Story, murmur: str) -> None:
        del murmur  # it is printed at the end
        for note in story.notes[self._told :]:
            self._console.print(_line(note), soft_wrap=True)
        self._told = len(story.notes)
        if story.letter is not self._letter and story.letter is not None:
            self._letter = story.letter
            self._console.print(letter(self._letter, min(self._console.width, 84)))
        if story.at_s // 3600 > self._hour and story.at_s < CLOSES_S:
            self._hour = int(story.at_s // 3600)
            levels = "   ".join(
                f"{t.name} {number(t.level)} of {t.capacity} lines, peak {number(t.peak)}"
                for t in story.tenants.values()
            )
            self._console.print(_line(Note(self._hour * 3600, levels, "dim")), soft_wrap=True)


# --- the picture -----------------------------------------------------------------------------


def picture(story: Story, murmur: str, width: int, height: int) -> RenderableType:
    """Return the picture of now, of at most so many columns and lines."""
    top = [_head(story, width), Text(), *(_tenant(t, width) for t in story.tenants.values()), Text()]
    foot = _foot(story, murmur, width)
    room = height - len(top) - len(foot) - 1
    opened = _open_letter(story)
    middle = letter(opened, min(width, 84), room) if opened is not None else _day(story, room, width)
    return Group(*top, middle, *foot)


def _head(story: Story, width: int) -> Text:
    left = " pbx-meter demo: an office's day, " + (
        f"{story.speed:.0f} times as fast" if story.opened_at is not None else "about to begin"
    )
    right = f"{office_clock(story.at_s)} "
    return Text(left + right.rjust(width - len(left)), style="bold white on dark_blue")


def _tenant(tenant: Tenant, width: int) -> Text:
    over = tenant.level is not None and tenant.level > tenant.capacity
    line = Text.assemble("  ", (f"{tenant.name[:12]:12}", "bold"), (f" {tenant.pbx:8} ", "dim"))
    line.append_text(bar(tenant.level, tenant.capacity, max(8, width - 56)))
    line.append(f"  {number(tenant.level):>2} of {tenant.capacity:<2} lines", "bold red" if over else "bold")
    line.append(f"  peak {number(tenant.peak):>2}  ")
    line.append("OVER" if over else "", "bold white on red")
    return line


def _day(story: Story, room: int, width: int) -> RenderableType:
    """Return the curve of the day above the last notes."""
    tall = max(3, min(12, room - 8))
    notes = story.notes[-max(1, room - tall - 4) :]
    first = next(iter(story.tenants.values()))
    title = Text(f"  {first.name}, lines in use through the day", style="dim")
    return Group(
        title, *curve(story.curve, first.capacity, width - 8, tall), Text(),
        *(_fitted(note, width) for note in notes),
        *(Text() for _ in range(room - tall - 4 - len(notes))),
    )  # fmt: skip


def curve(values: Sequence[int | None], capacity: int, columns: int, rows: int) -> list[Text]:
    """Return a day's levels as a landscape with the capacity as a line across, and the hours below it."""
    places = [_highest(values, column, columns) for column in range(columns)]
    top = max(capacity * 1.3, *(value or 0 for value in places))
    mark = rows - 1 - min(rows - 1, int(capacity / top * rows))
    lines = []
    for row in range(rows):
        line = Text(f"{capacity:>4} ┤" if row == mark else "     │", style="dim")
        for value in places:
            filled = max(0, min(8, round(((value or 0) / top * rows - (rows - 1 - row)) * 8)))
            over = value is not None and value > capacity
            if filled:
                line.append(_EIGHTHS[filled], "red" if over else "green")
            else:
                line.append("╌" if row == mark else " ", "dim yellow" if row == mark else "")
        lines.append(line)
    hours = [" "] * (columns + 2)
    for hour in range(8, 19, 2):
        at = round((hour * 3600 - OPENS_S) / DAY_S * columns)
        hours[at : at + 2] = f"{hour:02d}"
    return [*lines, Text("      " + "".join(hours).rstrip(), style="dim")]


def _highest(values: Sequence[int | None], column: int, columns: int) -> int | None:
    begin = column * len(values) // columns
    end = max(begin + 1, (column + 1) * len(values) // columns)
    return max((value for value in values[begin:end] if value is not None), default=None)


def _foot(story: Story, murmur: str, width: int) -> list[Text]:
    found = story.found
    sealed = found["records"] if found else {"sealed": 0, "receipted": 0}
    left_s = (story.closes_at - story.stage.clock.now()) / 1000
    said = [
        "PBXs linked" if story.linked else "PBXs not linked",
        f"mails {story.mails}",
        f"records {sealed['sealed']} sealed, {sealed['receipted']} receipted",
        f"period ends in {left_s:.0f} s" if left_s > 0 else "period over",
    ]
    last = murmur.splitlines()[-1] if murmur else "Ctrl-C ends it at any time and leaves nothing behind"
    style = "yellow" if murmur else "dim"
    return [Text(), _cut(Text("  " + " · ".join(said)), width), _cut(Text("  " + last, style=style), width)]


# --- notes and the letter ----------------------------------------------------------------------


def _line(note: Note) -> Text:
    return Text.assemble((f"  {office_clock(note.at_s)}  ", "dim"), (note.said, note.style))


def _fitted(note: Note, width: int) -> Text:
    return _cut(_line(note), width)


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _open_letter(story: Story) -> Mail | None:
    """Return the letter while it lies open."""
    mail = story.letter
    if mail is None:
        return None
    age_s = (story.stage.clock.now() - mail.at) / 1000
    return mail if _LETTER_AFTER_S <= age_s < _LETTER_AFTER_S + _LETTER_FOR_S else None


def letter(mail: Mail, width: int, height: int | None = None) -> RenderableType:
    """Return a mail in a frame, as its reader sees it; of at most so many lines."""
    lines = _letter_lines(mail, width - 4)
    if height is not None and len(lines) > height - 2:
        lines = [*lines[: height - 3], "… (the rest is shown at the end)"]
    return Panel(
        Text("\n".join(lines)), title="the mail, as its reader sees it", title_align="left",
        subtitle="its times are the agent's own: only the office's day is sped up",
        border_style="yellow", width=width, height=height,
    )  # fmt: skip


def _letter_lines(mail: Mail, width: int) -> list[str]:
    head = [f"{name}: {mail.message[name]}" for name in ("From", "To", "Subject")]
    body = mail.body("plain").strip().replace("\n\n\n", "\n\n").splitlines()
    return [part for line in (*head, "", *body) for part in textwrap.wrap(line, width) or [""]]
