"""The kinds of PBX that the agent can follow. A new kind is one folder and one line here.

Each is imported only when such a PBX is configured: nobody loads a library for a
PBX that he doesn't have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connectors.asterisk.connector import AsteriskConnector


def _asterisk() -> type[AsteriskConnector]:
    from connectors.asterisk.connector import AsteriskConnector  # noqa: PLC0415 -- lazy, see above

    return AsteriskConnector


#: Kind -> gives its class. Called with (name, settings, now), where the settings are
#: of the kind's own `settings` module, the class makes a `connectors.connector.Connector`.
KINDS: Final[Mapping[str, Callable[[], type[AsteriskConnector]]]] = {"asterisk": _asterisk}
