"""The agent's account in Asterisk's Manager Interface: where it belongs, and what is written for it. Pure.

Debian's manager.conf includes `manager.d/*.conf` and is there to be added to. FreePBX writes
manager.conf itself and includes `manager_custom.conf`, which is the administrator's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from connectors.asterisk.written import Section, Written

CONF: Final = "manager.conf"
#: A file of our own.
OWN: Final = "manager.d/pbx-meter.conf"
#: FreePBX's, for what the administrator adds.
CUSTOM: Final = "manager_custom.conf"

#: The events that metering needs: about 9 for a call of two legs, instead of 25.
EVENTS: Final = ("Newchannel", "Newstate", "BridgeEnter", "Rename", "Hangup")
#: What the account needs, as manager.conf calls it.
READ: Final = "call"
WRITE: Final = "reporting"

#: Each branch's first release that filters by the event's name. Since 23 all do.
_BY_NAME: Final = {18: 26, 20: 11, 21: 6, 22: 1}

_ACCOUNT: Final = """\
; The account that pbx-meter watches Asterisk with, as `pbx-meter init asterisk` wrote it. It reads;
; it can't touch a call. Why each line: /usr/share/pbx-meter/manager.d/pbx-meter.conf
[{name}]
secret = {secret}
deny = 0.0.0.0/0.0.0.0
deny = ::/0
permit = {permit}
read = {read}
write = {write}
"""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the Manager Interface answers on this machine.

    Attributes:
        enabled: Whether it answers at all.
        host, port: Where.
        permit: From where the agent's connection comes, as an account's `permit` takes it.
        wide: It answers on every address of the machine.
    """

    enabled: bool
    host: str
    port: int
    permit: str
    wide: bool


def release_of(said: str) -> tuple[int, int] | None:
    """Return (22, 10) of `Asterisk 22.10.1~dfsg`.

    None: certified releases, which have branches of their own, and what is built from git don't tell.
    """
    found = re.search(r"Asterisk (\d{1,3})\.(\d{1,3})\b", said)
    return (int(found[1]), int(found[2])) if found and "cert" not in said else None


def filters_by_name(release: tuple[int, int] | None) -> bool:
    """Whether this release can filter events by name. Every release takes the older form."""
    if release is None:
        return False
    branch, minor = release
    return branch > max(_BY_NAME) or minor >= _BY_NAME.get(branch, 1_000)


def account(name: str, secret: str, permit: str, release: tuple[int, int] | None) -> str:
    """Return the account as it stands in a file of Asterisk's."""
    head = _ACCOUNT.format(
        name=name, secret=secret.replace(";", "\\;"), permit=permit, read=READ, write=WRITE
    )
    if filters_by_name(release):
        return head + "".join(f"eventfilter(action(include),name({event})) =\n" for event in EVENTS)
    # A regular expression over the whole event; "Hangup" lets HangupRequest through too.
    return head + "".join(f"eventfilter = Event: {event}\n" for event in EVENTS)


def door(written: Written) -> Door:
    """Return where the Manager Interface answers, as manager.conf says."""
    general = _general(written)
    bound = general.get("bindaddr").strip("[]") if general else ""
    try:
        address = ipaddress.ip_address(bound)
    except ValueError:  # none, or a name
        address = ipaddress.ip_address("127.0.0.1")
    wide = bound in ("", "0.0.0.0", "::")  # noqa: S104 -- what stands there is compared, nothing listens
    if address.is_unspecified or (address.version == 4 and address.is_loopback):  # noqa: PLR2004 -- IPv4
        # From any loopback address the kernel connects as 127.0.0.1.
        permit = "127.0.0.1/255.255.255.255"
    else:
        permit = f"{address}/{'255.255.255.255' if address.version == 4 else '128'}"  # noqa: PLR2004 -- IPv4
    port = general.get("port") if general else ""
    return Door(
        enabled=general is not None and general.is_on("enabled"),
        host="127.0.0.1" if address.is_unspecified else str(address),
        port=int(port) if port.isdecimal() else 5038,
        permit=permit,
        wide=wide,
    )


def place(written: Written) -> str:
    """Return the file that the account belongs into, from Asterisk's folder."""
    if not _included(written, OWN) and _included(written, CUSTOM):
        return CUSTOM
    return OWN


def held(written: Written, name: str) -> Section | None:
    """Return the account of that name that is there already; None: there is none."""
    return next(reversed(written.named(name)), None) if name != "general" else None


def serves(found: Section, secret: str) -> bool:
    """Whether an account that is there is all that the agent needs, with this secret."""
    return (
        found.get("secret") == secret
        and not {READ, "all"}.isdisjoint(found.all("read"))
        and not {WRITE, "all"}.isdisjoint(found.all("write"))
    )


def opened(written: Written, to: str | None) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Give what has to change so that the Manager Interface answers and reads the account: (file, change).

    A change takes the file's text and returns the new one. Nothing is given where nothing has to change.

    Args:
        written: What manager.conf says.
        to: The file that the account is written to; None: it stands somewhere already.
    """
    general = _general(written)
    if general is None:
        yield CONF, lambda text: text.rstrip("\n") + "\n\n[general]\nenabled = yes\nbindaddr = 127.0.0.1\n"
    elif not general.is_on("enabled"):
        off = general.last("enabled")
        # Who turned it off may have thought of the network: it answers on this machine alone.
        more = "enabled = yes" if general.get("bindaddr") else "enabled = yes\nbindaddr = 127.0.0.1"
        if off is None:
            heading = general.line
            yield general.file, lambda text: _with_line(text, heading, lambda line: f"{line}\n{more}")
        else:
            wrong = off.line
            yield off.file, lambda text: _with_line(text, wrong, lambda _: more)
    if to is not None and not _included(written, to):
        # `#include` of a file that can't be read costs Asterisk all of manager.conf, `#tryinclude` only that file.
        yield CONF, lambda text: text.rstrip("\n") + f'\n\n#tryinclude "{to}"\n'


def _general(written: Written) -> Section | None:
    return next(iter(written.named("general")), None)


def _included(written: Written, name: str) -> bool:
    return any(fnmatchcase(name, pattern) or pattern.endswith(f"/{name}") for pattern in written.includes)


def _with_line(text: str, number: int, change: Callable[[str], str]) -> str:
    """Return a text with one line (from 1) changed."""
    lines = text.splitlines(keepends=True)
    lines[number - 1] = change(lines[number - 1].rstrip("\r\n")) + "\n"
    return "".join(lines)
