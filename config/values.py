"""The values that stand in a configuration: how each is read, and what is said of one that can't be.

Durations, addresses, files, trunks and the rest as annotated types for `config.model`. What
is wrong is said in the operator's words; `config.load` adds where it stands.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import ssl
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

Item = TypeVar("Item")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def wrong(what: str, hint: str) -> PydanticCustomError:
    """Return the error that says `what` is wrong with a value and what to do next."""
    return PydanticCustomError("operator", "{what}", {"what": what, "hint": hint})


def _duration(value: object) -> timedelta:
    """Read "30s", "10m", "4h", "35d"."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", value) if isinstance(value, str) else None
    if found is None:
        raise wrong("not a duration", 'write a whole number and a unit, in quotes: "30s", "10m", "4h", "35d"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _poll(value: object) -> timedelta:
    """Read "2s", "0.5s", "500ms"."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?)(ms|s)", value) if isinstance(value, str) else None
    if found is None:
        raise wrong("not an interval", 'write it in seconds, in quotes: "2s", "0.5s"')
    interval = timedelta(seconds=float(found[1]) / (1000 if found[2] == "ms" else 1))
    if not timedelta(seconds=0.5) <= interval <= timedelta(seconds=10):
        raise wrong("out of bounds", 'from "0.5s" to "10s"')
    return interval


def _fingerprint(text: str) -> str:
    """Return a certificate's SHA-256 as bare lowercase hex."""
    bare = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", bare):
        raise wrong("not a SHA-256 fingerprint", FINGERPRINT_SAYS)
    return bare


def _endpoint(text: str) -> str:
    """Return `host:port`, where somebody may listen."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535:  # noqa: PLR2004 -- TCP's bounds
        raise wrong("not an address and a port", 'write both, as in "127.0.0.1:5015"')
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise wrong("not an IP address", 'write the PBX\'s own, as in "192.0.2.10"') from None


def _expression(value: object) -> object:
    """Return what Python's `re` takes without a doubt: a warning says that its meaning will change."""
    if isinstance(value, str):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                re.compile(value)
            except FutureWarning as warning:
                raise wrong(
                    f"may mean something else one day ({warning})", "write \\ before that character"
                ) from None
            except re.error:
                pass  # pydantic says it
    return value


def _path(path: Path, info: ValidationInfo) -> Path:
    """Return the path; a relative one starts at the configuration's own folder."""
    if "\0" in str(path):
        raise wrong(
            "holds a null character, which no file name has", "write it again, without what can't be seen"
        )
    return Path((info.context or {}).get("folder", "")) / path


def _authority(path: Path) -> Path:
    """Return the file if TLS can use it."""
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        why = (
            "is not there"
            if isinstance(error, FileNotFoundError)
            else "holds no certificate that can be read"
        )
        raise wrong(f"{path.name} {why}", CA_SAYS) from None
    return path


def _url(url: str) -> str:
    """Return the URL if what goes there can't be read on the way."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL with a password in it would be shown", "take the user and the password out of it")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise wrong("plain http goes to this machine only", "write https://")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise wrong("not a URL", "write https://host/path")
    return url.rstrip("/")


def _trunk(name: str) -> str:
    if "/" not in name:
        raise wrong("a trunk is a full endpoint", f'write the technology too, as in "PJSIP/{name}"')
    return name


def unique(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items if none stands there twice."""
    if len(set(items)) < len(items):
        raise wrong("something stands here twice", "keep it once")
    return items


def ascending(packages: tuple[int, ...]) -> tuple[int, ...]:
    """Return the packages if each is larger than the one before."""
    if any(low >= high for low, high in itertools.pairwise(packages)):
        raise wrong("packages have to grow", "write the smallest first and each size once")
    return packages


# Slugs stand in record ids (`acme/2026-11/final/1`), URLs and file names.
Slug: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
#: One line without control characters: it goes into AMI, SMTP and mail headers.
Line: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]
Host: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:%-]+$")]
Port: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=65535)]
Bool: TypeAlias = Annotated[bool, Field(strict=True)]
Lines: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Expression: TypeAlias = Annotated[re.Pattern[str], BeforeValidator(_expression)]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_duration)]
File: TypeAlias = Annotated[Path, AfterValidator(_path)]
Authority: TypeAlias = Annotated[Path, AfterValidator(_path), AfterValidator(_authority)]
Poll: TypeAlias = Annotated[timedelta, BeforeValidator(_poll)]
Fingerprint: TypeAlias = Annotated[Line, AfterValidator(_fingerprint)]
Listen: TypeAlias = Annotated[Line, AfterValidator(_endpoint)]
IpAddress: TypeAlias = Annotated[Line, AfterValidator(_address)]
Url: TypeAlias = Annotated[Line, AfterValidator(_url)]
Address: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[!#-'*+\-./0-9=?A-Z^-~]+@[A-Za-z0-9.-]+$", max_length=254)
]
Trunk: TypeAlias = Annotated[Line, AfterValidator(_trunk)]
Trunks: TypeAlias = Annotated[tuple[Trunk, ...], AfterValidator(unique)]
Rules: TypeAlias = Annotated[tuple[Line, ...], AfterValidator(unique)]
PeriodName: TypeAlias = Literal["month", "day", "hour", "5min"]

TRUNKS_SAY: Final = 'a list of full endpoints or globs, as in ["PJSIP/kpn", "PJSIP/ziggo-*"]'
NUMBERS_SAY: Final = 'a regular expression over the whole bare number, as in "1[0-9]{2}"'
SLUG_SAYS: Final = "1 to 63 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit"
PERIOD_SAYS: Final = '"month", or for trials "day", "hour" or "5min"'
ZONE_SAYS: Final = 'an IANA time zone, as in "Europe/Amsterdam"'
CA_SAYS: Final = "the file with the private CA's certificate, in PEM"
FINGERPRINT_SAYS: Final = "the certificate's SHA-256: openssl x509 -noout -fingerprint -sha256"
DEPARTMENTS_SAY: Final = 'a list of names or numbers of 3CX departments, as in ["Sales", "GRP0001"]'
ADDRESS_SAYS: Final = 'a bare mail address, as in "noc@partner.example"'
