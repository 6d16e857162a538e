"""What is fuzzed: each target takes anything of one sort, and fails if what comes out is not what is documented."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import string
import tempfile
import tomllib
from pathlib import Path

from hypothesis import strategies as st

from config.load import load
from config.model import Config
from config.problems import ConfigError, Problem
from connectors.asterisk import parse
from connectors.asterisk.framing import Frames
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.exchange import Exchange
from connectors.errors import Garbled
from delivery import http
from meter import messages, signature
from meter.canonical import canonical_bytes
from meter.chain import examine
from meter.schema import Uncountable, place, validate
from meter.signature import Unverified

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
KEY = signature.private_key((GOLDEN / "key.json").read_text())
TOKENS = (GOLDEN / "chain.jws").read_text().split()
RECORDS = [json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("interim", "final", "correction", "minute-series")]  # fmt: skip
EXAMPLE = (ROOT / "config" / "example.toml").read_text()
TYPES = (signature.TYP_RECORD, signature.TYP_RECEIPT, signature.TYP_ENROLMENT, signature.TYP_POSITION)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["", "x" * 5000, "\x00"])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)  # fmt: skip


def mangled(data: st.DataObject, content: bytes) -> bytes:
    """Return bytes with a few places changed, dropped, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(changed)))
        match data.draw(st.sampled_from(["change", "drop", "double", "cut", "put"])):
            case "change":
                changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "drop":
                del changed[at : at + data.draw(st.integers(1, 40))]
            case "double":
                changed[at:at] = changed[at : at + data.draw(st.integers(1, 200))]
            case "cut":
                del changed[at:]
            case _:
                changed[at:at] = data.draw(st.binary(max_size=30))
    return bytes(changed)


def altered(data: st.DataObject, value: object) -> object:
    """Return a JSON value with something in its depth replaced, taken away or added."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        name = data.draw(st.sampled_from(sorted(value)))
        match data.draw(st.integers(0, 9)):
            case 0:
                return {k: v for k, v in value.items() if k != name}
            case 1:
                return value | {data.draw(st.text(max_size=9)): data.draw(values)}
            case _:
                return value | {name: altered(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], altered(data, value[at]), *value[at + 1 :]]
    return data.draw(values)


# --- what an Asterisk sends -----------------------------------------------------------------


def _said() -> bytes:
    said: list[bytes] = []
    exchange = Exchange(lambda: 1_795_286_668_000, lambda _kind, _name, message: said.append(message),
                        ("PJSIP/trunk-kpn",), ("PJSIP/101", "PJSIP/102"), noisy=True)  # fmt: skip
    for call in (
        calls.ring_in(exchange, "PJSIP/trunk-kpn", "PJSIP/101"),
        calls.ring_group(exchange, "PJSIP/trunk-kpn", ["PJSIP/101", "PJSIP/102"]),
        calls.forward(exchange, "PJSIP/trunk-kpn", "PJSIP/trunk-kpn"),
    ):
        call.answer()
        call.hang_up()
    return b"Asterisk Call Manager/11.0.0\r\n" + b"".join(said)


SAID = _said()


def framing(data: st.DataObject) -> None:
    """Bytes of an AMI stream, mangled, cut anywhere: messages, events or Garbled, the same however they were cut."""
    stream = mangled(data, SAID) if data.draw(st.booleans()) else data.draw(st.binary(max_size=600))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))

    def told(places: list[int]) -> list[bytes]:
        frames, found = Frames(parse.WANTED), []
        for start, end in zip([0, *places], [*places, len(stream)], strict=True):
            found += frames.feed(stream[start:end])
        return found

    messages_ = told(cuts)
    assert messages_ == told([])
    for message in messages_:
        with contextlib.suppress(Garbled):
            parse.event(message, 7)
        with contextlib.suppress(Garbled):
            parse.listed(parse.fields(message), 7)


# --- what an operator writes ----------------------------------------------------------------


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return str(value)


def config(data: st.DataObject) -> None:
    """Any text, and any TOML with the names that are known: a Config, or ConfigError with every problem in one line each."""
    match data.draw(st.integers(0, 2)):
        case 0:
            content = mangled(data, EXAMPLE.encode())
        case 1:
            content = data.draw(st.binary(max_size=300))
        case _:
            table = altered(data, tomllib.loads(EXAMPLE))
            table = table if isinstance(table, dict) else {"agent": table}
            content = "\n".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in table.items()).encode("utf-8", "replace")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "meter.toml"
        file.write_bytes(content)
        problems: tuple[Problem, ...] = ()
        try:
            found = load(file, {})
        except ConfigError as error:
            found, problems = None, error.problems
    assert isinstance(found, Config) or problems
    for problem in problems:
        assert str(problem).isprintable(), [str(problem)]


# --- what claims to be a record --------------------------------------------------------------


def record(data: st.DataObject) -> None:
    """Any payload is a record or Uncountable, any token verified or Unverified, any file a verdict; and a verdict is never good by chance."""
    said = altered(data, data.draw(st.sampled_from(RECORDS)))
    payload = json.dumps(said).encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        payload = mangled(data, canonical_bytes(data.draw(st.sampled_from(RECORDS)))) or b"{}"
    for read in (validate, place):
        with contextlib.suppress(Uncountable):
            read(payload)
    signed = signature.sign(payload, KEY, signature.TYP_RECORD)
    assert signature.verify(signed, [KEY.public], signature.TYP_RECORD) == payload
    token = data.draw(st.sampled_from([*TOKENS, signed]))
    bad = mangled(data, token.encode()).decode("utf-8", "replace")
    for typ in TYPES:
        with contextlib.suppress(Unverified):
            assert bad == token or signature.verify(bad, [KEY.public], typ) is None, (
                "a changed token verifies"
            )
    lines = data.draw(st.permutations([*TOKENS, bad, signed]))[: data.draw(st.integers(0, 9))]
    verdict = examine(lines, [KEY.public])
    assert verdict.lines
    if bad.strip() not in {"", token} and bad in lines:  # white space around a token is none of it
        assert not verdict.good


# --- what claims to be a message of the protocol ---------------------------------------------


def _line() -> str:
    return messages.Invitation("https://provider.example", KEY.public.thumbprint, "t" * 32, "ams-01").line()


def message(data: st.DataObject) -> None:
    """Invitations, receipts, enrolments, bearers and answers of any content are read, or Unverified; headers of time are seconds or None."""
    line = mangled(data, _line().encode()).decode("utf-8", "replace")
    with contextlib.suppress(Unverified):
        read = messages.read_invitation(line)
        assert messages.read_invitation(read.line()) == read
    shape = {"agent": "ams-01", "chain": "c-1", "id": "x", "sequence": 1, "sha256": "0" * 64, "status": "counted",
             "reason": None, "taken_at": "2026-11-12T09:31:07.000Z", "aud": "https://provider.example", "iat": 1,
             "exp": 2, "token": "t" * 32, "key": KEY.public.jwk, "tenants": ["acme"]}  # fmt: skip
    payload = json.dumps(altered(data, shape)).encode()
    payload = mangled(data, payload) if data.draw(st.booleans()) else payload
    for typ, reader in (
        (signature.TYP_RECEIPT, lambda t: messages.read_receipt(t, KEY.public)),
        (signature.TYP_ENROLMENT, messages.read_enrolment),
        (signature.TYP_RECEIPT, lambda t: messages.read_enrolled(t, KEY.public)),
        (signature.TYP_POSITION, lambda t: messages.check_bearer(
            t, [KEY.public], agent="ams-01", audience="https://provider.example", now=1)),
    ):  # fmt: skip
        token = signature.sign(payload, KEY, typ)
        for each in (token, mangled(data, token.encode()).decode("latin-1")):
            with contextlib.suppress(Unverified):
                reader(each)
    for jwk in (line, json.dumps(altered(data, KEY.public.jwk))):
        with contextlib.suppress(Unverified):
            signature.public_key(jwk)
    header = data.draw(st.text(max_size=40) | st.from_regex(r"\A[0-9]{1,20}\Z") | st.from_regex(
        r"\A[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9]{1,3}:[0-9]{2}:[0-9]{2} ([+-][0-9]{1,8}|GMT)\Z"))  # fmt: skip
    waits = http.retry_after_s(header, now=1_795_286_668_000)
    assert waits is None or waits >= 0
    http._instant(header)
    http.place(header)


# --- what a stranger sends to the provider ---------------------------------------------------

#: Beginnings, so that something gets past the first test now and then.
PATHS = ("/v1/agents", "/v1/summaries", "/v1/agents/AGENT/position", "/v1/agents/AGENT", "/", "*", "/%2e%2e", "/v1/agents/%41/position")  # fmt: skip


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _body(data: st.DataObject, typ: str) -> bytes:
    match data.draw(st.integers(0, 4)):
        case 0:
            return data.draw(st.binary(max_size=200))
        case 1:
            return mangled(data, data.draw(st.sampled_from(TOKENS)).encode())
        case 2:
            header = altered(data, {"alg": "EdDSA", "kid": KEY.public.thumbprint, "typ": typ})
            size = data.draw(st.sampled_from([0, 100, 9_000, 70_000, 1_100_000]))
            return f"{_segment(json.dumps(header).encode())}.{'A' * size}.{_segment(bytes(64))}".encode()
        case 3:
            return signature.sign(json.dumps(data.draw(values)).encode(), KEY, typ).encode()
        case _:
            return signature.sign(canonical_bytes(data.draw(st.sampled_from(RECORDS))), KEY, typ).encode()


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Give one request as bytes; the agent's name stands in it as AGENT."""
    data = draw(st.data())
    if not draw(st.integers(0, 9)):
        return draw(st.binary(max_size=400))
    path = draw(st.sampled_from(PATHS))
    method = draw(st.sampled_from(["POST", "GET", "PUT", "HEAD", "OPTIONS", "POST", "GET", "P\x00ST"]))
    typ = draw(st.sampled_from(TYPES))
    body = _body(data, typ)
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    if draw(st.booleans()):
        lines.append(f"Authorization: Bearer {_body(data, signature.TYP_POSITION)[:8000].decode('latin-1')}")
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.text(string.ascii_letters + "-", min_size=1, max_size=20))
        lines.append(f"{name}: {draw(st.text(string.printable, max_size=60))}")
    match draw(st.integers(0, 4)):
        case 0:
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:500], body[500:]) if part) + b"0\r\n"  # fmt: skip
        case 1:
            lines.append(f"Content-Length: {draw(st.integers(-2, 10**20))}")
        case 2:
            lines.append(f"Content-Encoding: {draw(st.sampled_from(['gzip', 'deflate', 'br', 'x']))}")
            lines.append(f"Content-Length: {len(body)}")
        case _:
            lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body
    return mangled(data, request) if draw(st.booleans()) else request


def cut(stream: bytes, seed: int) -> list[bytes]:
    """Return a stream in a few pieces, as the network may cut it."""
    chance = random.Random(seed)
    places = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(4)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


TARGETS = {"framing": framing, "config": config, "record": record, "message": message}
