"""The registry of PBX kinds."""

import subprocess
import sys

from connectors.asterisk.connector import AsteriskConnector
from connectors.kinds import KINDS


def test_kinds_give_classes():
    """The registry gives the class of each kind."""
    assert KINDS["asterisk"]() is AsteriskConnector


def test_a_kind_is_loaded_when_it_is_needed():
    """Importing the registry loads no connector."""
    code = (
        "import sys, connectors.kinds; print([m for m in sys.modules if m.startswith('connectors.asterisk')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.strip() == "[]"
