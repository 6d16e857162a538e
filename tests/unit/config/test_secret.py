"""config.secret: given once, in a place that others can't read, and never shown."""

from pathlib import Path

import pytest

from config.secret import Secret, SecretError, resolve


def resolved(table: dict[str, object], folder: Path = Path("/")) -> Secret | None:
    return resolve(table, "secret", folder=folder, environ={"AMI_SECRET": "made-up"})


def test_a_secret_never_shows() -> None:
    """Neither print nor format gives a secret away."""
    secret = Secret("made-up")

    assert "made-up" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "made-up"


def test_a_secret_equals_only_itself() -> None:
    """Two secrets are equal if their texts are."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_the_three_ways(tmp_path: Path) -> None:
    """A secret comes from the file itself, another file, or the environment; or there is none."""
    (tmp_path / "ami").write_text("made-up\n")
    (tmp_path / "ami").chmod(0o600)

    assert resolved({"secret": "made-up"}) == Secret("made-up")
    assert resolved({"secret_env": "AMI_SECRET"}) == Secret("made-up")
    assert resolved({"secret_file": "ami"}, tmp_path) == Secret("made-up")
    assert resolved({"password": "made-up"}) is None


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_that_only_its_own_may_read(tmp_path: Path, mode: int) -> None:
    """A secret's file that its owner and its group may read is taken."""
    (tmp_path / "ami").write_text("made-up")
    (tmp_path / "ami").chmod(mode)

    assert resolved({"secret_file": "ami"}, tmp_path) == Secret("made-up")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_read_or_change(tmp_path: Path, mode: int) -> None:
    """A secret's file that others may read, or that its group may change, is refused with the command that mends it."""
    (tmp_path / "ami").write_text("made-up")
    (tmp_path / "ami").chmod(mode)

    with pytest.raises(SecretError) as refused:
        resolved({"secret_file": "ami"}, tmp_path)
    assert refused.value.hint == f"chmod 640 {tmp_path / 'ami'}"
    assert "made-up" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"made\nup", b"made-up\0", b"\xff\xfe", b"x" * 5000])
def test_a_file_that_holds_no_secret(tmp_path: Path, content: bytes) -> None:
    """An empty file, several lines, something that is not text: none of them is a secret, none is shown."""
    (tmp_path / "ami").write_bytes(content)
    (tmp_path / "ami").chmod(0o600)

    with pytest.raises(SecretError) as refused:
        resolved({"secret_file": "ami"}, tmp_path)
    assert "made" not in str(refused.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder where the file should be is said so, not a crash."""
    with pytest.raises(SecretError, match="can't be read"):
        resolved({"secret_file": str(tmp_path)})


def test_what_systemd_hands_over_comes_first(tmp_path: Path) -> None:
    """Systemd's copy of a relative file is read instead of the file; another name, and the file itself is read."""
    given, folder = tmp_path / "credentials", tmp_path / "etc"
    (folder / "secrets").mkdir(parents=True)
    given.mkdir()
    for path, text in (
        (given / "secrets_ami", "handed over"),
        (folder / "secrets/ami", "written"),
        (folder / "smtp", "mail"),
    ):
        path.write_text(text)
        path.chmod(0o400)

    def read(name: str) -> Secret | None:
        environ = {"CREDENTIALS_DIRECTORY": str(given)}
        return resolve({"secret_file": name}, "secret", folder=folder, environ=environ)

    assert read("secrets/ami") == Secret("handed over")
    assert read(str(folder / "secrets/ami")) == Secret("written")
    assert read("smtp") == Secret("mail")
