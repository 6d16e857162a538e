"""Everything around the agent, on loopback and in one folder: two simulated PBXs, a mailbox, the provider.

The agent is the real one under the configuration that the README shows, enrolled as
an operator would enrol it. Its clock runs a little ahead, so that one of its periods
closes while somebody watches; the provider reads the same clock.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from agent import keys, upstream
from agent.clock import Clock
from agent.store import ledger
from agent.store.database import Store
from config.load import load
from config.model import Config
from connectors.asterisk.simulator import EXTENSIONS, LEAST, TRUNKS, SimulatedAsterisk
from connectors.threecx.simulator import OWNER, SimulatedThreeCX
from delivery import http
from meter.model import Instant
from meter.signature import PublicKey
from provider.serving import Serving, serving

AGENT: Final = "ams-01"
#: Who is on which PBX, as the configuration below says.
ON_ASTERISK: Final = "acme"
ON_3CX: Final = "globex"
#: The name of the 3CX there.
CLOUD: Final = "cloud"

_CONFIG: Final = """\
[agent]
id = "{agent}"
state_dir = "state"
timezone = "Europe/Amsterdam"
period = "5min"
grace = "1s"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
port = {ami}
username = "{account}"
secret_file = "ami-secret"
trunks = ["PJSIP/trunk-kpn"]
extensions = "^1[0-9]{{2}}$"

[[pbx]]
name = "cloud"
kind = "3cx"
url = "{threecx}"
client_id = "{client}"
secret_file = "3cx-key"
poll = "0.5s"

[[tenant]]
id = "acme"
name = "ACME B.V."
match = {{ pbx = "pbx1", trunks = ["PJSIP/trunk-kpn"], extensions = "^1[0-2][0-9]$" }}
capacity = 16
packages = [4, 8, 16, 24, 32, 48]
basis = "channels"
alerts = ["noc@partner.example"]
language = "nl"

[[tenant]]
id = "globex"
name = "Globex"
match = {{ trunks = ["3CX/*"], departments = ["*"] }}
capacity = 12

[[brand]]
id = "partner"
name = "Partner Telecom"

[smtp]
host = "127.0.0.1"
port = {smtp}
sender = "meter@partner.example"

[upstream]
url = "{url}"
interim = "5s"

[page]
enabled = false  # an agent that already runs on this machine may have that port
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that arrived: when, the message, and its bytes."""

    at: Instant
    message: EmailMessage
    raw: bytes = field(repr=False)

    @property
    def subject(self) -> str:
        """Its subject."""
        return str(self.message["Subject"])

    @property
    def over(self) -> bool:
        """Whether it tells of an overrun, not of a warning: the level and the capacity in its subject say."""
        level, capacity = map(int, re.findall(r"\d+", self.subject)[-2:])
        return level > capacity

    def body(self, kind: str) -> str:
        """Return one of its bodies, `plain` or `html`; "" if it has none."""
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())


@dataclass(slots=True)
class Mailbox:
    """Takes every mail and keeps it."""

    clock: Clock
    mails: list[Mail] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        content = envelope.content or b""
        raw = content.encode() if isinstance(content, str) else content
        message = message_from_bytes(raw, policy=policy.default)
        self.mails.append(Mail(self.clock.now(), message, raw))
        return "250 2.0.0 OK"


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands around the agent.

    Attributes:
        clock: Everybody's.
        asterisk, threecx: The simulated PBXs, which also keep the truth.
        box: The mailbox.
        receiver: The provider.
        config: The agent's configuration.
        key: The agent's public key.
        receiver_key: The provider's, as the agent pinned it.
    """

    clock: Clock
    asterisk: SimulatedAsterisk
    threecx: SimulatedThreeCX
    box: Mailbox
    receiver: Serving
    config: Config
    key: PublicKey
    receiver_key: PublicKey


@asynccontextmanager
async def stage(folder: Path, clock: Clock) -> AsyncIterator[Stage]:
    """Set everything up; all of it ends with the block.

    Raises:
        RuntimeError: The provider does not enrol the agent.
    """
    books = folder / "provider"
    books.mkdir()
    async with (
        SimulatedAsterisk(clock.now, trunks=TRUNKS[:1], extensions=EXTENSIONS[:30]) as asterisk,
        SimulatedThreeCX(clock.now, clients=(OWNER,)) as threecx,
        _mailbox(clock) as (box, smtp),
        serving(books, now=clock.wall) as receiver,
    ):
        file = folder / "config.toml"
        file.write_text(
            _CONFIG.format(
                agent=AGENT,
                ami=asterisk.port,
                account=LEAST.username,
                threecx=threecx.url,
                client=OWNER.client_id,
                smtp=smtp,
                url=receiver.url,
            )
        )
        _keep_secret(folder / "ami-secret", LEAST.secret)
        _keep_secret(folder / "3cx-key", OWNER.secret)
        config = load(file)
        config.agent.state_dir.mkdir(mode=0o700)
        key = keys.load_or_make(config.agent.state_dir)
        pinned = await _enrol(config, receiver, clock)
        yield Stage(clock, asterisk, threecx, box, receiver, config, key.public, pinned)


def _keep_secret(file: Path, secret: str) -> None:
    """Write a secret into a file that nobody else can read."""
    file.touch(mode=0o600)
    file.write_text(secret)


@asynccontextmanager
async def _mailbox(clock: Clock) -> AsyncIterator[tuple[Mailbox, int]]:
    loop = asyncio.get_running_loop()
    box = Mailbox(clock)
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, hostname="mail.partner.example"), "127.0.0.1", 0
    )
    async with server:
        yield box, server.sockets[0].getsockname()[1]


async def _enrol(config: Config, receiver: Serving, clock: Clock) -> PublicKey:
    """Do what `pbx-meter enrol` does, and return the receiver's key."""
    invitation = await receiver.invite(AGENT, [tenant.id for tenant in config.tenant])
    async with http.open_session() as session:
        key = keys.load(config.agent.state_dir)
        found = await upstream.enrol(session, invitation, key, now=clock.wall)
    if isinstance(found, upstream.Judged):
        raise RuntimeError(found.why)  # noqa: TRY004 - an answer, not a wrong type
    pinned, _ = found
    store = Store(config.agent.state_dir)
    await store.open()
    try:
        await store.write(lambda db: ledger.keep_fact(db, "receiver", pinned.json()))
    finally:
        await store.close()
    return pinned
