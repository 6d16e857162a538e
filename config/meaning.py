"""The part of a configuration that figures depend on, as one hash for the records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from config.model import Config
from meter.canonical import canonical_bytes

#: What can't change a figure: where things are, who is told, and every secret.
#: All else counts, so that a new key is never forgotten.
_WITHOUT_MEANING: Final[Mapping[str, Any]] = {
    "agent": {"state_dir", "log_level", "socket"},
    "pbx": {
        "__all__": {
            "host",
            "port",
            "username",
            "secret",
            "tls",
            "ca_file",
            "url",
            "client_id",
            "fingerprint",
            "cdr",
        }
    },
    "tenant": {"__all__": {"alerts", "webhooks", "language", "brand", "repeat", "warn_at"}},
    "smtp": True,
    "operator": True,
    "report": True,
    "webhook": True,
    "upstream": True,
    "brand": True,
    "page": True,
    "warnings": True,
}


def config_sha256(config: Config) -> str:
    """Return the hash of what the figures depend on, in lowercase hex.

    The same meaning gives the same hash, however the file was written.
    """
    meaning = config.model_dump(mode="json", exclude=dict(_WITHOUT_MEANING))
    for tenant in meaning["tenant"]:
        if not tenant["match"]["departments"]:
            del tenant["match"]["departments"]  # a key that came later: files without it keep their hash
    return hashlib.sha256(canonical_bytes(meaning)).hexdigest()
