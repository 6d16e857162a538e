"""Pin what the package carries: every wheel that the agent needs, by version and hash.

Resolves pyproject.toml's requirements for each Python and processor that the package is for,
and writes `requirements.txt`. Nothing is taken that has no wheel. Run it to update
(`make pins`), read the difference, and run every test.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parents[1] / "pyproject.toml"
PINS: Final = HERE / "requirements.txt"

#: Debian 12, Ubuntu 24.04, Debian 13.
PYTHONS: Final = ("3.11", "3.12", "3.13")
#: Debian's name of a processor, and Python's.
PROCESSORS: Final = {"amd64": "x86_64", "arm64": "aarch64"}
#: sqlite-utils asks for it, for a command of its own that installs plugins.
LEFT_OUT: Final = frozenset({"pip"})


def target(python: str, architecture: str) -> list[str]:
    """Return pip's options for wheels that run there: glibc 2.28 is older than any of them."""
    tags = [
        f"{kind}_{PROCESSORS[architecture]}" for kind in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    ]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    return [*options, *(f"--platform={tag}" for tag in tags)]


def download(folder: Path, *what: str) -> None:
    """Fetch wheels with pip, from where this machine's pip fetches."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    subprocess.run([*command, "--dest", str(folder), *what], check=True)


def main() -> None:
    """Write the pins."""
    wanted = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    pins: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        for python in PYTHONS:
            for architecture in PROCESSORS:
                download(Path(folder), *target(python, architecture), *wanted)
        for wheel in Path(folder).glob("*.whl"):
            name, version = wheel.name.split("-")[:2]
            if name not in LEFT_OUT:
                sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
                pins[f"{name.replace('_', '-').lower()}=={version}"].add(sha256)
    lines = ["# Written by pin.py: not by hand."]
    for pin, hashes in sorted(pins.items()):
        lines += [" \\\n".join([pin, *(f"    --hash=sha256:{one}" for one in sorted(hashes))])]
    PINS.write_text("\n".join(lines) + "\n")
    print(f"{len(pins)} packages in {PINS}")


if __name__ == "__main__":
    main()
