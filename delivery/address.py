"""Mail addresses, as strictly as everything that carries them needs."""

from __future__ import annotations

import re
from typing import Final

#: One mailbox that needs no quoting anywhere (RFC 5321, section 4.1.2: a dot-string, "@", a domain or literal).
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.\-\[\]:]+")


def is_address(text: str) -> bool:
    """Whether it is one plain address that every mail server can take: ASCII, no name, no quotes."""
    return _ADDRESS.fullmatch(text) is not None
