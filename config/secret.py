"""Secrets: written down once, held in one type that no print, log or record can show.

An operator gives a secret in one of three ways: `secret = "…"`, `secret_file`, or
`secret_env`. Two at a time is a defect: nobody could tell which one is meant.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Others may do nothing with a secret's file, its group may read it (0640).
TOO_OPEN: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO

#: No password is longer; somebody named the wrong file.
_LONGEST_BYTES: Final = 4096


class Secret:
    """A text that only `reveal` gives out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class SecretError(Exception):
    """A secret can't be had.

    Args:
        key: The key at fault, within its table (`secret_file`).
        what: What is wrong, without the secret.
        hint: The next thing to do.
        value: The file's or the variable's name; None if it might be the secret itself.
    """

    def __init__(self, key: str, what: str, hint: str, value: str | None = None) -> None:
        super().__init__(f"{key}: {what}; {hint}")
        self.key = key
        self.what = what
        self.hint = hint
        self.value = value


def keys(name: str) -> tuple[str, str, str]:
    """Return the three keys that can give the secret `name`."""
    return name, f"{name}_file", f"{name}_env"


def resolve(
    table: Mapping[str, object], name: str, *, folder: Path, environ: Mapping[str, str]
) -> Secret | None:
    """Return the secret that a table gives as `name`, `name_file` or `name_env`; None if it gives none.

    Args:
        table: The section, as TOML gave it.
        name: `secret` or `password`.
        folder: Where relative file names start.
        environ: The environment.

    Raises:
        SecretError: It is given twice, is empty, has more than one line, or its
            file or variable can't be used.
    """
    plain, file, env = keys(name)
    given = [key for key in (plain, file, env) if key in table]
    if not given:
        return None
    if len(given) > 1:
        raise SecretError(plain, f"given {len(given)} times: {', '.join(given)}", "keep one of them")
    (key,) = given
    source = table[key]
    if not isinstance(source, str) or not source:
        raise SecretError(key, "has to be a text that is not empty", f'write {key} = "…"')
    if "\0" in source:
        raise SecretError(key, "holds a null character", "write it again, without what can't be seen")
    if key == file:
        text = _from_file(_credential(source, environ) or folder / source, key)
    elif key == env:
        if source not in environ:
            raise SecretError(
                key, "this variable is not set", f"set it where the agent starts, or use {file}", source
            )
        text = environ[source]
    else:
        text = source
    # A line break would end the AMI or SMTP command that carries the secret.
    if not text or not text.isprintable():
        shown = None if key == plain else source
        raise SecretError(key, "the secret is empty or has more than one line", "give it as one line", shown)
    return Secret(text)


def _credential(source: str, environ: Mapping[str, str]) -> Path | None:
    """Return systemd's copy of a secret's file, or None if it gave none.

    With `LoadCredential=secrets:/etc/pbx-meter/secrets` the file `secrets/ami-secret` is
    handed to the agent as the credential `secrets_ami-secret`, and only root can read the
    file itself (systemd.exec(5)).
    """
    given = environ.get("CREDENTIALS_DIRECTORY")
    if not given or Path(source).is_absolute():
        return None
    path = Path(given, source.replace("/", "_"))
    return path if path.is_file() else None


def _from_file(path: Path, key: str) -> str:
    """Return the only line of a file that nobody else may read."""
    shown = str(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(_LONGEST_BYTES + 1)
    except FileNotFoundError:
        raise SecretError(
            key, "there is no such file", f"write the secret into it, then: chmod 600 {path}", shown
        ) from None
    except OSError as exc:
        raise SecretError(
            key,
            f"can't be read ({exc.strerror})",
            f"let the agent's user read it: chgrp pbx-meter {path} && chmod 640 {path}",
            shown,
        ) from exc
    if mode & TOO_OPEN:
        raise SecretError(key, f"others may read or change it (mode {mode:04o})", f"chmod 640 {path}", shown)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if len(content) > _LONGEST_BYTES or not text:
        raise SecretError(key, "holds no secret: empty, too long, or not text", "put one line into it", shown)
    return text.rstrip("\r\n")
