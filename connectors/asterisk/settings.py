"""What following an Asterisk needs to know. Made from the configuration by whoever connects."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach one Asterisk, and how patient to be with it.

    The bounds of the intervals (no list of channels more often than every 30 s)
    are the configuration's to hold, so that tests may be quick.

    Attributes:
        host, port: Where its Manager Interface listens.
        username, secret: The account of manager.conf.
        tls: How to speak TLS; None: plain TCP.
        snapshot_every_s: How often the levels are reconciled with a list of channels.
        ping_every_s: How often a ping is sent, so that a living PBX is always heard.
        silent_after_s: Nothing heard for so long means that the link is dead.
        connect_timeout_s: For the TCP connection, TLS and the greeting together.
        answer_timeout_s: For each complete answer.
    """

    host: str
    username: str
    secret: str = field(repr=False)
    port: int = 5038
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    snapshot_every_s: float = 60
    ping_every_s: float = 10
    silent_after_s: float = 25
    connect_timeout_s: float = 10
    answer_timeout_s: float = 15
