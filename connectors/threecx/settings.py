"""What following a 3CX needs to know. Made from the configuration by whoever connects."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Access(StrEnum):
    """Which door of the 3CX is used."""

    XAPI = "xapi"  #: the Configuration API with a client of its own: Enterprise licence
    USER_LOGIN = "user_login"  #: the web client's login as a System Owner or Admin without 2FA: every edition
    CDR = "cdr"  #: call records only, after each call: every edition


@dataclass(frozen=True, slots=True)
class Cdr:
    """Where the 3CX's CDR output arrives: on a port that we open ("active socket"), or in a file.

    Attributes:
        host, port: Where we listen; port None: we don't.
        peer: The one address that may connect.
        file: The file that the 3CX writes; None: there is none.
        utc: Whether its times are UTC; else the machine's own time zone.
        fields: The columns and their order, as chosen in the Admin Console; (): the usual order.
        grace_s: How long the 3CX may be away, or the file, before the link counts as lost.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    peer: str = "127.0.0.1"
    file: Path | None = None
    utc: bool = True
    fields: tuple[str, ...] = ()
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach one 3CX, and how patient to be with it.

    The bounds of the intervals are the configuration's to hold, so that tests may be quick.

    Attributes:
        url: `https://host[:port]` of the 3CX, without a path; "" with access `cdr`.
        access: Which door is used.
        username, secret: Client ID and API key; with `user_login` the user's number and password.
        tls: How certificates are checked; None: as the system does.
        fingerprint: SHA-256 of the one certificate that is taken, instead of a check by an authority.
        poll_s: How often the active calls are asked for.
        bridges: Whether calls over bridges to other 3CX systems count as external.
        cdr: Where its CDR output arrives, if it does.
        trunks_every_s: How often trunks, departments and users are looked up again for classifying calls.
        log_every_s: How often the call log is read.
        answer_timeout_s: For each complete answer.
    """

    url: str = ""
    access: Access = Access.XAPI
    username: str = ""
    secret: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    fingerprint: bytes | None = None
    poll_s: float = 2.0
    bridges: bool = False
    cdr: Cdr | None = None
    trunks_every_s: float = 600.0
    log_every_s: float = 3600.0
    answer_timeout_s: float = 10.0
