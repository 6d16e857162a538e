"""`pbx-meter init` as it is typed: beside Asterisk's files and a simulated Asterisk, and a simulated 3CX."""

from __future__ import annotations

import asyncio
import secrets
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.clock import Clock
from config.load import load
from config.model import Asterisk
from connectors.asterisk.simulator import Account, SimulatedAsterisk
from connectors.threecx.simulator import ADMIN, SimulatedThreeCX
from meter.messages import Invitation
from provider.serving import serving
from tests.acceptance.around import Said

MANAGER = """\
[general]
enabled = yes
port = {port}
bindaddr = 127.0.0.1
[boss]
secret = a-secret-of-the-boss
read = all
write = all
#include "manager.d/*.conf"
"""
PJSIP = """\
[phone](!)
type = endpoint
[trunk](!)
type = endpoint
[trunk-kpn](trunk)
[trunk-kpn]
type = identify
endpoint = trunk-kpn
match = 192.0.2.1
[trunk-kpn2](trunk)
[trunk-kpn2]
type = registration
[door]
type = endpoint
[100](phone)
[139](phone)
"""


@dataclass
class Machine:
    """A PBX host: Asterisk's folder and the agent's, each under a temporary one."""

    asterisk: Path
    agent: Path

    @property
    def config(self) -> Path:
        return self.agent / "config.toml"

    @property
    def secret(self) -> Path:
        return self.agent / "secrets" / "ami-secret"

    def files(self) -> dict[str, bytes]:
        """Everything that is there now."""
        every = [*self.asterisk.rglob("*"), *self.agent.rglob("*")]
        return {str(path): path.read_bytes() for path in every if path.is_file()}

    async def init(self, *words: str, typed: str = "", more: Mapping[str, str] | None = None) -> Said:
        """Type `pbx-meter init …`, with answers on standard input."""
        argv = ["init", *words, "--config", str(self.config), "--state-dir", str(self.agent / "state")]
        env = {"COLUMNS": "200", **(more or {})}
        # In a thread: the PBX that it looks at lives in this one's loop.
        done = await asyncio.to_thread(CliRunner().invoke, main, argv, input=typed, env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    async def beside_asterisk(self, *words: str, typed: str = "") -> Said:
        # No program of Asterisk's is on this machine: its version stays unknown, nothing is reloaded.
        here = ("--asterisk-dir", str(self.asterisk), "--asterisk", str(self.agent / "no-asterisk"))
        return await self.init("asterisk", *here, *words, typed=typed)


@pytest.fixture
async def pbx() -> AsyncIterator[SimulatedAsterisk]:
    """An Asterisk that knows the account whose secret the test gives."""
    async with SimulatedAsterisk(Clock().now, accounts=()) as simulated:
        yield simulated


@pytest.fixture
def machine(tmp_path: Path, pbx: SimulatedAsterisk) -> Machine:
    (tmp_path / "asterisk" / "manager.d").mkdir(parents=True)
    (tmp_path / "asterisk" / "manager.conf").write_text(MANAGER.format(port=pbx.port))
    (tmp_path / "asterisk" / "pjsip.conf").write_text(PJSIP)
    (tmp_path / "agent").mkdir()
    return Machine(tmp_path / "asterisk", tmp_path / "agent")


def known(machine: Machine, pbx: SimulatedAsterisk, username: str = "meter") -> str:
    """Let the simulated Asterisk know an account whose secret the agent has already; return the secret."""
    secret = secrets.token_urlsafe(32)
    machine.secret.parent.mkdir(mode=0o700)
    machine.secret.touch(0o600)
    machine.secret.write_text(secret + "\n")
    pbx.accounts[username] = Account(username, secret)
    return secret


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_one_command_leads_to_an_agent_that_would_work(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """`init asterisk --yes` writes account and configuration, tried with `check`: trunks, extensions and users are there."""
    secret = known(machine, pbx)

    said = await machine.beside_asterisk(
        "--yes", "--id", "ams-01", "--tenant", "acme", "--timezone", "Europe/Rome"
    )

    assert said.code == 0, said.err
    config = load(machine.config)
    (found,) = config.pbx
    assert isinstance(found, Asterisk)
    assert found.trunks == ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
    assert found.extensions is not None
    assert found.extensions.pattern == "1[0-9]{2}"
    assert found.secret.reveal() == secret
    assert [(tenant.id, tenant.default) for tenant in config.tenant] == [("acme", True)]
    assert config.warnings == ()
    # A reload reads no new secret: systemd's copies are those of the start.
    assert "systemctl restart pbx-meter" in machine.config.read_text()
    assert "ok   pbx1: trunks: PJSIP/trunk-kpn, PJSIP/trunk-kpn2" in said.out
    assert "ok   pbx1: 40 users of acme" in said.out
    assert "neither     PJSIP/door" in said.out
    assert "pbx-meter run --config" in said.out
    made = (machine.asterisk / "manager.d" / "pbx-meter.conf").read_text()
    assert f"secret = {secret}\n" in made
    # Its release is unknown, so the filter is the one that every release takes.
    assert "eventfilter = Event: Newchannel\n" in made
    assert (mode(machine.config), mode(machine.secret)) == (0o640, 0o600)
    assert secret not in said.out + said.err
    assert "a-secret-of-the-boss" not in said.out + said.err


async def test_typed_again_it_changes_nothing(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """What is right stays as it is, down to the byte, whatever the second time is told."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes")).code == 0
    before = machine.files()

    said = await machine.beside_asterisk("--yes", "--id", "another", "--trunk", "PJSIP/other")

    assert said.code == 0, said.err
    assert machine.files() == before
    assert "All of it is there already." in said.out
    assert "manager reload" not in said.out


async def test_a_secret_that_was_lost_comes_back_from_the_account(machine: Machine) -> None:
    """Without the agent's own copy the account that this command wrote before gives it, and stays."""
    await machine.beside_asterisk("--yes")
    secret = machine.secret.read_text()
    assert len(secret) > 40
    machine.secret.unlink()

    await machine.beside_asterisk("--yes")

    assert machine.secret.read_text() == secret


async def test_an_ami_that_does_not_answer_is_said_and_all_is_written(machine: Machine) -> None:
    """Where Asterisk does not know the account yet, the files are there, the exit code is 1, and the next step is told."""
    said = await machine.beside_asterisk("--yes")

    assert said.code == 1
    assert "Once it runs: asterisk -rx 'manager reload'" in said.err
    assert "the agent would not work yet" in said.err
    assert load(machine.config).pbx
    assert machine.secret.read_text().strip() not in said.out + said.err


async def test_print_writes_nothing_and_shows_no_secret(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """`--print` gives the account with a placeholder, the configuration, and asks nobody."""
    before = machine.files()

    said = await machine.beside_asterisk("--print")

    assert said.code == 0, said.err
    assert machine.files() == before
    assert "secret = WRITE-A-SECRET-HERE" in said.out
    assert '"PJSIP/trunk-kpn",' in said.out
    assert pbx.received == []


@pytest.mark.parametrize("typed", ["", "\n\n\n\n\n\nn\n"], ids=["nobody there", "no"])
async def test_without_a_yes_nothing_is_touched(machine: Machine, typed: str) -> None:
    """Who does not agree, and who is not there, has every file as it was."""
    before = machine.files()

    said = await machine.beside_asterisk(typed=typed)

    assert said.code == 1
    assert "nothing was changed" in said.err
    assert machine.files() == before


async def test_what_is_typed_takes_the_place_of_what_is_proposed(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """Trunks, extensions, ids, time zone and the provider's invitation can be typed, from a pipe too."""
    known(machine, pbx)
    line = Invitation("http://127.0.0.1:9", "t" * 43, "s" * 22, "roma-1").line()

    said = await machine.beside_asterisk(
        typed=f"trunk-kpn, DAHDI/i*\n1[0-3][0-9]\nany\nacme\nEurope/Rome\n{line}\ny\n"
    )

    assert said.code == 0, said.err
    config = load(machine.config)
    assert config.pbx[0].trunks == ("PJSIP/trunk-kpn", "DAHDI/i*")
    assert config.agent.id == "roma-1"  # the invitation's: no other could enrol
    assert (config.tenant[0].id, str(config.agent.timezone)) == ("acme", "Europe/Rome")
    assert config.upstream is not None
    assert config.upstream.url == "http://127.0.0.1:9"
    assert "With a provider's invitation for the agent roma-1 and the tenant acme:" in said.out
    assert said.out.count("s" * 22) == 1  # where it was typed


async def test_what_can_not_stand_in_a_configuration_is_told_before_anything_is_written(
    machine: Machine,
) -> None:
    """A wrong id and a wrong expression are told at once, exit 78, and no file is there."""
    before = machine.files()

    said = await machine.beside_asterisk(
        "--yes", "--id", "Not An Id", "--extensions", "(", "--timezone", "Mars/Base"
    )

    assert said.code == 78
    assert {"agent.id", "pbx[0].extensions", "agent.timezone"} <= {
        line.split(": ")[1].split(" = ")[0] for line in said.err.splitlines()
    }
    assert machine.files() == before


async def test_a_configuration_that_is_there_is_added_to_and_kept(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """A second PBX and a provider are added below what somebody wrote, which stays word for word."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes")).code == 0
    written = machine.config.read_text() + "# mine\n"
    machine.config.write_text(written)

    async with SimulatedThreeCX(Clock().now) as cloud:
        said = await machine.init(
            "3cx", "--yes", "--url", cloud.url, "--client-id", ADMIN.client_id,
            "--provider", "https://meter.provider.example", more={"PBX_METER_3CX_KEY": ADMIN.secret},
        )  # fmt: skip

    assert said.code == 0, said.out + said.err
    assert machine.config.read_text().startswith(written)
    assert machine.config.with_name("config.toml~").read_text() == written
    config = load(machine.config)
    assert [pbx.name for pbx in config.pbx] == ["pbx1", "cloud"]
    assert config.upstream is not None
    assert "ok   cloud: 3CX" in said.out
    assert ADMIN.secret not in said.out + said.err


async def test_a_name_that_another_pbx_has_is_refused(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """A section of that name for another PBX, or of another kind, is not taken for this one; a new name is."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes")).code == 0
    before = machine.files()

    kind = await machine.init(
        "3cx", "--yes", "--name", "pbx1", "--url", "https://pbx.example", "--client-id", "1"
    )
    manager = machine.asterisk / "manager.conf"
    manager.write_text(MANAGER.format(port=1))
    place = await machine.beside_asterisk("--yes")
    manager.write_bytes(before[str(manager)])

    assert (kind.code, place.code) == (1, 1)
    assert "--name NAME" in kind.err
    assert "--name NAME" in place.err
    assert machine.files() == before


async def test_files_with_odd_bytes_are_read_and_kept(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """Latin-1 in Asterisk's files hides no trunk, and stays as it was in a file that changes."""
    known(machine, pbx)
    manager, pjsip = machine.asterisk / "manager.conf", machine.asterisk / "pjsip.conf"
    manager.write_bytes(
        b"; Zo\xeb\n" + MANAGER.format(port=pbx.port).replace("#include", ";include").encode()
    )
    pjsip.write_bytes(b"; Zo\xeb\n[caf\xe9]\ntype=endpoint\n" + PJSIP.encode())

    said = await machine.beside_asterisk("--yes")

    assert said.code == 0, said.err
    assert load(machine.config).pbx[0].trunks == ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
    assert manager.read_bytes().startswith(b"; Zo\xeb\n[general]")
    assert b'#tryinclude "manager.d/pbx-meter.conf"' in manager.read_bytes()


async def test_who_was_not_invited_yet_enrols_later(
    machine: Machine, pbx: SimulatedAsterisk, tmp_path: Path
) -> None:
    """The invitation that comes after `init` names the provider in the configuration too; typed again it changes nothing."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes", "--id", "ams-01", "--tenant", "acme")).code == 0
    before = machine.config.read_text()
    enrol = partial(asyncio.to_thread, CliRunner().invoke, main)
    (tmp_path / "books").mkdir()

    async with serving(tmp_path / "books") as receiver:
        line = (await receiver.invite("ams-01", ["acme"])).line()
        said = await enrol(["enrol", line, "--config", str(machine.config)])
        after = machine.config.read_text()
        again = await enrol(["enrol", line, "--config", str(machine.config)])

    assert (said.exit_code, again.exit_code) == (0, 0), said.output + again.output
    assert "enrolled as ams-01 for acme" in said.output
    assert after.startswith(before)
    assert machine.config.read_text() == after
    assert mode(machine.config) == 0o640
    upstream = load(machine.config).upstream
    assert upstream is not None
    assert upstream.url == receiver.url


async def test_an_invitation_over_plain_http_is_for_this_machine_only(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """An invitation that would show the token on its way is refused before anything is sent or written."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes", "--id", "ams-01")).code == 0
    before = machine.files()
    line = Invitation("http://192.0.2.1", "t" * 43, "s" * 22, "ams-01").line()

    said = await asyncio.to_thread(CliRunner().invoke, main, ["enrol", line, "--config", str(machine.config)])

    assert said.exit_code == 1
    assert "ask the provider for one with https://" in said.stderr
    assert machine.files() == before


async def test_an_account_of_somebody_else_is_left_alone(machine: Machine) -> None:
    """A name that is taken in another file is refused; with another name it goes on."""
    before = machine.files()

    refused = await machine.beside_asterisk("--yes", "--account", "boss")
    await machine.beside_asterisk("--yes", "--account", "counter")

    assert refused.code == 1
    assert "--account NAME" in refused.err
    assert "a-secret-of-the-boss" not in refused.out + refused.err
    assert machine.files().items() >= before.items()
    assert "[counter]" in (machine.asterisk / "manager.d" / "pbx-meter.conf").read_text()


async def test_freepbx_keeps_its_file_and_gets_ours_in_the_administrators(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """Where manager.conf is FreePBX's, the account is added to manager_custom.conf below what stands there."""
    known(machine, pbx)
    manager = machine.asterisk / "manager.conf"
    manager.write_text(MANAGER.format(port=pbx.port).replace('"manager.d/*.conf"', "manager_custom.conf"))
    generated, custom = manager.read_text(), machine.asterisk / "manager_custom.conf"
    custom.write_text("[theirs]\nsecret = hush\n")

    said = await machine.beside_asterisk("--yes")

    assert said.code == 0, said.err
    assert manager.read_text() == generated
    assert custom.read_text().startswith("[theirs]\nsecret = hush\n\n;")
    assert "[meter]\n" in custom.read_text()
    assert "hush" not in said.out
    assert list((machine.asterisk / "manager.d").iterdir()) == []


async def test_an_ami_that_is_off_is_opened_with_a_difference_shown(machine: Machine) -> None:
    """A change of manager.conf is shown as a difference before it is made, and the old file is kept beside."""
    manager = machine.asterisk / "manager.conf"
    manager.write_text("[general]\nenabled = no\n")

    said = await machine.beside_asterisk("--yes")

    assert "-enabled = no\n+enabled = yes\n+bindaddr = 127.0.0.1\n" in said.out
    assert '+#tryinclude "manager.d/pbx-meter.conf"' in said.out
    assert manager.with_name("manager.conf~").read_text() == "[general]\nenabled = no\n"


async def test_without_an_asterisk_it_says_where_it_looked(machine: Machine, tmp_path: Path) -> None:
    """No manager.conf: exit 1, the folder, and how to name another."""
    said = await machine.init("asterisk", "--yes", "--asterisk-dir", str(tmp_path / "nowhere"))

    assert said.code == 1
    assert "nowhere" in said.err
    assert "--asterisk-dir" in said.err


async def test_a_trunk_that_is_not_found_is_asked_for(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """Where nothing looks like a trunk, the exit code says that nothing would count, and the file where to write it."""
    known(machine, pbx)
    (machine.asterisk / "pjsip.conf").unlink()

    said = await machine.beside_asterisk("--yes")

    assert said.code == 1
    assert "--trunk" in said.err
    assert "trunks = []  # none was found" in machine.config.read_text()


# --- 3CX -----------------------------------------------------------------------------------------


@pytest.fixture
async def cloud() -> AsyncIterator[SimulatedThreeCX]:
    async with SimulatedThreeCX(Clock().now) as simulated:
        yield simulated


async def test_a_3cx_needs_url_client_and_key(machine: Machine, cloud: SimulatedThreeCX) -> None:
    """What the API's page shows is asked for, its clicks are told, the key goes into a file of its own."""
    said = await machine.init(
        "3cx", typed=f"{cloud.url}/\n{ADMIN.client_id}\n{ADMIN.secret}\nroma-1\nacme\nEurope/Rome\n\ny\n"
    )

    assert said.code == 0, said.out + said.err
    key = machine.agent / "secrets" / "3cx-key"
    assert key.read_text() == ADMIN.secret + "\n"
    assert mode(key) == 0o600
    assert "Integrations > API > Add" in said.out
    assert "ok   cloud: 3CX" in said.out
    assert load(machine.config).agent.id == "roma-1"
    assert said.out.count(ADMIN.secret) == 1  # where it was typed


async def test_a_new_key_takes_the_place_of_the_old_one(machine: Machine, cloud: SimulatedThreeCX) -> None:
    """A wrong key is told by `check`; typed again with another one, only the key's file changes."""
    wrong = await machine.init(
        "3cx", "--yes", "--url", cloud.url, "--client-id", ADMIN.client_id, "--key-file", "-", typed="wrong\n"
    )
    before = machine.config.read_text()
    right = await machine.init("3cx", "--yes", "--key-file", "-", typed=f"{ADMIN.secret}\n")

    assert wrong.code == 1
    assert "refuses the Client ID or its API key" in wrong.out
    assert right.code == 0, right.out + right.err
    assert machine.config.read_text() == before


@pytest.mark.parametrize("missing", ["--url", "--client-id", "--key-file"])
async def test_nobody_is_asked_with_yes(machine: Machine, missing: str) -> None:
    """An option that is missing is wrong usage, exit 2, and nothing is written."""
    given = {"--url": "https://pbx.example", "--client-id": "900", "--key-file": "-"}
    words = [word for option, value in given.items() if option != missing for word in (option, value)]
    before = machine.files()

    said = await machine.init("3cx", "--yes", *words, typed="key\n")

    assert said.code == 2
    assert f"{missing} is missing" in said.err
    assert machine.files() == before


async def test_a_3cx_is_printed_with_an_example(machine: Machine) -> None:
    """`--print` needs nothing and writes nothing."""
    before = machine.files()

    said = await machine.init("3cx", "--print")

    assert said.code == 0, said.err
    assert 'client_id = "900"' in said.out
    assert machine.files() == before


async def test_each_3cx_has_a_key_of_its_own(machine: Machine, cloud: SimulatedThreeCX) -> None:
    """The second one's key goes into a file named after it, and the first one's stays; so again with a new key."""
    words = ("3cx", "--yes", "--client-id", ADMIN.client_id, "--url")
    keys = machine.agent / "secrets"
    async with SimulatedThreeCX(Clock().now) as second:
        one = await machine.init(*words, cloud.url, more={"PBX_METER_3CX_KEY": ADMIN.secret})
        wrong = await machine.init(
            *words, second.url, "--name", "cloud2", more={"PBX_METER_3CX_KEY": "wrong"}
        )
        two = await machine.init(*words, second.url, more={"PBX_METER_3CX_KEY": ADMIN.secret})

    assert (one.code, wrong.code, two.code) == (0, 1, 0), two.out + two.err
    assert (keys / "3cx-key").read_text() == ADMIN.secret + "\n"
    assert sorted(file.name for file in keys.iterdir()) == ["3cx-key", "3cx-key-cloud2", "3cx-key-cloud2~"]
    assert [pbx.secret.reveal() for pbx in load(machine.config).pbx if pbx.secret] == [ADMIN.secret] * 2


async def test_an_asterisk_does_not_take_the_secret_of_another(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """Where a section for a PBX elsewhere names the usual file, this one's secret goes into another."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes")).code == 0
    secret = machine.secret.read_text()
    # The same text, for a machine elsewhere: the one beside us is a second PBX then.
    machine.config.write_text(machine.config.read_text().replace('host = "127.0.0.1"', 'host = "192.0.2.9"'))

    await machine.beside_asterisk("--yes", "--name", "pbx2", "--account", "counter")

    second = machine.secret.with_name("ami-secret-pbx2")
    assert machine.secret.read_text() == secret
    assert (
        f"[counter]\nsecret = {second.read_text()}"
        in (machine.asterisk / "manager.d" / "pbx-meter.conf").read_text()
    )
    assert [pbx.secret.reveal() + "\n" for pbx in load(machine.config).pbx if pbx.secret] == [
        secret,
        second.read_text(),
    ]


async def test_what_can_not_be_added_to_a_configuration_is_told_before_anything_is_written(
    machine: Machine, pbx: SimulatedAsterisk
) -> None:
    """A section that is wrong is told with its place, exit 78; what was wrong before and is no part of it, is not."""
    known(machine, pbx)
    assert (await machine.beside_asterisk("--yes")).code == 0
    machine.config.write_text(
        machine.config.read_text() + '[upstream]\nurl = "https://provider.example"\nca_file = "none.pem"\n'
    )
    before = machine.files()

    said = await machine.init(
        "3cx", "--yes", "--name", "Not A Name", "--url", "ftp://pbx.example", "--client-id", "900",
        more={"PBX_METER_3CX_KEY": "key"},
    )  # fmt: skip

    assert said.code == 78
    assert {"pbx[1].name", "pbx[1].url"} == {
        line.split(": ")[1].split(" = ")[0] for line in said.err.splitlines()
    }
    assert machine.files() == before


async def test_no_secret_that_stands_around_is_shown(machine: Machine, pbx: SimulatedAsterisk) -> None:
    """Neither another account's, however its key is written, nor a webhook's URL in the configuration."""
    manager = machine.asterisk / "manager.conf"
    text = MANAGER.format(port=pbx.port).replace('#include "manager.d/*.conf"\n', "")
    manager.write_text(text.replace("secret = a-secret", "Secret = a-secret"))
    said = await machine.beside_asterisk("--yes")
    webhook = '[[webhook]]\nid = "noc"\nurl = "https://hooks.partner.example/t0ken"\n'
    machine.config.write_text(machine.config.read_text() + webhook)

    more = await machine.init(
        "3cx",
        "--yes",
        "--url",
        "https://127.0.0.1:9",
        "--client-id",
        "900",
        more={"PBX_METER_3CX_KEY": "key"},
    )

    assert '+#tryinclude "manager.d/pbx-meter.conf"' in said.out
    assert "a-secret-of-the-boss" not in said.out + said.err
    assert '+kind = "3cx"' in more.out
    assert "t0ken" not in more.out + more.err
