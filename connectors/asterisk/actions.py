"""The actions that can ever be sent to Asterisk: a fixed list, all of them reading. Pure.

An AMI account that may list PJSIP endpoints (`write = system`) may also hang up and
reload, so the list here, not the account, is what keeps the agent out of a call's
way. Not on it, although they only read: `Status` writes to the socket while it
holds the lock of a live channel, `ExtensionStateList` holds the hints' lock, and
`Command` can do anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: Action -> the event that ends its list; None for an answer of one message.
ACTIONS: Final[dict[str, str | None]] = {
    "Login": None,
    "Logoff": None,
    "Ping": None,
    "CoreStatus": None,
    "CoreSettings": None,
    "ListCommands": None,  # names the actions that this account may send: the rights, without trying them
    "CoreShowChannels": "CoreShowChannelsComplete",
    "DeviceStateList": "DeviceStateListComplete",
    "SIPpeers": "PeerlistComplete",
    "IAXpeerlist": "PeerlistComplete",
    "PJSIPShowEndpoints": "EndpointListComplete",
    "PJSIPShowRegistrationsOutbound": "OutboundRegistrationDetailComplete",
}

#: How the messages begin that answer them, for `framing.Frames`.
WANTED: Final = (
    b"Response: S",  # Success
    b"Response: E",  # Error
    b"Response: F",  # Follows, Fail
    b"Response: G",  # Goodbye
    b"Event: CoreShowChannel",
    b"Event: DeviceState",
    b"Event: PeerEntry",
    b"Event: PeerlistComplete",
    b"Event: EndpointList",
    b"Event: OutboundRegistrationDetail",
)


class NotAllowed(ValueError):  # noqa: N818 -- it names what happened, like the errors of connectors.errors
    """An action that is not on the list, or a value that would smuggle another one in: a bug of ours."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One action's complete answer.

    Attributes:
        fields: The first message's headers, names in lower case.
        items: A list's entries in order, the completing event left out; each as `fields`.
    """

    fields: dict[str, str] = field(repr=False)
    items: tuple[dict[str, str], ...] = field(default=(), repr=False)

    @property
    def refusal(self) -> str | None:
        """Asterisk's own words if it answered with an error, else None."""
        if self.fields.get("response", "").lower() in {"success", "goodbye", "follows"}:
            return None
        return self.fields.get("message", "") or "no reason given"

    @property
    def lacks_right(self) -> bool:
        """Whether the account may not send this action."""
        return (self.refusal or "").lower().startswith("permission denied")


def encode(action: str, action_id: str, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of one action.

    Raises:
        NotAllowed: The action is not on the list, or a name or value holds a line
            end. Values are left out of the message: one of them is the secret.
    """
    if action not in ACTIONS:
        raise NotAllowed(f"The agent never sends the action {action!r}.")
    lines = {"Action": action, "ActionID": action_id, **(headers or {})}
    for name, value in lines.items():
        if any(end in text for text in (name, value) for end in "\r\n\0"):
            raise NotAllowed(f"A line end in {name!r} of the action {action}.")
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n"
