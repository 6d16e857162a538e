"""The account in manager.conf: where it goes, what it says, and what else has to change."""

from pathlib import Path

import pytest

from connectors.asterisk import account
from connectors.asterisk.written import Written, read

DEBIAN = '[general]\nenabled = yes\nport = 5038\nbindaddr = 127.0.0.1\n\n#include "manager.d/*.conf" \n'
FREEPBX = (
    "[general]\nenabled = yes\nport = 5038\nbindaddr = 127.0.0.1\n[admin]\nsecret = hush\nread = all\n"
    "#include manager_additional.conf\n#include manager_custom.conf\n"
)
SHIPPED = Path(__file__).parents[3] / "deploy" / "manager.d" / "pbx-meter.conf"


def written(text: str, **others: str) -> Written:
    files = {account.CONF: text} | {name.replace("__", "/") + ".conf": said for name, said in others.items()}
    return read(account.CONF, lambda name: [(name, files[name])] if name in files else [])


@pytest.mark.parametrize(
    ("said", "release", "by_name"),
    [
        ("Asterisk 22.10.1~dfsg+~cs6", (22, 10), True),
        ("Asterisk 16.28.0~dfsg-0+deb11u4", (16, 28), False),
        ("Asterisk 18.25.0", (18, 25), False),
        ("Asterisk 18.26.0", (18, 26), True),
        ("Asterisk 19.8.1", (19, 8), False),
        ("Asterisk 20.10.0", (20, 10), False),
        ("Asterisk 20.11.0", (20, 11), True),
        ("Asterisk 21.6.0", (21, 6), True),
        ("Asterisk 22.0.0", (22, 0), False),
        ("Asterisk 22.1.0-rc1", (22, 1), True),
        ("Asterisk 23.0.0", (23, 0), True),
        ("Asterisk certified/18.9-cert5", None, False),
        ("Asterisk certified-20.7-cert3", None, False),
        ("Asterisk GIT-master-f36a736", None, False),
        ("", None, False),
    ],
)
def test_the_filter_is_the_one_that_this_release_knows(
    said: str, release: tuple[int, int] | None, by_name: bool
) -> None:
    """By name since 18.26, 20.11, 21.6, 22.1 and 23; every other release, and one that is unknown, by expression."""
    assert account.release_of(said) == release
    assert account.filters_by_name(release) is by_name
    text = account.account("meter", "s", "127.0.0.1", release)
    lines = [line for line in text.splitlines() if line.startswith("eventfilter")]
    assert len(lines) == len(account.EVENTS)
    assert all(line.startswith("eventfilter(action(include),name(") is by_name for line in lines)


def test_the_account_has_least_rights_and_is_for_this_machine_alone() -> None:
    """`read = call`, `write = reporting`, everybody else denied over IPv4 and IPv6."""
    made = account.account("meter", "a-secret", "127.0.0.1/255.255.255.255", (22, 10))
    (found,) = written(made).named("meter")

    assert (found.get("read"), found.get("write"), found.get("secret")) == ("call", "reporting", "a-secret")
    assert found.all("deny") == ["0.0.0.0/0.0.0.0", "::/0"]
    assert found.all("permit") == ["127.0.0.1/255.255.255.255"]
    assert account.serves(found, "a-secret")
    assert not account.serves(found, "another")


def test_a_semicolon_in_a_secret_begins_no_comment() -> None:
    """A secret that somebody made up reaches Asterisk whole."""
    (found,) = written(account.account("meter", "ab;cd;--ef", "127.0.0.1", None)).named("meter")

    assert account.serves(found, "ab;cd;--ef")


def test_a_file_of_ours_that_can_not_be_read_costs_asterisk_nothing_else() -> None:
    """Where it has to be named in manager.conf, that is done so that Asterisk goes on without it."""
    assert after("[general]\nenabled = yes\n")[account.CONF].endswith(f'\n#tryinclude "{account.OWN}"\n')


def test_the_file_to_be_copied_by_hand_says_the_same() -> None:
    """deploy/manager.d/pbx-meter.conf gives the same rights and the same filter as `init` does."""
    (by_hand,) = written(SHIPPED.read_text()).named("meter")
    (made,) = written(account.account("meter", "CHANGE-ME", "127.0.0.1/255.255.255.255", (22, 10))).named(
        "meter"
    )

    assert [(s.key, s.value) for s in by_hand.settings] == [(s.key, s.value) for s in made.settings]


def test_rights_beyond_the_least_serve_too_and_less_does_not() -> None:
    """An administrator who gives more is left alone; without call or reporting the account does not serve."""
    for read_, write, serves in [
        ("call,system", "reporting,system", True),
        ("all", "all", True),
        ("system", "reporting", False),
        ("call", "system", False),
        ("", "", False),
    ]:
        (found,) = written(f"[meter]\nsecret = s\nread = {read_}\nwrite = {write}\n").sections
        assert account.serves(found, "s") is serves, (read_, write)


@pytest.mark.parametrize(
    ("bindaddr", "host", "permit", "wide"),
    [
        ("bindaddr = 127.0.0.1", "127.0.0.1", "127.0.0.1/255.255.255.255", False),
        ("bindaddr = 127.0.5.1", "127.0.5.1", "127.0.0.1/255.255.255.255", False),
        ("bindaddr = 0.0.0.0", "127.0.0.1", "127.0.0.1/255.255.255.255", True),
        ("", "127.0.0.1", "127.0.0.1/255.255.255.255", True),
        ("bindaddr = 192.0.2.5", "192.0.2.5", "192.0.2.5/255.255.255.255", False),
        ("bindaddr = ::1", "::1", "::1/128", False),
        ("bindaddr = [::]", "127.0.0.1", "127.0.0.1/255.255.255.255", True),
    ],
)
def test_the_agent_goes_where_the_ami_listens(bindaddr: str, host: str, permit: str, wide: bool) -> None:
    """Loopback where it listens there, else its own address; the permit is where such a connection comes from."""
    door = account.door(written(f"[general]\nenabled = yes\nport = 5039\n{bindaddr}\n"))

    assert (door.host, door.permit, door.wide) == (host, permit, wide)
    assert (door.enabled, door.port) == (True, 5039)


def test_a_file_that_says_nothing_is_asterisks_default() -> None:
    """Without `enabled` the AMI is off, and its port is 5038."""
    door = account.door(written("[general]\nport = none\n"))

    assert (door.enabled, door.port) == (False, 5038)


def test_debian_and_freepbx_each_have_their_place() -> None:
    """Debian includes manager.d, FreePBX the administrator's own file; where nothing is included, ours is."""
    assert account.place(written(DEBIAN)) == "manager.d/pbx-meter.conf"
    assert account.place(written(FREEPBX)) == "manager_custom.conf"
    assert account.place(written("[general]\n")) == "manager.d/pbx-meter.conf"
    assert (
        account.place(written("[general]\n#include /etc/asterisk/manager.d/pbx-meter.conf\n")) == account.OWN
    )


def after(text: str, **others: str) -> dict[str, str]:
    """Return each file as it has to become."""
    found = written(text, **others)
    texts = {account.CONF: text} | {f"{name}.conf": said for name, said in others.items()}
    for file, change in account.opened(found, account.place(found)):
        texts[file] = change(texts[file])
    return texts


@pytest.mark.parametrize("text", [DEBIAN, FREEPBX])
def test_nothing_changes_where_all_is_well(text: str) -> None:
    """An AMI that answers and reads our file is left as it is."""
    assert after(text)[account.CONF] == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "; nothing\n[boss]\nsecret = s\n",
        "[general]\n[boss]\nsecret = s\n",
        "[general]\nenabled = no\nport = 5038\n[boss]\nsecret = s\n",
        "[general]\r\nenabled=no\r\nbindaddr = 192.0.2.5\r\n",
    ],
)
def test_an_ami_that_is_off_is_opened_on_this_machine_alone(text: str) -> None:
    """It is enabled, reads our file, listens where it was told to or on loopback, and keeps its accounts."""
    made = after(text)[account.CONF]
    again = written(made)
    (general,) = again.named("general")

    assert account.door(again).enabled
    assert general.get("bindaddr") == ("192.0.2.5" if "192.0.2.5" in text else "127.0.0.1")
    assert again.includes == [account.OWN]
    assert [s.name for s in again.sections if s.name == "boss"] == ["boss"] * text.count("[boss]")
    assert list(account.opened(again, account.OWN)) == []


def test_what_stands_in_another_file_is_mended_there() -> None:
    """Where an included file turns the AMI off, that line changes and no other."""
    text = '[general]\n#include general.conf\n#include "manager.d/*.conf"\n'

    made = after(text, general="port = 5038\nenabled = no ; for now\nbindaddr = 127.0.0.1\n")

    assert made == {account.CONF: text, "general.conf": "port = 5038\nenabled = yes\nbindaddr = 127.0.0.1\n"}
