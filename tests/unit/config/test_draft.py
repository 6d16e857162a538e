"""A first configuration: what `pbx-meter init` writes is what the agent loads."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import draft
from config.draft import Noted
from config.load import load
from config.model import Asterisk, Config, ThreeCX

LINE = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x7f"), min_size=1, max_size=20
)


def loaded(folder: Path, text: str, name: str = "secrets/ami-secret") -> Config:
    secret = folder / name
    secret.parent.mkdir(exist_ok=True)
    secret.touch(0o600)
    secret.write_text("made-up\n")
    file = folder / "config.toml"
    file.touch(0o640)
    file.write_text(text, "utf-8")
    return load(file)


def agent() -> str:
    return draft.agent(
        id_="ams-01", state_dir=Path("/var/lib/pbx-meter"), timezone="Europe/Rome", socket=None
    )


def asterisk(
    trunks: list[Noted],
    extensions: str | None = "1[0-9]{2}",
    username: str = "meter",
    product: str = "Asterisk",
) -> str:
    return draft.asterisk(
        name="pbx1",
        product=product,
        host="127.0.0.1",
        port=5039,
        username=username,
        secret_file="secrets/ami-secret",
        trunks=trunks,
        extensions=extensions,
        exclude="99[0-9]{3}",
        phones=18,
        neither=["PJSIP/door", "PJSIP/31205550100 registers here"],
    )


def test_an_asterisk_with_all_that_can_be_found_loads_without_a_warning(tmp_path: Path) -> None:
    """What was found is what is loaded; nothing in it looks unintended."""
    text = agent() + asterisk([Noted("PJSIP/kpn", "registers with its carrier"), Noted("DAHDI/i*")])
    config = loaded(tmp_path, text + draft.tenant("acme") + draft.upstream("https://meter.provider.example"))

    (pbx,) = config.pbx
    assert isinstance(pbx, Asterisk)
    assert (pbx.host, pbx.port, pbx.username) == ("127.0.0.1", 5039, "meter")
    assert pbx.trunks == ("PJSIP/kpn", "DAHDI/i*")
    assert pbx.extensions is not None
    assert pbx.extensions.pattern == "1[0-9]{2}"
    assert pbx.exclude is not None
    assert pbx.secret.reveal() == "made-up"
    assert (config.agent.id, str(config.agent.timezone)) == ("ams-01", "Europe/Rome")
    assert config.agent.socket == Path("/var/lib/pbx-meter/agent.sock")
    assert [(tenant.id, tenant.default, tenant.capacity) for tenant in config.tenant] == [
        ("acme", True, None)
    ]
    assert config.upstream is not None
    assert config.upstream.url == "https://meter.provider.example"
    assert config.warnings == ()
    assert "#   PJSIP/door" in text


def test_no_telephone_number_gets_into_a_comment() -> None:
    """An endpoint that is called by a telephone number and is not configured is shown without it."""
    assert "31205550100" not in asterisk([])
    assert "#   PJSIP/… registers here" in asterisk([])


def test_where_nothing_was_found_it_loads_and_says_so(tmp_path: Path) -> None:
    """Without trunks or phones the file is one that loads, and its warnings are those of every such file."""
    config = loaded(tmp_path, agent() + asterisk([], None) + draft.tenant("acme"))

    assert [warning.key for warning in config.warnings] == ["pbx[0].trunks", "pbx[0].extensions"]
    assert config.upstream is None


def test_a_3cx_loads(tmp_path: Path) -> None:
    """URL, client and key file are those that were given."""
    section = draft.threecx(
        name="cloud", url="https://pbx.example", client_id="900", secret_file="secrets/3cx-key"
    )
    config = loaded(tmp_path, agent() + section + draft.tenant("acme"), "secrets/3cx-key")

    (pbx,) = config.pbx
    assert isinstance(pbx, ThreeCX)
    assert (pbx.url, pbx.client_id, pbx.access) == ("https://pbx.example", "900", "xapi")
    assert config.warnings == ()


def test_the_package_puts_the_socket_where_its_service_has_it(tmp_path: Path) -> None:
    """A socket that is given is written."""
    socket = Path("/run/pbx-meter/agent.sock")
    head = draft.agent(id_="a", state_dir=Path("/s"), timezone="UTC", socket=socket)

    assert loaded(tmp_path, head + asterisk([]) + draft.tenant("t")).agent.socket == socket


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINE, LINE, st.text(max_size=40), st.text(max_size=40))
def test_whatever_asterisk_says_stays_one_value(
    tmp_path: Path, trunk: str, username: str, note: str, product: str
) -> None:
    """No name, note or version, whatever stands in it, becomes another key or breaks the file."""
    text = agent() + asterisk([Noted(f"PJSIP/{trunk}", note)], username=username, product=product)

    (pbx,) = loaded(tmp_path, text + draft.tenant("t")).pbx
    assert isinstance(pbx, Asterisk)
    assert pbx.trunks == (f"PJSIP/{trunk}",)
    assert pbx.username == username
