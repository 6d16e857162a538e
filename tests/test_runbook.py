"""The runbook and the software name the same messages, and the runbook's commands are there to be typed."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from agent import cli, terminal
from meter.model import Cause
from provider import cli as provider_cli

ROOT = Path(__file__).parents[1]
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")

#: Sections whose names are held against something else than log events and sentences.
LISTS = {"What the provider answers", "Mails to the operator", "Lines of `pbx-meter status`", "Statuses", "Gaps", "Exit codes", "Families of errors", "Alerts"}  # fmt: skip

#: Functions whose sentences an operator reads in `trouble` lines and in `/healthz`.
SAYING = {
    "agent/health.py": {"unwell", "_disk", "_unseen"},
    "agent/status.py": {"_trouble", "refused"},
    "agent/troubles.py": {"_machine"},
    "agent/closing.py": {"_reason_to_wait", "_clock_doubt", "_seal_one"},
    "agent/shipping.py": {"_receiver", "_compare", "_send_next", "_send_from"},
    "agent/upstream.py": {
        "judge", "position", "enrol", "_enrolled", "_receipt", "_contradiction", "_passing",
    },
}  # fmt: skip

#: What ends in front of an operator; what is only caught inside is no family of his.
FAMILIES = {"ConnectorError", "StoreError", "KeyTrouble", "Halted", "Unknown", "Bugged", "ConfigError", "BooksUnusable"}  # fmt: skip


# --- what the runbook names ------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Return the text of each section of the runbook by its title."""
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(text: str) -> list[str]:
    """Return what has an entry: all that stands in backticks in a heading, or in the first cell of a row."""
    places = re.findall(r"^(?:### (.+)|\| (`.+?`) \|.*)$", text, re.MULTILINE)
    return [name for place in places for name in re.findall(r"`([^`]+)`", "".join(place))]


def messages() -> list[str]:
    """Return the events and sentences that have an entry."""
    return [name for title, text in sections().items() if title not in LISTS for name in named(text)]


# --- what the software says ------------------------------------------------------------------


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def loggers(tree: ast.Module) -> set[str]:
    """Return the names that a module gives to what structlog makes."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and "structlog.get_logger" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def complaints() -> Iterator[tuple[Path, ast.Call]]:
    """Yield every call that logs a warning or worse."""
    levels = {"warning", "warn", "error", "exception", "critical"}
    for file in modules("agent", "provider", "connectors", "delivery", "config"):
        tree = parsed(file)
        logs = loggers(tree)
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)) if (
                    name in logs and level in levels
                ):
                    yield file, node


def constant(call: ast.Call) -> str | None:
    match call.args:
        case [ast.Constant(value=str(event)), *_]:
            return event
    return None


def shape(node: ast.AST) -> str:
    """Return a literal sentence up to its first full stop, `…` where something is filled in."""
    pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
    said = "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in pieces)
    return said.partition(". ")[0]


def literals(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the outermost literals of a function's body."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.JoinedStr() | ast.Constant(value=str()):
                yield child
            case ast.Expr(value=ast.Constant()):  # a docstring
                pass
            case _:
                yield from literals(child)


def sentences() -> set[str]:
    """Return what the functions in `SAYING` may say, each as its shape."""
    found = set()
    for name, functions in SAYING.items():
        seen = set()
        for node in ast.walk(parsed(ROOT / name)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name not in functions:
                continue
            seen.add(node.name)
            # In the protocol only what is filled in says what happened; plain strings there are hints.
            kinds = (ast.JoinedStr,) if name == "agent/upstream.py" else (ast.JoinedStr, ast.Constant)
            found |= {shape(part) for part in literals(node) if isinstance(part, kinds)}
        assert seen == functions, f"{name} has no {functions - seen} any more: SAYING names it"
    return {said for said in found if len(re.findall(r"[A-Za-z]{2,}", said)) >= 2 and " " in said}


def families() -> set[str]:
    """Return every class of error that an operator reads, as `module.py: Class`."""
    classes = [
        (file, node)
        for file in modules("agent", "connectors", "provider", "config")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ClassDef)
    ]
    names, known = set(FAMILIES), set[str]()
    while names != known:
        known = set(names)
        names |= {node.name for _, node in classes if names & {ast.unparse(base) for base in node.bases}}
    return {f"{file.relative_to(ROOT)}: {node.name}" for file, node in classes if node.name in names}


def answers() -> set[str]:
    """Return what the provider's receiver answers instead of a receipt."""
    found = set()
    for file in modules("provider"):
        for node in ast.walk(parsed(file)):
            match node:
                case ast.Call(
                    func=ast.Name(id="refusal"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(error)), *_],
                ):
                    found.add(f"{status} {error}")
                case ast.Call(
                    func=ast.Name(id="_contradicts" | "Contradiction"),
                    args=[ast.Constant(value=str(error)), *_],
                ):
                    found.add(f"409 {error}")
    return found


def exit_codes() -> set[int]:
    """Return every code that `agent.terminal` names, with that of success."""
    return {0} | {
        code for name, code in vars(terminal).items() if name.isupper() and isinstance(code, int)
    }  # fmt: skip


# --- the claims ------------------------------------------------------------------------------


def test_every_complaint_of_the_log_is_a_constant_event() -> None:
    """A warning or worse is named by a dotted constant, so that it can be looked up."""
    found = list(complaints())
    odd = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file, call in found
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+", constant(call) or "")
    ]

    assert len(found) > 20, "the search finds no log calls any more: is it blind?"
    assert odd == []


def test_every_event_has_an_entry_and_every_entry_an_event() -> None:
    """What the log may complain of stands in the runbook, and nothing stands there that no code says."""
    events = {event for _, call in complaints() if (event := constant(call)) is not None}
    entries = {name for name in messages() if " " not in name}

    assert sorted(events - entries) == [], "no entry in deploy/RUNBOOK.md"
    assert sorted(entries - events) == [], "no code says this any more"


def test_every_trouble_has_an_entry_and_every_entry_a_trouble() -> None:
    """The sentences of `trouble` lines and of /healthz are looked up by their own words."""
    said = sentences()
    entries = {name for name in messages() if " " in name}

    assert sorted(said - entries) == [], "no entry in deploy/RUNBOOK.md"
    assert sorted(entries - said) == [], "no code says this any more"


@pytest.mark.parametrize(
    ("title", "given"),
    [
        ("Gaps", {cause.value for cause in Cause}),
        ("Exit codes", {str(code) for code in exit_codes()}),
        ("Families of errors", families()),
        ("What the provider answers", answers()),
        ("Alerts", set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus-alerts.yml").read_text("utf-8")))),
    ],
)  # fmt: skip
def test_a_list_is_complete_and_has_nothing_else(title: str, given: set[str]) -> None:
    """Causes of gaps, exit codes, families of errors, the receiver's answers and alerts each have one row."""
    rows = named(sections()[title])

    assert given
    assert sorted(rows) == sorted(given)


def test_nothing_has_two_entries() -> None:
    """Who looks a message up finds one place."""
    found = messages()

    assert sorted({name for name in found if found.count(name) > 1}) == []


def test_lines_of_the_status_are_printed() -> None:
    """What the runbook quotes of `pbx-meter status` is what agent.showing prints."""
    source = (ROOT / "agent/showing.py").read_text("utf-8")
    lines = named(sections()["Lines of `pbx-meter status`"])

    assert lines
    assert [line for line in lines if not all(piece in source for piece in line.split("…"))] == []


def test_statuses_are_those_of_the_rows() -> None:
    """What the runbook calls the status of a record or a row is what the database calls it."""
    source = "".join(
        (ROOT / "agent" / name).read_text("utf-8") for name in ("shipping.py", "store/outbox.py")
    )
    statuses = named(sections()["Statuses"])

    assert statuses
    assert [status for status in statuses if not re.search(f"[\"']{status}[\"']", source)] == []


def test_links_lead_somewhere() -> None:
    """Every link inside the runbook names a section."""
    slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections()}
    links = re.findall(r"\]\(#([^)]+)\)", RUNBOOK)

    assert links
    assert [link for link in links if link not in slugs] == []


def typed() -> list[str]:
    """Return every command line of ours that the runbook tells to type."""
    text = re.sub(r"^### .+$", "", RUNBOOK, flags=re.MULTILINE)  # there the software is quoted
    blocks, spans = re.findall(r"^    (.+)$", text, re.MULTILINE), re.findall(r"`([^`]+)`", text)
    return sorted({
        line.split("#")[0].strip()
        for piece in blocks + spans
        for line in re.split(r"&&|;", piece)
        if re.match(r"pbx-meter(-provider)? [a-z-]", line.strip())
    })  # fmt: skip


@pytest.mark.parametrize("line", typed())
def test_a_command_can_be_typed(line: str) -> None:
    """Each command is one of the program's, its options are its own, and no needed one is left out."""
    program, *words = shlex.split(line)
    command: click.Command = cli.main if program == "pbx-meter" else provider_cli.main
    context = click.Context(command)
    options = {flag: p for p in command.params for flag in p.opts}
    while words[:1] and words[0] in options:  # of the program itself, as --data DIR
        words = words[2:]
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"{words[0]} is no command"
        command, words = found, words[1:]
    assert not isinstance(command, click.Group), "half a command"
    flags = {flag for p in command.params for flag in p.opts}
    asked = {word for word in words if word.startswith("-")}
    assert asked <= flags
    for parameter in command.params:
        if parameter.required and isinstance(parameter, click.Option):
            assert set(parameter.opts) & asked, f"{parameter.opts[0]} is needed"
    arguments = [p for p in command.params if isinstance(p, click.Argument) and p.required]
    assert len(words) >= len(arguments), "an argument is missing"
