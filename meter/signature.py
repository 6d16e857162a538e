"""Signatures: bytes in, compact JWS out, and back. Ed25519 and nothing else.

Every signed thing of pbx-meter is a compact JWS (RFC 7515) whose header holds
`alg`, `kid` (the RFC 7638 thumbprint of the key) and a `typ` of its own sort, and
no other member: what is not there can't be used to confuse a reader (`crit`,
`b64`, `jwk`, `jku`). The signature covers the exact bytes.

`alg` is written as `EdDSA`, because every JOSE library reads that; readers also
take its successor `Ed25519` (RFC 9864). This is the only module of meter that
imports joserfc.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jwa, jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode

from meter.canonical import canonical_bytes, exact

#: What each sort of message calls itself. One sort is never taken for another.
TYP_RECORD: Final = "pbx-meter-record+jws"
TYP_ENROLMENT: Final = "pbx-meter-enrolment+jws"
TYP_ENROLMENT_PROOF: Final = "pbx-meter-enrolment-proof+jws"
TYP_POSITION: Final = "pbx-meter-position+jws"
TYP_RECEIPT: Final = "pbx-meter-receipt+jws"
TYP_KEY_PROOF: Final = "pbx-meter-key-proof+jws"

#: Nothing larger is looked at (spec/upstream.md: larger than 1 MiB).
MAX_JWS_BYTES: Final = 1024 * 1024
#: An honest header has about 110 characters.
MAX_HEADER_BYTES: Final = 512

_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
# An Ed25519 signature has 64 bytes, which base64url writes in 86 characters.
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
_JWK_MEMBERS: Final = ("kty", "crv", "x", "d")
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})


class Unverified(Exception):  # noqa: N818  # it says what is so, as the errors of connectors do
    """The bytes are not what they should be: form, algorithm, sort, key or signature.

    The message is one short sentence and quotes nothing of the bytes.
    """


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, by which others verify.

    Attributes:
        thumbprint: Its RFC 7638 name, 43 characters.
        raw: Its 32 bytes.
        jwk: As a JWK holds it: `kty`, `crv`, `x`.
    """

    thumbprint: str
    raw: bytes = field(repr=False)
    jwk: dict[str, str] = field(repr=False, compare=False)
    _key: OKPKey = field(repr=False, compare=False)

    def json(self) -> str:
        """Return the JWK as one line of JSON."""
        return canonical_bytes(self.jwk).decode()


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An Ed25519 private key. Its secret shows in `secret_json` and nowhere else."""

    public: PublicKey
    _key: OKPKey = field(repr=False, compare=False)

    def secret_json(self) -> str:
        """Return the private JWK as one line of JSON: for the key file alone."""
        return canonical_bytes(_members(self._key, private=True)).decode()


@dataclass(frozen=True, slots=True)
class Header:
    """What a JWS says of itself, before anything is proved."""

    alg: str
    kid: str
    typ: str


class _Registry(jws.JWSRegistry):
    # Our own table instead of joserfc's global one. Both names mean joserfc's strict
    # Ed25519: its own "EdDSA" would take Ed448 keys too, and warns that RFC 9864
    # deprecates the name. The default limit of a payload (128 kB) is below a record's.
    algorithms: dict[str, jwa.JWSAlgModel] = {  # noqa: RUF012  # joserfc declares it as a plain attribute
        name: alg for alg in jwa.JWS_ALGORITHMS if alg.name == "Ed25519" for name in ("EdDSA", "Ed25519")
    }
    max_header_length = MAX_HEADER_BYTES
    max_payload_length = MAX_JWS_BYTES


_REGISTRY: Final = _Registry(algorithms=("EdDSA", "Ed25519"))


def new_key() -> PrivateKey:
    """Make a key from the operating system's randomness."""
    return _private(OKPKey.generate_key("Ed25519"))


def private_key(text: str) -> PrivateKey:
    """Read a private JWK.

    Raises:
        Unverified: It is not the JWK of an Ed25519 private key, or its halves don't match.
    """
    members = _read_jwk(text)
    if "d" not in members:
        raise Unverified("this is a public key; a private one is needed")
    key = _private(_import(members))
    if key.public.jwk["x"] != members.get("x"):
        raise Unverified("the public half of the key does not belong to its private half")
    return key


def public_key(jwk: str | dict[str, Any]) -> PublicKey:
    """Read a public JWK, as JSON text or already parsed.

    Raises:
        Unverified: It is not the JWK of an Ed25519 public key; a private key is refused too,
            because it should be nowhere near.
    """
    members = _read_jwk(jwk) if isinstance(jwk, str) else jwk
    if "d" in members:
        raise Unverified("this is a private key: keep it where it is, and give the public one")
    return _public(_import(members))


def sign(payload: bytes, key: PrivateKey, typ: str) -> str:
    """Return the compact JWS of these exact bytes. The same bytes and key give the same JWS."""
    header = {"alg": "EdDSA", "kid": key.public.thumbprint, "typ": typ}
    return jws.serialize_compact(header, payload, key._key, registry=_REGISTRY)  # noqa: SLF001  # same module


def sign_bytes(message: bytes, key: PrivateKey) -> bytes:
    """Return the bare 64-byte signature of a message (Standard Webhooks `v1a`)."""
    signature: bytes = _REGISTRY.algorithms["Ed25519"].sign(message, key._key)  # noqa: SLF001  # same module
    return signature


def read_header(token: str, typ: str) -> Header:
    """Return the header of something that has the form of our JWS of this sort. Proves nothing.

    Raises:
        Unverified: Too large, not a compact JWS, another algorithm, another sort, no
            thumbprint as `kid`, or any other member in the header.
    """
    if len(token) > MAX_JWS_BYTES:
        raise Unverified("larger than 1 MiB")
    if not _COMPACT.fullmatch(token):
        raise Unverified("not a compact JWS with an Ed25519 signature")
    return header_of(token.partition(".")[0], typ)


def header_of(segment: str, typ: str) -> Header:
    """Read the first segment of a JWS alone, so that a receiver can refuse the rest unread.

    Raises:
        Unverified: As `read_header`.
    """
    if len(segment) > MAX_HEADER_BYTES:
        raise Unverified("not a JWS of this sort: its header is too long")
    try:
        header = exact(urlsafe_b64decode(segment.encode()))
    except ValueError:
        raise Unverified("not a JWS: its header is not JSON") from None
    if not isinstance(header, dict) or header.keys() != _HEADER_MEMBERS:
        raise Unverified("a JWS header other than alg, kid and typ")
    if header["alg"] not in ("EdDSA", "Ed25519"):
        raise Unverified("signed with another algorithm than Ed25519")
    if header["typ"] != typ:
        raise Unverified(f"another sort of message: a {typ} is needed")
    if not isinstance(header["kid"], str) or not _THUMBPRINT.fullmatch(header["kid"]):
        raise Unverified("its kid is not a key's thumbprint")
    return Header(**header)


def unverified_payload(token: str, typ: str) -> bytes:
    """Return the payload without any proof: only to find out by which key it must be verified.

    Raises:
        Unverified: As `read_header`, or its payload is not base64url.
    """
    read_header(token, typ)
    try:
        return urlsafe_b64decode(token.split(".")[1].encode())
    except ValueError:
        raise Unverified("not a JWS: its payload is not base64url") from None


def verify(token: str, keys: Iterable[PublicKey], typ: str) -> bytes:
    """Return the payload that the holder of one of these keys signed.

    An unknown key takes as long as a wrong signature: time tells nobody who is known.

    Args:
        token: The compact JWS.
        keys: The keys that may have signed it; its `kid` says which one did.
        typ: The sort of message it must be.

    Raises:
        Unverified: As `read_header`, or signed by none of these keys, or altered.
    """
    header = read_header(token, typ)
    key = next((key for key in keys if key.thumbprint == header.kid), None)
    try:
        payload = jws.deserialize_compact(token, (key or _DECOY)._key, registry=_REGISTRY).payload  # noqa: SLF001  # same module
    except (JoseError, ValueError):
        if key is not None:
            raise Unverified("the signature is wrong: the bytes are not those that were signed") from None
    else:
        if key is not None:
            return payload
    raise Unverified("signed by a key that is not known here")


def sha256_hex(token: str) -> str:
    """Return the lowercase hex SHA-256 over a compact JWS: its name in chains and receipts."""
    return hashlib.sha256(token.encode()).hexdigest()


def _read_jwk(text: str) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        raise Unverified("not a key: this is not JSON") from None
    if not isinstance(members, dict):
        raise Unverified("not a key: this is not a JWK")
    return members


def _import(members: dict[str, Any]) -> OKPKey:
    if members.get("kty") != "OKP" or members.get("crv") != "Ed25519":
        raise Unverified("not an Ed25519 key")
    parts: dict[str, str | list[str]] = {
        name: members[name] for name in _JWK_MEMBERS if isinstance(members.get(name), str)
    }
    try:
        key = OKPKey.import_key(parts)
        # Once more from the bare key: joserfc keeps the text that it was given.
        return OKPKey.import_key(key.raw_value)
    except (JoseError, ValueError, TypeError, KeyError):
        raise Unverified("not an Ed25519 key") from None


def _members(key: OKPKey, *, private: bool = False) -> dict[str, str]:
    return {name: str(value) for name, value in key.as_dict(private=private).items() if name in _JWK_MEMBERS}


def _public(key: OKPKey) -> PublicKey:
    jwk = _members(key)
    return PublicKey(key.thumbprint(), urlsafe_b64decode(jwk["x"].encode()), jwk, key)


def _private(key: OKPKey) -> PrivateKey:
    return PrivateKey(_public(OKPKey.import_key(key.public_key)), key)


#: Stands in for a key that is not known. The example of RFC 8037, appendix A.2: nothing is ever accepted by it.
_DECOY: Final = public_key(
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
)
