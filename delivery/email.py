"""The courier of mail: one complete message, one recipient, one SMTP conversation, one outcome.

- The parcel's body is the whole RFC 5322 message, Message-ID included, made when
  its row was written; what is sent again is the same mail, and is known as such.
- A mail counts as delivered when the server took it after DATA. What happens
  after that (a failed QUIT) changes nothing.
- A wrong password, an untrusted certificate, a refused sender are ours to mend
  and concern every mail: they are tried again slowly, and no mail is parked for them.
- What a server says may repeat addresses or what it was told: it is shown scrubbed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from ssl import SSLCertVerificationError, SSLContext, SSLError
from typing import Final

import aiosmtplib

from delivery.address import is_address
from delivery.courier import Delivered, Outcome, Parcel, Refused, TryAgain

#: The whole conversation.
TIMEOUT_S: Final = 60.0
#: How long to leave a server alone that our own configuration displeases: often asking locks accounts.
SLOWLY_S: Final = 900.0

_QUIT_TIMEOUT_S: Final = 2.0
_LONGEST_QUOTE: Final = 160
#: RFC 4954, section 6: authentication is missing, too weak or wrong, whatever it was said to.
_AUTHENTICATION: Final = frozenset({530, 534, 535, 538})


class Security(StrEnum):
    """How the conversation is kept private. Certificates are always checked."""

    NONE = "none"  #: not at all: for a server on the same machine
    STARTTLS = "starttls"  #: from STARTTLS on, or no mail
    TLS = "tls"  #: from the first byte


class Step(StrEnum):
    """Where in the conversation a server said no."""

    GREETING = "at the greeting"
    LOGIN = "at the login"
    SENDER = "the sender"
    RECIPIENT = "the recipient"
    MESSAGE = "the message"


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that takes our mail.

    Attributes:
        host, port: Where it listens.
        sender: The envelope's sender: bounces go there.
        security: How the conversation is kept private.
        username, password: For AUTH; None: no login.
        tls: Trust for a private authority; None: the system's.

    Raises:
        ValueError: The sender is not one plain address.
    """

    host: str
    port: int
    sender: str = field(repr=False)
    security: Security = Security.STARTTLS
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not is_address(self.sender):
            raise ValueError("the sender's address can't be used in SMTP: plain ASCII, one address")


def outcome(step: Step, code: int, said: str, *, server: str) -> Outcome:
    """Say what a server's no means.

    | where | 4xx | 5xx | else |
    |---|---|---|---|
    | greeting, login, sender | try again | try again slowly: it is about us, not about this mail | try again |
    | recipient, message | try again | refused | try again |
    | anywhere, 530 534 535 538 | | try again slowly: our login is missing or wrong | |

    Args:
        step: Where it said so.
        code: The SMTP code.
        said: Its words, scrubbed.
        server: Who, as it may be shown.
    """
    why = f"{server} refused {step.value}: {code} {said}".rstrip()
    if code in _AUTHENTICATION:
        return TryAgain(f"{why} (check username and password)", SLOWLY_S)
    if code not in range(500, 600):
        return TryAgain(why)
    if step in {Step.RECIPIENT, Step.MESSAGE}:
        return Refused(why, _HINTS[step])
    return TryAgain(f"{why} ({_HINTS[step]})", SLOWLY_S)


_HINTS: Final = {
    Step.GREETING: "the server does not take mail from this machine: ask whoever runs it, or check host, port and tls",
    Step.LOGIN: "check username and password",
    Step.SENDER: "check the sender's address, or ask whoever runs the server to allow it",
    Step.RECIPIENT: "check the address",
    Step.MESSAGE: "the server takes the address but not this mail: its words say why",
}


@dataclass(frozen=True, slots=True)
class MailCourier:
    """Carries parcels of the lane `mail`; a parcel's target is one address.

    Attributes:
        server: Who takes our mail.
        timeout_s: The bound of the whole conversation.
    """

    server: MailServer
    timeout_s: float = TIMEOUT_S

    async def carry(self, parcel: Parcel) -> Outcome:
        """Hand one mail to the server. The receipt is the server's last word, which names its queue entry."""
        if not is_address(parcel.target):
            return Refused("the recipient's address can't be used in SMTP", "use plain ASCII, one address")
        client = self._client()
        try:
            async with asyncio.timeout(self.timeout_s):
                await client.connect()
                _, last_word = await client.sendmail(self.server.sender, [parcel.target], parcel.body)
            # The mail is theirs now: a slow or failing goodbye must not send it again.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(_QUIT_TIMEOUT_S):
                    await client.quit()
            return Delivered(self._scrub(last_word).encode())
        except (aiosmtplib.SMTPException, OSError) as exc:
            return self._judge(exc)
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        server = self.server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            timeout=None,  # it would use asyncio.wait_for, which before Python 3.12 can lose a cancellation
            use_tls=server.security is Security.TLS,
            start_tls=server.security is Security.STARTTLS,
            tls_context=server.tls,
        )

    def _judge(self, exc: Exception) -> Outcome:
        """Turn the end of a conversation into an outcome."""
        server = f"{self.server.host}:{self.server.port}"
        if isinstance(exc, aiosmtplib.SMTPRecipientsRefused):
            exc = exc.recipients[0]  # one parcel has one recipient
        match exc:
            case aiosmtplib.SMTPResponseException():
                return outcome(_step(exc), exc.code, self._scrub(exc.message), server=server)
            case TimeoutError():
                return TryAgain(f"{server} did not answer in time")
            case aiosmtplib.SMTPServerDisconnected():
                return TryAgain(f"{server} cut the connection")
            case OSError():
                return TryAgain(f"{server} can't be reached{_because(exc.__cause__ or exc)}")
            case _:
                # No STARTTLS, no way to log in that both know: nothing was said, something is configured.
                return TryAgain(f"{server} can't be used: {self._scrub(str(exc))}", SLOWLY_S)

    def _scrub(self, said: str) -> str:
        """Return a server's words on one line, short, without addresses, long words and what only we know."""
        secrets = [self.server.password or "", self.server.username or ""]
        secrets += [base64.b64encode(secret.encode()).decode() for secret in secrets]
        for secret in filter(None, secrets):
            said = said.replace(secret, "…")
        said = "".join(char if char.isprintable() else " " for char in said)
        # Longer than a word is an address, a link, a token or an encoded login; six digits may be a number to call.
        said = re.sub(r"\S*@\S*|\S{30,}|\S*://\S*|\d{6,}", "…", said)
        return " ".join(said.split())[:_LONGEST_QUOTE]


def _step(exc: aiosmtplib.SMTPResponseException) -> Step:
    match exc:
        case aiosmtplib.SMTPAuthenticationError():
            return Step.LOGIN
        case aiosmtplib.SMTPSenderRefused():
            return Step.SENDER
        case aiosmtplib.SMTPRecipientRefused():
            return Step.RECIPIENT
        case aiosmtplib.SMTPDataError():
            return Step.MESSAGE
        case _:
            return Step.GREETING


def _because(cause: BaseException | None) -> str:
    """Say a network error's reason in the system's own words, which hold no address."""
    match cause:
        case SSLCertVerificationError():
            return f": its certificate is not trusted ({cause.verify_message})"
        case SSLError():
            return ": TLS failed (check port and tls)"
        case socket.gaierror():
            return ": its name does not resolve"
        case OSError(errno=int(number)) if number > 0:
            return f" ({os.strerror(number)})"
        case _:
            return ""


async def greet(server: MailServer, *, timeout_s: float = 10) -> str | None:
    """Greet a mail server and log in, sending nothing. Return why that fails, None if it works."""
    courier = MailCourier(server, timeout_s)
    client = courier._client()  # noqa: SLF001 - the same module
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect()
            await client.quit()
    except (aiosmtplib.SMTPException, OSError) as exc:
        judged = courier._judge(exc)  # noqa: SLF001 - the same module
        return judged.why if not isinstance(judged, Delivered) else None
    finally:
        client.close()
    return None
