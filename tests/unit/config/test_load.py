"""config.load: a file becomes a Config, or every problem in it is told."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.load import load
from config.model import Brand, Config, Match, Section
from config.problems import ConfigError
from config.secret import Secret
from meter.model import Level

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "config"
EXAMPLE = HERE.parents[2] / "config" / "example.toml"
ENVIRON = {"AMI_SECRET": "made-up"}


def said_in(file: Path) -> list[str]:
    """What the comments at the head of a file say that it must say."""
    lines = file.read_text().split("\n\n")[0].splitlines()
    return [line.removeprefix("# ") for line in lines]


@pytest.mark.parametrize("file", sorted(FILES.glob("bad/*.toml")), ids=lambda file: file.stem)
def test_each_defect_is_told_with_place_and_next_step(file: Path) -> None:
    """A defect is refused in exactly the words at the head of its file: key, value, what, hint."""
    with pytest.raises(ConfigError) as refused:
        load(file, ENVIRON)

    said = [str(problem).removeprefix(f"{file}: ") for problem in refused.value.problems]
    assert [line.replace(f"{file.parent}/", "") for line in said] == said_in(file)
    assert all(problem.file == file and problem.hint for problem in refused.value.problems)


@pytest.mark.parametrize("file", sorted(FILES.glob("warned/*.toml")), ids=lambda file: file.stem)
def test_what_looks_unintended_loads_with_a_warning(file: Path) -> None:
    """What works and looks unintended is a warning in the words at the head of its file."""
    config = load(file, ENVIRON)

    assert [str(warning).removeprefix(f"{file}: ") for warning in config.warnings] == said_in(file)


def test_no_problem_shows_a_secret_or_a_number() -> None:
    """No refusal shows a password, a URL's password, or a telephone number."""
    for file in FILES.glob("bad/*.toml"):
        said = " ".join(said_in(file))
        assert "made" not in said
        assert "31205550100" not in said


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The configuration as the documentation shows it, with its secret beside it."""
    file = tmp_path / "config.toml"
    file.write_text((HERE / "documented.toml").read_text())
    secret = tmp_path / "ami-secret"
    secret.write_text("made-up\n")
    secret.chmod(0o600)
    return file


def test_the_documented_configuration_loads(written: Path) -> None:
    """The configuration of the documentation gives exactly the values that the agent relies on."""
    config = load(written, {})

    assert config.agent.id == "ams-01"
    assert config.agent.state_dir == Path("/var/lib/pbx-meter")
    assert config.agent.socket == Path("/var/lib/pbx-meter/agent.sock")
    assert config.agent.timezone == ZoneInfo("Europe/Amsterdam")
    assert (config.agent.period, config.agent.grace) == ("month", timedelta(minutes=10))
    (pbx,) = config.pbx
    assert (pbx.name, pbx.kind, pbx.host, pbx.port, pbx.tls) == ("pbx1", "asterisk", "127.0.0.1", 5038, False)
    assert pbx.secret == Secret("made-up")
    assert pbx.trunks == ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
    assert pbx.extensions
    assert pbx.extensions.fullmatch("101")
    assert not pbx.extensions.fullmatch("1011")
    assert (pbx.snapshot_every, pbx.extensions_every) == (timedelta(seconds=60), timedelta(hours=6))
    acme, globex = config.tenant
    assert (acme.name, acme.capacity, acme.packages) == ("ACME B.V.", 16, (4, 8, 16, 24, 32, 48))
    assert (acme.basis, acme.language, acme.alerts) == (Level.CHANNELS, "nl", ("noc@partner.example",))
    assert (acme.warn_at, acme.repeat, acme.webhooks) == (90, timedelta(hours=4), None)
    assert (globex.name, globex.capacity, globex.language, globex.default) == ("globex", 8, "en", False)
    assert globex.match.trunks == ("PJSIP/trunk-kpn2",)
    assert config.smtp
    assert (config.smtp.port, config.smtp.tls, config.smtp.password) == (2525, "none", None)
    assert config.upstream
    assert (config.upstream.url, config.upstream.interim) == ("http://127.0.0.1:8480", timedelta(hours=1))
    assert config.warnings == ()


def test_the_example_loads(tmp_path: Path) -> None:
    """The example can be put in place as it is and has nothing to warn of."""
    (tmp_path / "config.toml").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "ami-secret").write_text("made-up")
    (tmp_path / "ami-secret").chmod(0o640)

    assert load(tmp_path / "config.toml", {}).warnings == ()


def test_the_example_with_every_comment_taken_away_loads(tmp_path: Path) -> None:
    """Each commented line of the example can be used by taking away its mark."""
    (tmp_path / "ca.pem").write_bytes((Path(__file__).parents[2] / "config/authority.pem").read_bytes())
    # A second `match` can't stand beside the first one.
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#match")]
    text = "\n".join(re.sub(r"^#(?=[a-z_]+ =|\[)", "", line) for line in lines)
    # The defaults are plain TCP, which a private CA has no use for.
    text = text.replace("tls = false", "tls = true").replace('tls = "none"', 'tls = "tls"')
    (tmp_path / "config.toml").write_text(text)
    for secret in ("ami-secret", "smtp-password", "3cx-key"):
        (tmp_path / secret).write_text("made-up")
        (tmp_path / secret).chmod(0o600)

    config = load(tmp_path / "config.toml", {})

    assert config.smtp
    assert config.smtp.password
    assert config.upstream
    assert (len(config.webhook), len(config.brand)) == (1, 1)


def section_models(model: type[Section] = Config) -> set[type[Section]]:
    """Every section that a configuration can have."""
    return {
        Match,
        Brand,
        *(type_ for field in model.model_fields.values() for type_ in _sections_in(field.annotation)),
    }


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [found for part in getattr(annotation, "__args__", ()) for found in _sections_in(part)]


def test_the_example_names_every_key() -> None:
    """No key is a secret of the code: the example names each, in force or commented."""
    text = EXAMPLE.read_text()
    keys = {name for model in section_models() for name in model.model_fields}

    assert len(keys) > 40
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}(_file)? =", text)] == []


def test_every_field_has_a_hint() -> None:
    """Whatever stands wrongly in a section, there is a sentence for it."""
    assert [
        (model.__name__, name)
        for model in section_models()
        for name, field in model.model_fields.items()
        if not field.description
    ] == []


def test_what_a_tenant_leaves_out_is_the_agents(tmp_path: Path) -> None:
    """A tenant without time zone or period has the agent's; one that names them has its own."""
    file = tmp_path / "config.toml"
    text = (HERE / "documented.toml").read_text().replace('id = "ams-01"', 'id = "ams-01"\nperiod = "day"')
    text = text.replace('id = "globex"', 'id = "globex"\ntimezone = "Europe/Rome"\nperiod = "hour"')
    file.write_text(text.replace('secret_file = "ami-secret"', 'secret_env = "AMI_SECRET"'))

    acme, globex = load(file, ENVIRON).tenant

    assert (acme.timezone, acme.period) == (ZoneInfo("Europe/Amsterdam"), "day")
    assert (globex.timezone, globex.period) == (ZoneInfo("Europe/Rome"), "hour")


def test_relative_paths_start_at_the_file(written: Path) -> None:
    """Where the agent was started does not change which files it uses."""
    written.write_text(written.read_text().replace('"/var/lib/pbx-meter"', '"state"'))

    assert load(written, {}).agent.socket == written.parent / "state" / "agent.sock"


def test_mail_to_another_host_is_encrypted_unless_said_otherwise(written: Path) -> None:
    """A mail server elsewhere gets STARTTLS on 587, one on this machine neither."""
    text = written.read_text().replace("port = 2525\n", "")
    written.write_text(text)
    local = load(written, {}).smtp
    written.write_text(text.replace('[smtp]\nhost = "127.0.0.1"', '[smtp]\nhost = "mail.partner.example"'))
    remote = load(written, {}).smtp

    assert local
    assert remote
    assert (local.tls, local.port) == ("none", 25)
    assert (remote.tls, remote.port) == ("starttls", 587)


def test_a_configuration_never_changes(written: Path) -> None:
    """What was loaded can't be changed later by anybody."""
    config = load(written, {})

    with pytest.raises(ValidationError):
        config.agent.id = "other"  # type: ignore[misc]


def test_no_print_shows_secrets_numbers_or_webhooks(written: Path) -> None:
    """The text of a configuration has no secret, no telephone number, no webhook's URL."""
    text = written.read_text().replace('"^13[0-9]$"', '"^13[0-9]$", dids = ["+31205550100"]')
    hook = '[[webhook]]\nid = "noc"\nurl = "https://hooks.partner.example/token-of-the-hook"\n'
    written.write_text(text + hook)

    config = load(written, {})

    for shown in (repr(config), str(config)):
        assert "made-up" not in shown
        assert "31205550100" not in shown
        assert "token-of-the-hook" not in shown


def test_a_secret_in_an_open_file_is_a_warning(written: Path) -> None:
    """A secret that stands in a file which everybody may read works, and is warned of."""
    written.write_text(written.read_text().replace('secret_file = "ami-secret"', 'secret = "made-up"'))
    written.chmod(0o644)
    (warning,) = load(written, {}).warnings
    assert (warning.key, warning.hint) == ("pbx[0].secret", f"chmod 640 {written}")
    assert "made-up" not in str(warning)

    written.chmod(0o640)
    assert load(written, {}).warnings == ()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is a problem like any other, with a next step."""
    with pytest.raises(ConfigError, match="no such file; name it with --config"):
        load(tmp_path / "config.toml", {})


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    """A file in another encoding is named with the byte that is wrong."""
    (tmp_path / "config.toml").write_bytes(b'[agent]\nid = "caf\xe9"\n')
    with pytest.raises(ConfigError, match="byte 17 is not UTF-8"):
        load(tmp_path / "config.toml", {})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("PJSIP/kpn"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["trunks", "pbx", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
).filter(lambda value: value is not None)


def toml(value: Any) -> str:
    """A value as inline TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case dict():
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case None:
            return '""'
    return str(value)


places = sorted(
    (section, key, at)
    for section, tables in tomllib.loads((HERE / "documented.toml").read_text()).items()
    for at, table in enumerate(tables if isinstance(tables, list) else [tables])
    for key in table
)


@given(st.sampled_from(places), values)
@example(("tenant", "match", 0), {"trunks": {"x": "1"}})
def test_any_value_anywhere_loads_or_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, str, int], value: Any
) -> None:
    """Whatever stands at a key, the file loads or its problems are told: no other error comes out."""
    section, key, at = place
    tables = tomllib.loads((HERE / "documented.toml").read_text().replace("secret_file", "secret"))
    table = tables[section][at] if isinstance(tables[section], list) else tables[section]
    table[key.replace("secret_file", "secret")] = value
    text = "\n".join(f"{name} = {toml(table)}" for name, table in tables.items())
    file = tmp_path_factory.mktemp("any") / "config.toml"
    file.write_text(text)
    try:
        load(file, {})
    except ConfigError as exc:
        assert exc.problems  # noqa: PT017 -- loading is as good


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_file_loads_or_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    """Whatever a file holds, only its problems come out."""
    file = tmp_path_factory.mktemp("any") / "config.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load(file, {})
