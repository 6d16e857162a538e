from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from delivery.courier import Delivered, Outcome, Parcel, Refused, TryAgain
from delivery.email import SLOWLY_S, MailCourier, MailServer, Security
from delivery.mail import Brand, notice_mail
from meter.model import Level
from meter.notices import Notice, NoticeKind, Reason

USERNAME, PASSWORD, RECIPIENT = "us3r-name", "s3cret-pass", "noc@partner.example"
BODY = b"From: m@x\r\nSubject: hi\r\nMessage-ID: <1@x>\r\n\r\n.\r\n.dots and lines\r\n"
PARCEL = Parcel("ams-01/acme/2026-11/notice/3", "mail", RECIPIENT, BODY)

Check = Callable[[Outcome], Outcome]
Listening = Callable[[Any], AbstractAsyncContextManager[int]]
Lines = dict[str, str]


@dataclass
class Mailbox:
    """A real SMTP server's opinions; without any it takes everything."""

    recipient: str = "250 2.1.5 OK"
    message: str = "250 2.0.0 OK: queued as 4F2A"
    sender: str = "250 2.1.0 OK"
    taken: list[Envelope] = field(default_factory=list)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _s: SMTP, _n: Session, envelope: Envelope, address: str, _o: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.sender

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _s: SMTP, _n: Session, envelope: Envelope, address: str, _o: list[str]
    ) -> str:
        if self.recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(self, _s: SMTP, _n: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.message.startswith("250"):
            self.taken.append(envelope)
        return self.message


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Give a function that starts aiosmtpd in this loop and returns its port."""
    loop = asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    sessions: list[SMTP] = []

    async def start(mailbox: Mailbox, *, implicit_tls: ssl.SSLContext | None = None, **options: Any) -> int:
        def protocol() -> SMTP:
            sessions.append(SMTP(mailbox, loop=loop, hostname="mx.example", **options))
            return sessions[-1]

        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=implicit_tls)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
    for session in sessions:
        if session.transport is not None:
            session.transport.close()
        if session._handler_coroutine is not None:
            await asyncio.wait([session._handler_coroutine], timeout=5)
    for server in servers:
        await server.wait_closed()


def courier(port: int, *, security: Security = Security.NONE, **fields: Any) -> MailCourier:
    timeout_s = fields.pop("timeout_s", 20)
    return MailCourier(MailServer("127.0.0.1", port, "meter@partner.example", security, **fields), timeout_s)


def script(lines: Lines, greeting: str = "220 mx.example") -> Callable[..., Awaitable[None]]:
    """Give a conversation that answers each verb with a line, `` cuts, and `...` says nothing more."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, data = greeting, False
        while answer:
            if answer == "...":
                while await reader.read(1000):
                    pass
                return
            writer.write(answer.encode() + b"\r\n")
            line = b"x"
            while line:
                line = await reader.readline()
                if not data or line == b".\r\n":
                    break
            if not line:
                return
            verb = "." if data else line[:4].decode().strip().upper()
            answer = lines.get(verb, {"DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 ok"))
            data = answer.startswith("354")

    return conversation


async def test_a_mail_arrives_byte_for_byte(
    serve: Callable[..., Awaitable[int]], leaks_nothing: Check
) -> None:
    """One recipient, our sender, the parcel's own bytes, dots and all; the receipt names the queue entry."""
    mailbox = Mailbox()
    end = leaks_nothing(await courier(await serve(mailbox)).carry(PARCEL))
    assert end == Delivered(b"2.0.0 OK: queued as 4F2A")
    [envelope] = mailbox.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == ("meter@partner.example", [RECIPIENT])
    assert envelope.content == BODY


async def test_a_notice_arrives_as_it_was_made(serve: Callable[..., Awaitable[int]]) -> None:
    """From notice to mailbox: sent twice, it is the same message with the same Message-ID and every accent."""
    at = 1_794_475_867_412
    notice = Notice(
        "ams-01/acme/2026-11/notice/1", NoticeKind.OVER, Reason.FIRST, "ams-01", "acme", "Caffè Größe B.V.",
        Level.CHANNELS, 17, 16, at, at, at, 17, "2026-11", 1_793_487_600_000, 1_796_079_600_000, "Europe/Amsterdam",
        17, at, 1, 0, 24, (16, 24), 90, incomplete=False,
    )  # fmt: skip
    made = notice_mail(
        notice, brand=Brand("Telefonía"), language="de", tz=ZoneInfo("Europe/Amsterdam"),
        sender="meter@partner.example", recipient=RECIPIENT,
    )  # fmt: skip
    mailbox = Mailbox()
    sent = courier(await serve(mailbox))
    for attempt in (1, 2):
        await sent.carry(Parcel(notice.id, "mail", RECIPIENT, made.as_bytes(), attempt))
    contents = [bytes(taken.original_content or b"") for taken in mailbox.taken]
    first, second = (email.message_from_bytes(content, policy=email.policy.default) for content in contents)
    assert first["Message-ID"] == second["Message-ID"] == made["Message-ID"]
    assert "Caffè Größe B.V. liegt über der Kapazität" in first["Subject"]
    html = first.get_body(("html",))
    assert html is not None
    assert "Caffè Größe B.V. liegt über der vereinbarten Kapazität" in html.get_content()
    assert contents == [made.as_bytes()] * 2


@pytest.mark.parametrize(
    ("opinion", "end"),
    [
        ({"recipient": "550 5.1.1 <noc@partner.example>: no such user"}, Refused),
        ({"recipient": "451 4.7.1 Greylisted, come back in 5 minutes"}, TryAgain),
        ({"recipient": "452 4.2.2 mailbox full"}, TryAgain),
        ({"recipient": "530 5.7.0 Authentication required"}, TryAgain),
        ({"message": "554 5.7.1 looks like spam"}, Refused),
        ({"message": "552 5.3.4 too large"}, Refused),
        ({"message": "451 4.3.0 queue file write error"}, TryAgain),
        ({"sender": "553 5.7.1 <meter@partner.example>: sender not allowed"}, TryAgain),
        ({"sender": "421 4.3.2 shutting down"}, TryAgain),
    ],
)
async def test_a_servers_opinion_has_its_outcome(
    serve: Callable[..., Awaitable[int]], leaks_nothing: Check, opinion: dict[str, Any], end: type[Outcome]
) -> None:
    """Only a permanent no to this recipient or this mail parks it; the words are passed on without addresses."""
    mailbox = Mailbox(**opinion)
    got = leaks_nothing(await courier(await serve(mailbox)).carry(PARCEL))
    assert isinstance(got, end)
    assert not isinstance(got, Delivered)
    [(_, line)] = opinion.items()
    assert line[:3] in got.why
    assert line.split()[-1] in got.why
    assert "@" not in got.why
    assert mailbox.taken == []


async def test_a_refused_recipient_parks_only_its_own_mail(serve: Callable[..., Awaitable[int]]) -> None:
    """Two recipients are two parcels: the second arrives whatever became of the first."""
    mailbox = Mailbox(recipient="550 5.1.1 unknown")
    sent = courier(await serve(mailbox))
    assert isinstance(await sent.carry(PARCEL), Refused)
    mailbox.recipient = "250 OK"
    assert isinstance(await sent.carry(Parcel("2", "mail", "boss@partner.example", BODY)), Delivered)


def login(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USERNAME.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=right, handled=False)


async def test_a_login_over_starttls(
    serve: Callable[..., Awaitable[int]],
    leaks_nothing: Check,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """With the private authority and the right password the mail arrives; with a wrong one it waits, slowly."""
    mailbox = Mailbox()
    port = await serve(
        mailbox, tls_context=server_tls, require_starttls=True, auth_required=True, authenticator=login
    )
    fields: dict[str, Any] = {"security": Security.STARTTLS, "username": USERNAME, "tls": client_tls}
    assert isinstance(
        leaks_nothing(await courier(port, password=PASSWORD, **fields).carry(PARCEL)), Delivered
    )
    end = leaks_nothing(await courier(port, password="s3cret-pass-wrong", **fields).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert end.not_before_s == SLOWLY_S
    assert "535" in end.why
    assert "username and password" in end.why
    assert len(mailbox.taken) == 1


async def test_a_login_that_is_missing_waits(
    serve: Callable[..., Awaitable[int]], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A server that wants a login says so at the sender; that is ours to mend."""
    port = await serve(Mailbox(), tls_context=server_tls, auth_required=True, authenticator=login)
    end = await courier(port, security=Security.STARTTLS, tls=client_tls).carry(PARCEL)
    assert isinstance(end, TryAgain)
    assert "530" in end.why
    assert end.not_before_s == SLOWLY_S


async def test_tls_from_the_first_byte(
    serve: Callable[..., Awaitable[int]],
    leaks_nothing: Check,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """Implicit TLS works with the configured trust and says why not without it."""
    mailbox = Mailbox()
    port = await serve(mailbox, implicit_tls=server_tls)
    assert isinstance(await courier(port, security=Security.TLS, tls=client_tls).carry(PARCEL), Delivered)
    end = leaks_nothing(await courier(port, security=Security.TLS).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert "certificate is not trusted (self-signed certificate" in end.why
    assert len(mailbox.taken) == 1


async def test_an_untrusted_certificate_under_starttls(
    serve: Callable[..., Awaitable[int]], leaks_nothing: Check, server_tls: ssl.SSLContext
) -> None:
    """The certificate is checked there too, before any login."""
    port = await serve(Mailbox(), tls_context=server_tls)
    end = leaks_nothing(
        await courier(port, security=Security.STARTTLS, username=USERNAME, password=PASSWORD).carry(PARCEL)
    )
    assert isinstance(end, TryAgain)
    assert "certificate is not trusted" in end.why


async def test_starttls_that_is_not_offered_is_not_done_without(
    serve: Callable[..., Awaitable[int]], leaks_nothing: Check
) -> None:
    """Where TLS is configured, nothing is sent in the clear."""
    mailbox = Mailbox()
    end = leaks_nothing(await courier(await serve(mailbox), security=Security.STARTTLS).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert "STARTTLS" in end.why
    assert end.not_before_s == SLOWLY_S
    assert mailbox.taken == []


async def test_a_server_that_is_down(listening: Listening, leaks_nothing: Check) -> None:
    """Nobody listens: tried again by the plan, in the system's words."""
    async with listening(script({})) as port:
        pass
    end = leaks_nothing(await courier(port).carry(PARCEL))
    assert end == TryAgain(f"127.0.0.1:{port} can't be reached (Connection refused)")


@pytest.mark.parametrize(
    "lines",
    [{"EHLO": "..."}, {"MAIL": "..."}, {"RCPT": "..."}, {"DATA": "..."}, {".": "..."}],
    ids=lambda lines: str(*lines),
)
async def test_a_server_that_stops_answering(
    listening: Listening, leaks_nothing: Check, lines: Lines
) -> None:
    """Wherever it falls silent, the attempt ends in time and the mail is tried again."""
    async with listening(script(lines)) as port, asyncio.timeout(5):
        end = leaks_nothing(await courier(port, timeout_s=0.3).carry(PARCEL))
    assert end == TryAgain(f"127.0.0.1:{port} did not answer in time")


async def test_a_server_that_answers_for_ever(listening: Listening, leaks_nothing: Check) -> None:
    """A byte now and then does not keep us: the whole conversation has a bound of its own."""

    async def dripping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"220-\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)  # the server's slowness is the point

    async with listening(dripping) as port, asyncio.timeout(5):
        end = leaks_nothing(await courier(port, timeout_s=0.3).carry(PARCEL))
    assert isinstance(end, TryAgain)


@pytest.mark.parametrize(
    "lines",
    [{"EHLO": ""}, {"MAIL": ""}, {"RCPT": ""}, {"DATA": ""}, {".": ""}],
    ids=lambda lines: str(*lines),
)
async def test_a_server_that_hangs_up(listening: Listening, leaks_nothing: Check, lines: Lines) -> None:
    """Wherever it cuts, in the middle of DATA too, the mail is tried again."""
    async with listening(script(lines)) as port:
        end = leaks_nothing(await courier(port).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert end.not_before_s is None


@pytest.mark.parametrize("goodbye", ["", "...", "500 what?"])
async def test_a_bad_goodbye_does_not_send_a_mail_twice(listening: Listening, goodbye: str) -> None:
    """What was taken after DATA is delivered, however the conversation ends."""
    async with listening(script({"QUIT": goodbye})) as port, asyncio.timeout(10):
        assert await courier(port).carry(PARCEL) == Delivered(b"ok")


@pytest.mark.parametrize(
    ("greeting", "slowly"),
    [
        ("554 5.7.1 no mail from you", True),
        ("421 too busy", False),
        ("999 what", False),
        ("\x00\xff", False),
        ("", False),
    ],
)
async def test_a_greeting_that_is_none(
    listening: Listening, leaks_nothing: Check, greeting: str, *, slowly: bool
) -> None:
    """A server that won't talk to us concerns every mail: none is parked for it."""
    async with listening(script({}, greeting)) as port:
        end = leaks_nothing(await courier(port).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert (end.not_before_s == SLOWLY_S) is slowly


async def test_a_server_that_repeats_what_it_hears_gives_nothing_away(
    listening: Listening, leaks_nothing: Check
) -> None:
    """Its words are shown without the login, addresses, numbers to call and control characters."""
    echo = f"550 call 0031201234567 about {USERNAME} {PASSWORD} <{RECIPIENT}> \x1b[31m https://x.example/t0ken-path no"
    lines = {"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": f"535 {USERNAME} {PASSWORD}", "RCPT": echo}
    async with listening(script(lines)) as port:
        end = leaks_nothing(await courier(port, username=USERNAME, password=PASSWORD).carry(PARCEL))
        assert isinstance(end, TryAgain)
    async with listening(script({**lines, "AUTH": "235 ok"})) as port:
        end = leaks_nothing(await courier(port, username=USERNAME, password=PASSWORD).carry(PARCEL))
        assert isinstance(end, Refused)
        assert end.why.endswith("550 call … about … … … [31m … no")


@pytest.mark.parametrize(
    "target", ["", "two@x, three@x", "noc@partner.example>\r\nDATA", "noç@partner.example"]
)
async def test_an_address_that_smtp_cannot_carry_never_leaves(
    serve: Callable[..., Awaitable[int]], leaks_nothing: Check, target: str
) -> None:
    """It is refused here, with a hint, and the server never hears of it."""
    end = leaks_nothing(await courier(await serve(Mailbox())).carry(Parcel("1", "mail", target, BODY)))
    assert isinstance(end, Refused)
    assert end.hint


async def test_stopping_in_the_middle_stops(listening: Listening) -> None:
    """Cancelling an attempt ends it at once and is not mistaken for an outcome."""
    heard = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()

    async with listening(silent) as port, asyncio.timeout(5):
        async with asyncio.TaskGroup() as group:
            attempt = group.create_task(courier(port).carry(PARCEL))
            await heard.wait()
            attempt.cancel()
        assert attempt.cancelled()
