"""What is told of the machine: how a file has to be made that Asterisk reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import surroundings
from agent.surroundings import Access

GROUP = os.getegid()


def process(folder: Path, number: int, name: str, group: int, *words: str) -> None:
    """Write what the kernel says of a process."""
    of = folder / str(number)
    of.mkdir(parents=True)
    (of / "status").write_text(f"Name:\t{name}\nUid:\t0\t0\t0\t0\nGid:\t0\t{group}\t0\t{group}\n")
    (of / "cmdline").write_text("\0".join([f"/usr/sbin/{name}", *words, ""]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manager.conf").touch(0o644)
    (tmp_path / "manager.conf").chmod(0o644)
    (tmp_path / "proc").mkdir()
    return tmp_path


def test_the_group_of_the_running_asterisk_reads_what_everybody_else_does_not(folder: Path) -> None:
    """Where manager.conf is everybody's, ours is for the group of Asterisk's process; a console or another one is none."""
    process(folder / "proc", 7, "asterisk", GROUP, "-f", "-U", "asterisk", "-G", "asterisk")
    process(folder / "proc", 8, "asterisk", GROUP + 1, "-rvvv")
    process(folder / "proc", 9, "asterisk", GROUP + 2, "-vrx", "core show version")
    process(folder / "proc", 10, "safe_asterisk", GROUP + 3)

    assert surroundings.access(folder, folder / "proc") == Access(None, GROUP, 0o640)


def test_where_nobody_can_tell_who_reads_ours_is_as_open_as_manager_conf(folder: Path) -> None:
    """Two Asterisks of different groups: better a file that all read than one that takes the AMI away."""
    process(folder / "proc", 7, "asterisk", GROUP)
    process(folder / "proc", 8, "asterisk", GROUP + 1)

    assert surroundings.access(folder, folder / "proc") == Access(None, None, 0o644)


@pytest.mark.parametrize(("mode", "ours"), [(0o640, 0o640), (0o664 & ~0o004, 0o640), (0o600, 0o600)])
def test_who_reads_manager_conf_reads_ours(folder: Path, mode: int, ours: int) -> None:
    """Where manager.conf is not everybody's, its readers are Asterisk and who else may: ours is for the same."""
    conf = folder / "manager.conf"
    conf.chmod(mode)
    process(folder / "proc", 7, "asterisk", GROUP + 1)

    owner = conf.stat().st_uid if os.geteuid() == 0 else None
    assert surroundings.access(folder, folder / "proc") == Access(owner, conf.stat().st_gid, ours)


def test_a_process_that_ends_meanwhile_is_passed_over(folder: Path) -> None:
    """Half of what the kernel said of it is nothing."""
    process(folder / "proc", 7, "asterisk", GROUP)
    process(folder / "proc", 8, "asterisk", GROUP + 1)
    (folder / "proc" / "8" / "cmdline").unlink()

    assert surroundings.access(folder, folder / "proc").group == GROUP
