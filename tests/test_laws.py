"""Laws of the house that no linter holds: where files stand, how long they are, what they are called."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("agent", "connectors", "meter", "config", "delivery", "provider")
MODULES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

#: Modules that may be longer than 400 lines, each with its reason. There is none.
LONG: dict[str, str] = {
    "meter/levels.py": "one state machine: by its first rule all that opens, changes and ends a leg is in one place",
}

#: Words that name nothing of the field.
EMPTY_WORDS = "manager|handler|engine|helpers?|utils?|common|base|misc|processor"


def files() -> Iterator[Path]:
    """Give every text file that is part of the project."""
    skipped = {".git", ".venv", "__pycache__", "dist", "build"}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in skipped and not name.endswith("_cache")]
        if ".hypothesis" in folders:
            folders.remove(".hypothesis")
        yield from (Path(folder, name) for name in names if not name.endswith((".pyc", ".pcap")))


def short(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_packages_are_empty() -> None:
    """A package's `__init__` that imports something drags it into everybody who wants a neighbour."""
    assert [short(file) for file in MODULES if file.name == "__init__.py" and file.read_text().strip()] == []


def test_a_module_is_short_or_says_why() -> None:
    """Over 400 lines there is a second noun in a module."""
    long = {short(file) for file in MODULES if len(file.read_text().splitlines()) > 400}

    assert long == set(LONG)


def _last_word(name: str) -> str:
    """Return the last word of a class's name: `base` of `StoreBase`, and `database` of `Database`."""
    return re.split(r"(?<=[a-z0-9])(?=[A-Z])", name)[-1].lower()


def test_names_mean_something() -> None:
    """Modules and classes are called by nouns of the field."""
    modules = [short(file) for file in MODULES if re.fullmatch(EMPTY_WORDS, file.stem)]
    classes = [
        f"{short(file)}: {node.name}"
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and re.fullmatch(EMPTY_WORDS, _last_word(node.name))
    ]

    assert modules + classes == []


def test_every_test_opens_with_the_sentence_it_proves() -> None:
    """A test without a sentence proves nothing that anybody could disagree with."""
    silent = [
        f"{short(file)}: {node.name}"
        for file in TESTS
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


# Written in two halves, so that this file keeps its own law.
ABROAD = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "debian" + ".org",
    "ubuntu" + ".com",
    "golang" + ".org",
]
HERE = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/tmp/" + "venv"]


@pytest.mark.parametrize("words", [ABROAD, HERE], ids=["package mirrors", "paths of one machine"])
def test_no_file_names_somebodys_machine(words: list[str]) -> None:
    """No file names the host of a package mirror or a path of the machine it was written on."""
    pattern = re.compile("|".join(map(re.escape, words)))
    found = [
        f"{short(file)}:{number}"
        for file in files()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]

    assert found == []
