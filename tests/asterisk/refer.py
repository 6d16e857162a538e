"""An attended transfer as a phone makes it: one REFER that replaces its other dialog (RFC 3891, RFC 5589).

SIPp keeps each dialog to itself, so the REFER is sent for it, from another port of
the phone's address. AMI's own Atxfer is no way: it queues DTMF, and without media on
the channel Asterisk never gets to the second digit.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tests.asterisk import ami

_ANSWER_S: Final = 5.0


class NotTaken(Exception):  # noqa: N818 - the answer, not a fault of ours
    """Asterisk did not take the REFER; the sentence is its status line."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """One SIP dialog, as Asterisk names it."""

    call_id: str
    asterisks_tag: str
    phones_tag: str


async def dialog(session: ami.Session, channel: str) -> Dialog:
    """Return the dialog of a channel."""

    async def get(what: str) -> str:
        answer = await session.act("Getvar", Channel=channel, Variable=f"CHANNEL(pjsip,{what})")
        return answer[0]["Value"]

    return Dialog(await get("call-id"), await get("local_tag"), await get("remote_tag"))


def send(asterisk: tuple[str, int], phones: str, phone: str, kept: Dialog, replaced: Dialog) -> None:
    """Send a REFER in `kept` that makes its other side take the place of the phone in `replaced`.

    Raises:
        NotTaken: The answer is not 202.
        TimeoutError: There is none.
    """
    host, port = asterisk
    replaces = quote(
        f"{replaced.call_id};to-tag={replaced.asterisks_tag};from-tag={replaced.phones_tag}", safe=""
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind((phones, 0))
        link.settimeout(_ANSWER_S)
        here = f"{phones}:{link.getsockname()[1]}"
        lines = (
            f"REFER sip:{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK-refer-{kept.phones_tag}-{kept.call_id}",
            f"From: <sip:{phone}@{phones}>;tag={kept.phones_tag}",
            f"To: <sip:{host}>;tag={kept.asterisks_tag}",
            f"Call-ID: {kept.call_id}",
            "CSeq: 1 REFER",
            f"Contact: <sip:{phone}@{here}>",
            f"X-Ext: {phone}",
            f"Refer-To: <sip:{host}:{port}?Replaces={replaces}>",
            f"Referred-By: <sip:{phone}@{phones}>",
            "Max-Forwards: 70",
            "Content-Length: 0",
        )
        link.sendto("\r\n".join((*lines, "", "")).encode(), asterisk)
        status = link.recv(65_536).split(b"\r\n", 1)[0].decode()
    if " 202 " not in status:
        raise NotTaken(status)
