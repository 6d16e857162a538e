from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from delivery.courier import Delivered, Outcome

#: What the couriers of these tests are given and must never show again.
USERNAME, PASSWORD, RECIPIENT, PATH, QUERY = (
    "us3r-name",
    "s3cret-pass",
    "noc@partner.example",
    "t0ken-path",
    "k3y-query",
)
SECRETS = [USERNAME, PASSWORD, RECIPIENT, PATH, QUERY]
SECRETS += [base64.b64encode(text.encode()).decode() for text in (USERNAME, PASSWORD)]
SECRETS += [base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()]

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def leaks_nothing() -> Callable[[Outcome], Outcome]:
    """Give the check that every courier's outcomes run through."""

    def check(outcome: Outcome) -> Outcome:
        shown = repr(outcome)
        for secret in SECRETS:
            assert secret not in shown
        if not isinstance(outcome, Delivered):
            assert outcome.why
            assert outcome.why.isprintable()
            assert len(outcome.why) < 400
        return outcome

    return check


@pytest.fixture
def listening() -> Callable[[Conversation], AbstractAsyncContextManager[int]]:
    """Give a way to listen on loopback with a conversation of one's own; all of it ends with the block."""

    @asynccontextmanager
    async def listen(conversation: Conversation) -> AsyncIterator[int]:
        writers = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                await conversation(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await server.wait_closed()

    return listen


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the path of a certificate for loopback, its key beside it; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("authority") / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_name("key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture(scope="session")
def server_tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    return context


@pytest.fixture(scope="session")
def client_tls(authority: Path) -> ssl.SSLContext:
    """Give the trust of somebody who configured the private authority."""
    return ssl.create_default_context(cafile=str(authority))
