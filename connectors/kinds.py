"""The kinds of PBX that the agent can follow. A new kind is one folder and one line here.

Each is imported only when such a PBX is configured: nobody loads a library for a
PBX that he doesn't have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connectors.connector import Connector, Now
    from connectors.threecx.settings import Settings


def _asterisk() -> Callable[..., Connector]:
    from connectors.asterisk.connector import AsteriskConnector  # noqa: PLC0415 -- lazy, see above

    return AsteriskConnector


def _threecx() -> Callable[..., Connector]:
    from connectors.threecx.connector import ThreeCXConnector  # noqa: PLC0415 -- lazy, see above
    from connectors.threecx.records_only import RecordsOnly  # noqa: PLC0415 -- likewise
    from connectors.threecx.settings import Access  # noqa: PLC0415 -- likewise

    def connector(name: str, settings: Settings, now: Now) -> Connector:
        kind = RecordsOnly if settings.access is Access.CDR else ThreeCXConnector
        return kind(name, settings, now)

    return connector


#: Kind -> gives what makes a `connectors.connector.Connector` of (name, settings, now),
#: where the settings are of the kind's own `settings` module: a class, or what chooses one.
KINDS: Final[Mapping[str, Callable[[], Callable[..., Connector]]]] = {"asterisk": _asterisk, "3cx": _threecx}
