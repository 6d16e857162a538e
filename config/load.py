"""From a TOML file to a `Config`, or to every problem in it at once.

Each section is read by itself, so that one defect does not hide the next;
`config.checks` then compares those sections that are whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from config.checks import Sections, problems_between, warnings_between
from config.model import (
    Agent,
    Brand,
    Config,
    Operator,
    Page,
    Pbx,
    Report,
    Smtp,
    Tenant,
    Upstream,
    Webhook,
)
from config.problems import ConfigError
from config.tables import Reader, Table, tables

_NEEDED: Final = {
    "agent": "add [agent] with id, state_dir and timezone",
    "pbx": "add [[pbx]] with name, kind, host, username, secret_file and trunks",
    "tenant": "add [[tenant]] with an id and, if it is the only one, default = true",
}


def load(file: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check a configuration. Changes nothing anywhere.

    Args:
        file: The TOML file. Relative paths in it start at its folder.
        environ: Where `secret_env` and `password_env` look.

    Raises:
        ConfigError: With all problems that can be told, section by section.
    """
    reader = _reader(file, environ)
    agent = reader.one("agent", Agent)
    defaults: Table = {"timezone": "UTC", "period": "month"}
    if agent:
        defaults = {"timezone": agent.timezone, "period": agent.period}
    smtp = reader.one("smtp", Smtp)
    operator = reader.one("operator", Operator)
    report = reader.one("report", Report)
    upstream = reader.one("upstream", Upstream)
    page = reader.one("page", Page)
    sections = Sections(
        file=file.absolute(),
        agent=agent,
        pbx=reader.many("pbx", Pbx),
        tenant=reader.many("tenant", Tenant, defaults),
        smtp=smtp,
        operator=operator,
        report=report,
        webhook=reader.many("webhook", Webhook),
        brand=reader.many("brand", Brand),
        broken=frozenset(reader.broken),
    )
    problems = [*reader.problems, *problems_between(sections)]
    if problems or agent is None:
        raise ConfigError(problems)
    return Config(
        agent=agent,
        pbx=tuple(sections.pbx.values()),
        tenant=tuple(sections.tenant.values()),
        smtp=smtp,
        operator=operator,
        report=report,
        webhook=tuple(sections.webhook.values()),
        upstream=upstream,
        page=page or Page(),
        brand=tuple(sections.brand.values()),
        warnings=(*reader.warnings, *warnings_between(sections)),
    )


def load_agent(file: Path) -> Agent:
    """Read the section of the agent alone: all that is needed to ask the running one. No secret is looked at.

    Raises:
        ConfigError: The file can't be read, or that section is wrong.
    """
    reader = _reader(file, {})
    agent = reader.one("agent", Agent)
    if agent is None:
        raise ConfigError(reader.problems)
    return agent


def _reader(file: Path, environ: Mapping[str, str]) -> Reader:
    file = file.absolute()
    content = tables(
        file,
        missing="name it with --config, or start from config/example.toml",
        unreadable="let the agent's user read it, or name another with --config",
    )
    known = [name for name in Config.model_fields if name != "warnings"]
    return Reader(file, content, environ, known=known, needed=_NEEDED)
