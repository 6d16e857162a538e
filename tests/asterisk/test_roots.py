"""Where the Debian mirror comes from: no Asterisk needed."""

from __future__ import annotations

import pytest

from tests.asterisk import roots


def test_both_formats_of_apt_are_read() -> None:
    """A deb822 stanza and a one-line source name the same mirror and suites; a source of sources none."""
    deb822 = "Types: deb\n# a comment: with a colon\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
    assert list(roots.sources(deb822, deb822=True)) == [
        ("http://mirror.example/debian", ("bookworm", "bookworm-updates"))
    ]
    line = "deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian bookworm main\ndeb-src http://x.example y z\n"
    assert list(roots.sources(line, deb822=False)) == [("http://mirror.example/debian", ("bookworm",))]


def test_a_source_that_is_switched_off_is_not_used() -> None:
    """`Enabled: no` counts, and so does a stanza of source packages only."""
    text = "Types: deb\nEnabled: no\nURIs: http://a.example\nSuites: sid\n\nTypes: deb-src\nURIs: http://b.example\nSuites: sid\n"
    assert list(roots.sources(text, deb822=True)) == []


def test_the_environment_names_the_mirror_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """PBX_METER_DEBIAN_MIRROR wins over whatever apt reads."""
    monkeypatch.setenv(roots.MIRROR_VARIABLE, "http://mirror.example/debian")
    assert roots.mirror() == "http://mirror.example/debian"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory) -> None:
    """Without programs and mirror the sentence names each program with its package, and the variable to set."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PBX_METER_CACHE", str(tmp_path))
    monkeypatch.delenv(roots.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(roots, "mirror", lambda: None)
    said = "\n".join(roots.missing())
    for program, package in roots.PROGRAMS.items():
        assert f"no {program} (Debian: apt-get install {package})" in said
    assert roots.MIRROR_VARIABLE in said
