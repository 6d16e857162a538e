"""config.meaning: one hash for one meaning."""

from pathlib import Path

import pytest

from config.load import load
from config.meaning import config_sha256

TEXT = (
    (Path(__file__).parent / "documented.toml")
    .read_text()
    .replace('secret_file = "ami-secret"', 'secret = "a"')
)


def sha256_of(tmp_path: Path, text: str) -> str:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return config_sha256(load(file, {}))


def test_the_hash_is_pinned(tmp_path: Path) -> None:
    """A new version that means the same by the same file gives the same hash."""
    assert sha256_of(tmp_path, TEXT) == "daaa900cbb12d0ef2075c4049f0bd9d9cdbb0038c9d65aedb170703793a70a53"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[smtp]", "\n# another comment\n[smtp]"),
        ("port = 5038\n", ""),
        ('basis = "channels"\n', ""),
        ('"a"', '"b"'),
        ('"127.0.0.1"', '"localhost"'),
        ('language = "nl"', 'language = "it"'),
        ('"noc@partner.example"', '"other@partner.example"'),
        ('"/var/lib/pbx-meter"', '"/srv/pbx-meter"'),
    ],
)
def test_what_changes_no_figure_changes_no_hash(tmp_path: Path, old: str, new: str) -> None:
    """How the file is written, where things are and who is told don't change the hash."""
    assert old in TEXT
    assert sha256_of(tmp_path, TEXT.replace(old, new)) == sha256_of(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("capacity = 8", "capacity = 9"),
        ('"^1[0-9]{2}$"', '"^1[0-8]{2}$"'),
        ('basis = "channels"', 'basis = "calls"'),
        ('"Europe/Amsterdam"', '"Europe/Rome"'),
        ('id = "globex"', 'id = "globex"\ndefault = true'),
        ('match = { trunks = ["PJSIP/trunk-kpn"], ', 'match = { trunks = ["PJSIP/trunk-kp?"], '),
        ("port = 5038", 'snapshot_every = "90s"'),
        ('name = "ACME B.V."', 'name = "ACME"'),
    ],
)
def test_what_can_change_a_figure_changes_the_hash(tmp_path: Path, old: str, new: str) -> None:
    """Whatever a figure can depend on changes the hash."""
    assert old in TEXT
    assert sha256_of(tmp_path, TEXT.replace(old, new)) != sha256_of(tmp_path, TEXT)
