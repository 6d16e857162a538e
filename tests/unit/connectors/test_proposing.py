"""What Asterisk's files propose: trunks, extensions, and what only the administrator knows."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.asterisk.cdr import Record
from connectors.asterisk.proposing import FILES, Found, Proposal, Role, carried_outside, expression, proposal
from connectors.asterisk.written import read


def proposed(
    text: str, file: str = "pjsip.conf", carried: frozenset[str] = frozenset(), release: int | None = 22
) -> Proposal:
    texts: Mapping[str, str] = dict.fromkeys(FILES, "") | {file: text}
    return proposal(
        {name: read(name, lambda name: [(name, texts[name])]) for name in FILES}, carried, release
    )


def roles(found: Proposal) -> dict[str, str]:
    every: tuple[Found, ...] = (*found.trunks, *found.phones, *found.neither)
    return {each.endpoint: each.role.value for each in every}


PHONE = "[{0}]\ntype=endpoint\naors={0}\nauth={0}\n[{0}]\ntype=auth\n[{0}]\ntype=aor\nmax_contacts=1\n"


@pytest.mark.parametrize(
    ("name", "more", "role"),
    [
        ("kpn", "[kpn]\ntype=registration\nserver_uri=sip:sip.example\n", "trunk"),  # FreePBX's custom: same name
        ("kpn", "[any]\ntype=registration\nline=yes\nendpoint=kpn\n", "trunk"),
        ("kpn", "[r]\ntype=registration\noutbound_auth=kpn-auth\n[kpn](+type=endpoint)\noutbound_auth=kpn-auth\n", "trunk"),
        ("kpn", "[i]\ntype=identify\nendpoint=kpn\nmatch=192.0.2.1\n", "trunk"),
        ("kpn", "[kpn](+)\noutbound_auth=kpn\naors=kpn\n[kpn]\ntype=aor\ncontact=sip:sip.example\n", "trunk"),
        ("3120555", "[i]\ntype=identify\nendpoint=3120555\nmatch=192.0.2.1\n", "trunk"),  # a trunk called by a number
        ("door", "[i]\ntype=identify\nendpoint=door\nmatch_header=X-Door: 1\n", "neither"),  # no address
        ("door", "[door]\ntype=aor\ncontact=sip:192.0.2.9\n", "neither"),
        ("101", "", "phone"),
        ("101", "[i]\ntype=identify\nendpoint=101\nmatch_header=X-Ext: 101\n", "phone"),
        ("anonymous", "", "neither"),
        ("other", "[r]\ntype=registration\nendpoint=kpn\n", "neither"),
    ],
)  # fmt: skip
def test_pjsip_tells_a_trunk_by_what_only_carriers_have(name: str, more: str, role: str) -> None:
    """A registration, an address to be recognised by, a login at a fixed address: a trunk. A bare number: a phone."""
    found = proposed(f"[{name}]\ntype=endpoint\n{more}")

    assert roles(found)[f"PJSIP/{name}"] == role


def test_what_registers_here_is_a_phone_if_it_is_called_by_a_number() -> None:
    """A phone of a fixed address stays a phone; what has a name and registers here may be another PBX: neither."""
    text = (
        PHONE.format("101") + PHONE.format("branch") + "[i]\ntype=identify\nendpoint=101\nmatch=192.0.2.7\n"
    )

    found = proposed(text)

    assert roles(found) == {"PJSIP/101": "phone", "PJSIP/branch": "neither"}
    assert found.neither[0].why == "registers here: a phone, or another PBX"


def test_call_records_tell_where_the_files_do_not() -> None:
    """An endpoint that nothing is known of is a trunk if a phone called outside over it; what registers here is not."""
    text = "[gsm]\ntype=endpoint\naors=gsm\n[gsm]\ntype=aor\ncontact=sip:192.0.2.9\n" + PHONE.format("alice")
    carried = frozenset({"PJSIP/gsm", "PJSIP/alice"})

    assert roles(proposed(text)) == {"PJSIP/gsm": "neither", "PJSIP/alice": "neither"}
    assert roles(proposed(text, carried=carried)) == {"PJSIP/gsm": "trunk", "PJSIP/alice": "neither"}


def record(channel: str, dialled: str, number: str) -> Record:
    return Record(channel, dialled, "", "", "", number, 0, None, 1000, "1.1", "1.1", outgoing=False)


def test_only_a_phone_that_dials_outside_proves_a_trunk() -> None:
    """An internal call proves nothing, nor does a DID that rings a phone, nor a call without a second leg."""
    records = [
        record("PJSIP/101-00000001", "PJSIP/gsm-00000002", "07700900001"),
        record("PJSIP/101-00000003", "PJSIP/102-00000004", "102"),
        record("PJSIP/kpn-00000005", "PJSIP/door-00000006", "01632960101"),
        record("PJSIP/101-00000007", "", "07700900001"),
        record("Local/101@x-00000008;2", "PJSIP/x-00000009", "07700900001"),
    ]

    assert carried_outside(records) == {"PJSIP/gsm"}


def test_the_wizard_says_it_in_words() -> None:
    """`sends_registrations` or `remote_hosts` make a trunk, the rest are phones by their numbers."""
    text = (
        "[t](!)\ntype=wizard\n[kpn](t)\nsends_registrations=yes\nremote_hosts=sip.example\n"
        "[peer](t)\nremote_hosts=192.0.2.1\n[101](t)\naccepts_registrations=yes\n[lobby](t)\naccepts_registrations=yes\n"
    )

    assert roles(proposed(text, "pjsip_wizard.conf")) == {
        "PJSIP/kpn": "trunk",
        "PJSIP/peer": "trunk",
        "PJSIP/101": "phone",
        "PJSIP/lobby": "neither",
    }


SIP = """\
[general]
register => user:hush:auth@sip.example:5060/0201
[kpn]
type=peer
host=sip.example
[fixed]
type=friend
host=192.0.2.3
[0201]
type=peer
host=sip.example
[101]
type=friend
host=dynamic
[lobby]
type=friend
host=dynamic
[in]
type=user
"""


def test_chan_sip_tells_by_host_and_only_while_it_exists() -> None:
    """A peer of a registration's host or of a fixed one is a trunk; from Asterisk 21 on nothing of it is read."""
    told = {
        "SIP/kpn": "trunk", "SIP/fixed": "trunk", "SIP/0201": "trunk", "SIP/101": "phone", "SIP/lobby": "neither",
    }  # fmt: skip

    assert roles(proposed(SIP, "sip.conf", release=16)) == told
    assert roles(proposed(SIP, "sip.conf", release=None)) == told
    assert roles(proposed(SIP, "sip.conf", release=21)) == {}


def test_iax_is_read_likewise_and_its_samples_are_not() -> None:
    """IAX2's channels are called IAX2/…, and peers of the sample file lead nowhere."""
    text = "[office2]\ntype=peer\nhost=192.0.2.4\n[demo]\ntype=peer\nhost=192.0.2.5\n[guest]\ntype=user\n"

    assert roles(proposed(text, "iax.conf")) == {"IAX2/office2": "trunk"}


def test_dahdi_takes_the_signalling_before_each_channel() -> None:
    """A span is a glob, since its channels are called by telephone numbers; analogue trunks one by one; phones none."""
    text = "[channels]\nsignalling=pri_cpe\nchannel => 1-15,17-31\nsignalling=fxs_ks\nchannel=>33-34,36\nsignalling=fxo_ks\nchannel=>37\n"

    found = proposed(text, "chan_dahdi.conf")

    assert [trunk.endpoint for trunk in found.trunks] == ["DAHDI/i*", "DAHDI/33", "DAHDI/34", "DAHDI/36"]
    assert roles(found).keys() == {trunk.endpoint for trunk in found.trunks}


def test_a_second_device_of_a_user_is_no_second_user() -> None:
    """FreePBX's 99101 is the browser of 101: it is an extension that is not billed; 99105 without a 105 is one."""
    found = proposed("".join(f"[{n}]\ntype=endpoint\n" for n in ("101", "102", "99101", "99102", "98101")))

    assert found.extensions == "1[0-9]{2}|9[0-9]{4}"
    assert found.exclude == "(?:98|99)[0-9]{3}"
    assert proposed("[101]\ntype=endpoint\n[99105]\ntype=endpoint\n").exclude is None


@pytest.mark.parametrize(
    ("numbers", "others", "short"),
    [
        (["101"], [], "1[0-9]{2}"),
        (["101", "139"], [], "1[0-9]{2}"),
        (["101", "201"], [], "[12][0-9]{2}"),
        (["101", "201", "301", "401"], [], "[1-4][0-9]{2}"),
        (["11", "101"], [], "1[0-9]|1[0-9]{2}"),
        (["101", "102"], ["199"], "(?:101|102)"),  # a trunk called 199 is no user
        (["101"], ["1999", "kpn"], "1[0-9]{2}"),
        ([], ["kpn"], None),
    ],
)
def test_an_expression_is_as_short_as_is_honest(
    numbers: list[str], others: list[str], short: str | None
) -> None:
    """It takes the length and the first digit, so that the next phone is a user too; never what is none."""
    assert expression(numbers, others) == short


@given(
    st.lists(st.text("0123456789", min_size=2, max_size=5), min_size=1),
    st.lists(st.text("0123456789", min_size=2, max_size=5)),
)
def test_an_expression_takes_all_that_it_shall_and_nothing_that_it_shall_not(
    numbers: list[str], others: list[str]
) -> None:
    """Every phone that was found is taken, and nothing else that was found."""
    others = [other for other in others if other not in numbers]
    rule = expression(numbers, others)

    assert rule is not None
    assert all(re.fullmatch(rule, number) for number in numbers)
    assert not any(re.fullmatch(rule, other) for other in others)


def test_an_endpoint_stands_in_one_place() -> None:
    """Where two files name one endpoint, the first tells."""
    texts = dict.fromkeys(FILES, "") | {
        "pjsip.conf": "[kpn]\ntype=endpoint\n[kpn]\ntype=registration\n",
        "pjsip_wizard.conf": "[kpn]\ntype=wizard\n",
    }
    found = proposal({name: read(name, lambda name: [(name, texts[name])]) for name in FILES})

    assert [(each.endpoint, each.role) for each in found.trunks] == [("PJSIP/kpn", Role.TRUNK)]
    assert found.neither == ()
