"""Changes to files: shown before, made whole, and no secret among what is shown."""

import os
import stat
from pathlib import Path

import pytest

from agent import changes


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_file_has_its_mode_and_its_folder_fits(tmp_path: Path) -> None:
    """A secret's file is its owner's alone, and so is the folder that is made for it."""
    file = tmp_path / "secrets" / "ami-secret"
    change = changes.change(file, "hush\n", mode=0o600, hidden=True)
    assert change.is_one

    changes.make(change)

    assert file.read_text() == "hush\n"
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_for_a_group_is_open_to_it(tmp_path: Path) -> None:
    """What Asterisk's group reads lies in a folder that it may enter."""
    file = tmp_path / "manager.d" / "pbx-meter.conf"

    changes.make(changes.change(file, "x\n", group=os.getgid()))

    assert (mode(file), mode(file.parent)) == (0o640, 0o750)


def test_a_folder_is_as_open_as_its_file_whatever_the_umask(tmp_path: Path) -> None:
    """Root's umask of 077 shuts nobody out of a folder whose file he may read."""
    file = tmp_path / "manager.d" / "pbx-meter.conf"

    before = os.umask(0o077)
    try:
        changes.make(changes.change(file, "x\n", mode=0o644))
    finally:
        os.umask(before)

    assert (mode(file), mode(file.parent)) == (0o644, 0o755)


def test_a_file_that_is_there_keeps_owner_and_mode_and_stays_beside(tmp_path: Path) -> None:
    """The new one is as readable as the old one was, the old one is NAME~, and as readable too."""
    file = tmp_path / "manager.conf"
    file.write_bytes("; Zoë\n".encode("latin-1"))
    file.chmod(0o604)

    changes.make(changes.change(file, (changes.read(file) or "") + "x\n"))

    assert file.read_bytes() == "; Zoë\nx\n".encode("latin-1")
    assert (tmp_path / "manager.conf~").read_bytes() == "; Zoë\n".encode("latin-1")
    assert (mode(file), mode(tmp_path / "manager.conf~")) == (0o604, 0o604)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """FreePBX links files of its modules into Asterisk's folder: what it leads to changes."""
    real, link = tmp_path / "real.conf", tmp_path / "link.conf"
    real.write_text("a\n")
    link.symlink_to(real)

    changes.make(changes.change(link, "b\n"))

    assert link.is_symlink()
    assert real.read_text() == "b\n"


def test_what_can_not_be_made_leaves_all_as_it_was(tmp_path: Path) -> None:
    """A change that fails midway leaves the file and no trace."""
    file = tmp_path / "a.conf"
    file.write_text("old\n")
    change = changes.Change(file, "new\n", "old\n")
    (tmp_path / "a.conf~").mkdir()  # in the way of the copy
    (tmp_path / "a.conf~" / "x").touch()

    with pytest.raises(OSError, match=r"."):
        changes.make(change)

    assert file.read_text() == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conf", "a.conf~"]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither a new one nor those that stand near a change, however they are written."""
    file = tmp_path / "manager.conf"
    near = "[boss]\nsecret = hush1\nmd5secret=>hush2\n;secret = hush3\n  secret=hush4\n#password = hush5\n"
    near += 'Secret = hush\nurl = "https://hooks.partner.example/hush"\n'
    file.write_text(near)

    shown = "\n".join(changes.change(file, near + "[meter]\nsecret = hush6\nread = call\n").lines())
    fresh = "\n".join(changes.change(tmp_path / "new", "secret = hush7\nSECRET => hush\n").lines())
    bare = "\n".join(changes.change(tmp_path / "bare", "hush8\n", hidden=True).lines())

    assert "hush" not in shown + fresh + bare
    assert "+read = call" in shown
    assert "secret = (hidden)" in shown
    assert bare == f"+++ {tmp_path}/bare (new, mode 640): a secret"


def test_the_same_text_is_no_change(tmp_path: Path) -> None:
    """What is right stays as it is."""
    file = tmp_path / "a"
    file.write_text("a\n")

    assert not changes.change(file, "a\n").is_one
    assert changes.change(file, "b\n").is_one
    assert changes.read(tmp_path / "none") is None


def test_a_change_that_this_user_may_not_make_is_known_before(tmp_path: Path) -> None:
    """A folder that can't be written to is told before anything is written anywhere."""
    change = changes.change(tmp_path / "deep" / "a", "x")
    assert not changes.refused(change)

    tmp_path.chmod(0o500)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        assert changes.refused(change)
    finally:
        os.seteuid(before)
        tmp_path.chmod(0o700)
