"""How a connector fails: whose fault it is, what to do next, and which gap it opens."""

from __future__ import annotations

from typing import ClassVar

from meter.model import Cause


class ConnectorError(Exception):
    """A PBX can't be followed any further over this connection.

    Args:
        message: One sentence: what happened, without secrets and telephone numbers.
        hint: The next thing that the operator can do or type.
        cause: The gap's cause, where it differs from the class's own.
    """

    cause: ClassVar[Cause]

    def __init__(self, message: str, *, hint: str, cause: Cause | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.gap_cause = cause or self.cause


class Unreachable(ConnectorError):  # noqa: N818 -- says what is wrong with the PBX, in the field's words
    """Nobody answers, or a link that worked went silent. Tried again with growing waits."""

    cause = Cause.PBX_UNREACHABLE


class Denied(ConnectorError):  # noqa: N818 -- says what is wrong with the PBX, in the field's words
    """The PBX refuses the account or a right that is needed. Tried again slowly; the operator hears of it."""

    cause = Cause.LOGIN_REFUSED


class Garbled(ConnectorError):  # noqa: N818 -- says what is wrong with the PBX, in the field's words
    """The PBX said what can't be understood, or too much at once. Counted; fresh connection and snapshot."""

    cause = Cause.EVENTS_LOST
