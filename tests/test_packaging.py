"""What is installed: the wheel holds our folders whole, and nothing else."""

import importlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"agent", "connectors", "meter", "config", "delivery", "provider"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with what is installed: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (built,) = folder.glob("*.whl")
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_top_level_is_ours_and_nothing_else(wheel: Path) -> None:
    """The import names are common words, so no test, tool or text may come along beside them."""
    version = PROJECT["project"]["version"]

    assert {name.split("/")[0] for name in names_in(wheel)} == FOLDERS | {f"pbx_meter-{version}.dist-info"}


def test_every_file_of_our_folders_is_inside(wheel: Path) -> None:
    """No sub-package, template or table of words is left behind."""
    ours = {
        str(file.relative_to(ROOT))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    inside = names_in(wheel)

    assert ours - inside == set()
    assert "config/example.toml" in inside
    assert any(name.startswith("delivery/templates/") for name in inside)


@pytest.mark.parametrize("script", ["pbx-meter", "pbx-meter-provider"])
def test_each_command_has_its_function(wheel: Path, script: str) -> None:
    """The wheel names both commands, and the function behind each can be called."""
    target = PROJECT["project"]["scripts"][script]
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert f"{script} = {target}" in archive.read(entry_points).decode()

    module, function = target.split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_it_can_not_be_uploaded_by_mistake() -> None:
    """The import names must never reach an index."""
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]
