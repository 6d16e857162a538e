"""Build the Debian package into dist/: a tree of files, and dpkg-deb around it.

The environment is not made on the customer's machine, it is packed: /opt/pbx-meter is a
virtual environment whose Python is the machine's own /usr/bin/python3. As in Debian's own
dist-packages, one site-packages serves every Python that the package is for: pure
modules once, and compiled ones side by side, since their names carry the version they are
for (`_speedups.cpython-311-….so`). So dpkg knows each file, an update or a removal leaves
nothing behind, and an agent survives its Debian's next release.

Takes the pinned wheels from where it kept them, or from where this machine's pip fetches; two
wheels that disagree about a file end the build.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

import pin
from click.shell_completion import BashComplete, FishComplete, ZshComplete

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
DEPLOY: Final = ROOT / "deploy"
PREFIX: Final = "opt/pbx-meter"

#: What pip keeps for itself: it never runs there.
_PIPS_OWN: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL"})
#: Left out: it is the only one to load C++'s own library, 1.7 MiB of the agent's 75, to make lists of three
#: entries faster. frozenlist works without, in Python.
_SPARED: Final = re.compile(r"frozenlist/_frozenlist\..*\.so")
#: What an administrator reads on the machine itself. Not below /usr/share/doc, which small installations and
#: containers leave out (dpkg's path-exclude); a link is there for who looks there.
_READING: Final = {
    "RUNBOOK.md": "deploy/RUNBOOK.md",
    "README.md": "README.md",
    "INSTALL.md": "deploy/README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "prometheus-alerts.yml": "deploy/prometheus-alerts.yml",
    "grafana-dashboard.json": "deploy/grafana-dashboard.json",
    "manager.d/pbx-meter.conf": "deploy/manager.d/pbx-meter.conf",
}
_CONSOLE: Final = """#!/opt/pbx-meter/bin/python3 -I
from agent.cli import main

main(prog_name="pbx-meter")
"""


def wheels(architecture: str, kept: Path) -> list[Path]:
    """Return the pinned wheels for every Python; fetched once for each state of the pins."""
    state = hashlib.sha256(pin.PINS.read_bytes()).hexdigest()[:12]
    folder = kept / f"{architecture}-{state}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for python in pin.PYTHONS:
            pins = ["--no-deps", "--require-hashes", "-r", str(pin.PINS)]
            pin.download(partial, *pin.target(python, architecture), *pins)
        partial.rename(folder)
    return sorted(folder.glob("*.whl"))


def our_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, with the hatchling that is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def unpack(found: Iterable[Path], site: Path) -> None:
    """Unpack wheels over each other.

    Raises:
        SystemExit: Two of them have different contents for one file.
    """
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                path = PurePosixPath(name)
                ours = path.name not in _PIPS_OWN and ".data/" not in name and not _SPARED.fullmatch(name)
                if name.endswith("/") or not ours:
                    continue
                content = archive.read(name)
                to = site / path
                if to.exists():
                    # What wheels say of themselves may differ: a bill of materials has its own number.
                    if path.parts[0].endswith(".dist-info") or to.read_bytes() == content:
                        continue
                    sys.exit(f"{wheel.name} has another {name} than a wheel before it")
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(content)


def put(tree: Path, name: str, content: str, mode: int = 0o644) -> None:
    """Write one file of the package."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def example() -> str:
    """Return the commented configuration, with this package's places in it."""
    text = (ROOT / "config/example.toml").read_text()
    text, secrets = re.subn(r'(?m)^(#?(?:secret|password)_file *= ")', r"\1secrets/", text)
    text, sockets = re.subn(r"(?m)^#(socket *=)", r"\1", text)
    if not secrets or sockets != 1:
        sys.exit(
            "config/example.toml names no secret_file or no socket any more: mend deploy/debian/build.py"
        )
    return text


def completions() -> dict[str, str]:
    """Return the files that complete commands and options at the shell's prompt."""
    from agent.cli import main as commands  # noqa: PLC0415 - only here

    places = {
        "usr/share/bash-completion/completions/pbx-meter": BashComplete,
        "usr/share/zsh/vendor-completions/_pbx-meter": ZshComplete,
        "usr/share/fish/vendor_completions.d/pbx-meter.fish": FishComplete,
    }
    return {
        place: shell(commands, {}, "pbx-meter", "_PBX_METER_COMPLETE").source().lstrip()
        for place, shell in places.items()
    }


def stage(tree: Path, architecture: str, kept: Path) -> None:
    """Lay out every file that the package installs."""
    site = tree / PREFIX / "lib/python3/site-packages"
    with tempfile.TemporaryDirectory() as folder:
        unpack([*wheels(architecture, kept), our_wheel(Path(folder))], site)
    for python in pin.PYTHONS:
        (tree / PREFIX / f"lib/python{python}").symlink_to("python3")
    put(tree, f"{PREFIX}/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    put(tree, f"{PREFIX}/bin/pbx-meter", _CONSOLE, 0o755)
    put(tree, f"{PREFIX}/bin/pbx-meter-agent", (HERE / "pbx-meter-agent").read_text(), 0o755)
    (tree / PREFIX / "bin/python3").symlink_to("/usr/bin/python3")
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/pbx-meter").symlink_to("/opt/pbx-meter/bin/pbx-meter")
    put(tree, "usr/lib/systemd/system/pbx-meter.service", (DEPLOY / "systemd/pbx-meter.service").read_text())
    put(tree, "usr/lib/sysusers.d/pbx-meter.conf", (HERE / "sysusers.conf").read_text())
    for place, name in _READING.items():
        put(tree, f"usr/share/pbx-meter/{place}", (ROOT / name).read_text())
    put(tree, "usr/share/pbx-meter/config.example.toml", example())
    (tree / "usr/share/doc").mkdir()
    (tree / "usr/share/doc/pbx-meter").symlink_to("../pbx-meter")
    put(tree, "etc/pbx-meter/config.example.toml", example(), 0o640)
    (tree / "etc/pbx-meter").chmod(0o750)
    (tree / "etc/pbx-meter/secrets").mkdir(mode=0o700)
    for place, content in completions().items():
        put(tree, place, content)
    manual = tree / "usr/share/man/man1/pbx-meter.1"
    put(tree, str(manual.relative_to(tree)), (DEPLOY / "pbx-meter.1").read_text())
    subprocess.run(["gzip", "-9n", str(manual)], check=True)


def describe(tree: Path, version: str, architecture: str) -> None:
    """Write what dpkg reads: who this is, and what runs when it comes and goes."""
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    values = {"@VERSION@": version, "@ARCHITECTURE@": architecture, "@SIZE@": str(size)}
    control = (HERE / "control").read_text()
    for key, value in values.items():
        control = control.replace(key, value)
    put(tree, "DEBIAN/control", control)
    put(tree, "DEBIAN/conffiles", "/etc/pbx-meter/config.example.toml\n")
    put(tree, "DEBIAN/triggers", (HERE / "triggers").read_text())
    for script in ("postinst", "prerm", "postrm"):
        put(tree, f"DEBIAN/{script}", (HERE / script).read_text(), 0o755)


def build(version: str, architecture: str, into: Path, kept: Path) -> Path:
    """Build the package and return its file."""
    into.mkdir(parents=True, exist_ok=True)
    package = into / f"pbx-meter_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        tree.mkdir(mode=0o755)
        stage(tree, architecture, kept)
        describe(tree, version, architecture)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return package


def main() -> None:
    """Read the command line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = argparse.ArgumentParser(description="Build the Debian package.")
    wanted.add_argument("--architecture", choices=list(pin.PROCESSORS), default="amd64")
    wanted.add_argument("--version", default=project["version"])
    wanted.add_argument("--into", type=Path, default=ROOT / "dist")
    wanted.add_argument("--wheels", type=Path, default=ROOT / "build/wheels", help="where they are kept")
    given = wanted.parse_args()
    os.umask(0o022)
    package = build(given.version, given.architecture, given.into, given.wheels)
    print(f"{package}: {package.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
