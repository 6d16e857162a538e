"""A first configuration, as `pbx-meter init` writes it: values in, TOML with words for its reader out.

What is left out has its default; config/example.toml shows all of it. What is written here loads without
a warning, as long as there is something to count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = """\
# Written by `pbx-meter init`. config.example.toml shows every key with its default. After a change:
#   pbx-meter check && systemctl reload pbx-meter
# A secret's file that is new or changed needs more: systemctl restart pbx-meter
"""
#: A comment is no place for a telephone number.
_DIGITS: Final = re.compile(r"\d{6,}")


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with what is said of it: `"PJSIP/kpn",  # registers with its carrier`."""

    value: str
    note: str = ""


def agent(*, id_: str, state_dir: Path, timezone: str, socket: Path | None) -> str:
    """Return the beginning: the agent itself. `socket` None: its default."""
    lines = [_HEAD, "[agent]", f"id = {_text(id_)}  # stands in every record; don't change it later"]
    lines += [f"state_dir = {_text(str(state_dir))}", f"timezone = {_text(timezone)}"]
    if socket is not None:
        lines.append(f"socket = {_text(str(socket))}")
    return "\n".join(lines) + "\n"


def tenant(id_: str) -> str:
    """Return the section of the one tenant that takes every call."""
    return f"""
# Takes every call. For several customers on one PBX write a section for each.
[[tenant]]
id = {_text(id_)}  # stands in every record; don't change it later
default = true
#capacity = 16  # lines bought; being over it never blocks a call
#alerts = ["noc@partner.example"]  # who is told; needs [smtp]
"""


def upstream(url: str) -> str:
    """Return the provider's section."""
    return f"\n# The provider who bills. Once: pbx-meter enrol 'LINE'\n[upstream]\nurl = {_text(url)}\n"


def asterisk(
    *,
    name: str,
    product: str,
    host: str,
    port: int,
    username: str,
    secret_file: str,
    trunks: Sequence[Noted],
    extensions: str | None,
    exclude: str | None,
    phones: int,
    neither: Iterable[str],
) -> str:
    """Return the section of an Asterisk.

    Beside what config.model has: `product` is what it is, with its version; `phones` how many endpoints
    the expression was made from; `neither` are endpoints that nothing is known of.
    """
    lines = [
        f"\n# {shown(product)}",
        "[[pbx]]",
        f"name = {_text(name)}",
        'kind = "asterisk"',
        f"host = {_text(host)}",
        *([] if port == 5038 else [f"port = {port}"]),  # noqa: PLR2004 -- the default
        f"username = {_text(username)}",
        f"secret_file = {_text(secret_file)}",
        "# Full endpoints or globs. Only calls over these count.",
        "trunks = [" if trunks else "trunks = []  # none was found, so nothing counts: pbx-meter check",
    ]
    lines += [f"  {_text(t.value)},{'  # ' + shown(t.note) if t.note else ''}" for t in trunks]
    lines += ["]"] if trunks else []
    strays = [shown(stray) for stray in neither]
    if strays:
        lines += ["# Neither trunk nor extension as far as Asterisk's files tell, so counted nowhere:"]
        lines += [f"#   {stray}" for stray in strays]
    if extensions is None:
        lines += ['#extensions = "1[0-9]{2}"  # no phone was found; each that matches is a user']
    else:
        found = f"  # takes the {phones} that were found" if phones else ""
        lines += [f"extensions = {_text(extensions)}{found}"]
    if exclude is not None:
        lines += [f"exclude = {_text(exclude)}  # second devices of the same users"]
    return "\n".join(lines) + "\n"


def threecx(*, name: str, url: str, client_id: str, secret_file: str) -> str:
    """Return the section of a 3CX."""
    return (
        "\n# It lists its trunks, users and departments itself.\n[[pbx]]\n"
        f'name = {_text(name)}\nkind = "3cx"\nurl = {_text(url)}\nclient_id = {_text(client_id)}\n'
        f"secret_file = {_text(secret_file)}\n"
    )


def shown(text: str) -> str:
    """Return a text as a comment takes it."""
    return _DIGITS.sub("…", "".join(char if char.isprintable() else "?" for char in text))


def _text(value: str) -> str:
    """Return a text as TOML writes it: JSON's way, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
