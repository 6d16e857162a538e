"""The provider's settings: a file becomes `Settings`, or every problem in it is told with what to do."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from config.problems import ConfigError
from provider.settings import Settings, load

WHOLE = """
[smtp]
host = "mail.provider.example"
sender = "usage@provider.example"
username = "usage"
password_env = "SMTP_PASSWORD"

[operator]
email = ["billing@provider.example"]
language = "nl"

[month]
timezone = "Europe/Amsterdam"
close_on = 5
at = "07:30"
approve = "itself"

[database]
url_file = "database-url"

[brand]
name = "Provider B.V."
colour = "#aabbcc"
footer = "Chamber of commerce 1"
logo = "logo.png"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    (tmp_path / "database-url").write_text("postgresql://usage:s3cret@db/usage\n")
    (tmp_path / "database-url").chmod(0o600)
    return tmp_path / "provider.toml"


def test_a_whole_file(file):
    """Every section is read, secrets from their files, the logo beside it."""
    file.write_text(WHOLE)

    found = load(file, {"SMTP_PASSWORD": "hush"})

    assert found.mail_server.password == "hush"
    assert found.operator.email == ("billing@provider.example",)
    assert (str(found.month.timezone), found.month.close_on, found.month.at) == (
        "Europe/Amsterdam",
        5,
        time(7, 30),
    )
    assert found.month.approve == "itself"
    assert found.database.url.reveal() == "postgresql://usage:s3cret@db/usage"
    provider = found.provider
    assert (provider.name, provider.language, provider.brand.logo) == (
        "Provider B.V.",
        "nl",
        ("image/png", b"\x89PNG"),
    )
    assert "s3cret" not in repr(found)
    assert "hush" not in repr(found)


def test_without_a_file_nothing_happens_by_itself():
    """Without settings nothing is closed or mailed by itself, and months are UTC's."""
    found = load(None)

    assert found == Settings()
    assert (found.smtp, found.month, found.mail_server, str(found.timezone)) == (None, None, None, "UTC")


def test_defaults_of_a_month(file):
    """A month closes on the 3rd at six, and a person approves."""
    file.write_text('[month]\ntimezone = "Europe/Rome"\n')

    month = load(file).month

    assert (month.close_on, month.at, month.approve) == (3, time(6), "human")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[month]", "month.timezone", "add it"),
        ('[month]\ntimezone = "Europe/Amsterdm"', "month.timezone", "did you mean Europe/Amsterdam"),
        ('[month]\ntimezone = "UTC"\nclose_on = 29', "month.close_on", "1 to 28"),
        ('[month]\ntimezone = "UTC"\nclose_on = "3"', "month.close_on", "1 to 28"),
        ('[month]\ntimezone = "UTC"\nat = "6"', "month.at", '"06:00"'),
        ('[month]\ntimezone = "UTC"\nat = 06:00:00', "month.at", '"06:00"'),
        ('[month]\ntimezone = "UTC"\napprove = "nobody"', "month.approve", '"itself"'),
        ('[operator]\nemail = ["a@b.example"]', "operator.email", "add [smtp]"),
        ("[operator]\nemail = []", "operator.email", "a list"),
        ('[smtp]\nhost = "m"\nsender = "a@b.example"\nusername = "u"', "smtp", "both"),
        ('[brand]\nlogo = "nothing.png"', "brand.logo", "that is there"),
        ('[brand]\nlogo = "logo.gif"', "brand.logo", ".png"),
        ('[brand]\ncolour = "red"', "brand.colour", "#1f4e79"),
        ('[database]\nurl_file = "nothing"', "database.url_file", ""),
        ("[fleets]", "fleets", "did you mean fleet"),
        ("month = 3", "month", "write [month]"),
        ('[month]\ntimezone = "UTC"\nclose = 3', "month.close", "did you mean close_on"),
    ],
)
def test_what_is_wrong_is_said(file, text, key, hint):
    """Each defect is named by its key, with the next thing to do."""
    file.write_text(text)

    with pytest.raises(ConfigError) as said:
        load(file)

    (problem,) = said.value.problems
    assert problem.key == key
    assert hint in problem.hint


def test_all_problems_at_once(file):
    """All defects are told at once, and no secret with them."""
    file.write_text('[month]\nclose_on = 0\n[smtp]\nhost = "m"\npassword = "s3cret"\n[brand]\nname = 5\n')

    with pytest.raises(ConfigError) as said:
        load(file)

    keys = {problem.key for problem in said.value.problems}
    assert {"month.timezone", "month.close_on", "smtp.sender", "brand.name"} <= keys
    assert "s3cret" not in str(said.value)


def test_a_file_that_is_not_there():
    """A file that is named and not there is a problem of its own."""
    with pytest.raises(ConfigError, match="no such file"):
        load(Path("/nowhere/provider.toml"))
