"""Which connector a configured 3CX gets."""

import pytest

from connectors.kinds import KINDS
from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.records_only import RecordsOnly
from connectors.threecx.settings import Access, Cdr, Settings


@pytest.mark.parametrize(
    ("access", "kind"),
    [(Access.XAPI, ThreeCXConnector), (Access.USER_LOGIN, ThreeCXConnector), (Access.CDR, RecordsOnly)],
)
def test_the_door_chooses_the_connector(access, kind):
    """The XAPI and a user's log-in are polled; call records alone are only listened to."""
    made = KINDS["3cx"]()("cloud", Settings(url="https://pbx.example", access=access, cdr=Cdr()), lambda: 0)
    assert type(made) is kind
    assert made.name == "cloud"
