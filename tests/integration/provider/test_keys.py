"""Key files: made once, readable by their owner only, never shown, changed without a moment between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent import keys as agent_keys
from provider import keys as provider_keys

BOTH = pytest.mark.parametrize(
    ("keys", "name"), [(agent_keys, agent_keys.KEY_FILE), (provider_keys, provider_keys.KEY_FILE)]
)


@BOTH
def test_a_key_is_made_once(keys, name, tmp_path):
    """The first start makes the key, later ones read it; nothing else is left in the folder."""
    first = keys.load_or_make(tmp_path)

    assert keys.load_or_make(tmp_path) == first
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@BOTH
def test_two_first_starts_agree(keys, name, tmp_path):
    """Many that start at once end with one key."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: keys.load_or_make(tmp_path).public.thumbprint, range(8)))

    assert len(set(made)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


@BOTH
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(keys, name, tmp_path, mode):
    """An open key file is refused with the command that closes it."""
    keys.load_or_make(tmp_path)
    (tmp_path / name).chmod(mode)

    with pytest.raises(keys.KeyTrouble) as refused:
        keys.load_or_make(tmp_path)

    assert refused.value.hint == f"chmod 600 {tmp_path / name}"


@BOTH
@pytest.mark.parametrize("text", ["", "{}", "é", '{"kty":"EC"}'])
def test_a_damaged_key_is_refused(keys, name, tmp_path, text):
    """A damaged key file is not replaced by a new key: that would lose the chain."""
    keys.load_or_make(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(keys.KeyTrouble) as refused:
        keys.load_or_make(tmp_path)

    assert refused.value.hint
    assert (tmp_path / name).read_text(encoding="utf-8") == text


def test_no_error_shows_the_key(tmp_path):
    """What is said about a damaged key holds nothing of it."""
    secret = json.loads(agent_keys.load_or_make(tmp_path).secret_json())
    (tmp_path / agent_keys.KEY_FILE).write_text(json.dumps(secret | {"x": "A" * 43}))

    with pytest.raises(agent_keys.KeyTrouble) as refused:
        agent_keys.load(tmp_path)

    assert secret["d"] not in str(refused.value) + refused.value.hint


def test_no_key_yet(tmp_path):
    """Without a key there is a hint, and none is made by looking."""
    with pytest.raises(agent_keys.KeyTrouble, match="no key"):
        agent_keys.load(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_change_of_key(tmp_path):
    """The pending key waits beside the present one until its record is sealed; adopting twice is once."""
    old = agent_keys.load_or_make(tmp_path)
    new = agent_keys.begin_change(tmp_path)

    assert agent_keys.begin_change(tmp_path) == agent_keys.pending(tmp_path) == new
    assert agent_keys.load(tmp_path) == old
    assert agent_keys.adopt(tmp_path, new.public.thumbprint) == new
    assert agent_keys.adopt(tmp_path, new.public.thumbprint) == new
    assert agent_keys.load(tmp_path) == new
    assert agent_keys.pending(tmp_path) is None


def test_a_key_that_was_sealed_and_lost(tmp_path):
    """If the key that the last change names is nowhere, nothing is signed by another."""
    agent_keys.load_or_make(tmp_path)
    agent_keys.begin_change(tmp_path)

    with pytest.raises(agent_keys.KeyTrouble, match="gone"):
        agent_keys.adopt(tmp_path, "k" * 43)
