"""What the provider's operator wrote: the mail server, who hears, when a month is closed, in whose name.

One TOML file, read as the agent's is: every problem at once, each with what to do. It is
optional: without it the commands work, nothing is closed by itself and nothing is mailed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from config.model import Section, Smtp
from config.problems import ConfigError, Problem
from config.secret import Secret
from config.tables import Reader, tables
from config.values import ADDRESS_SAYS, ZONE_SAYS, Address, File, Line, unique, wrong
from delivery import mail
from delivery.email import MailServer, Security
from delivery.reporting import usage
from provider.fleet.looking import Limits
from provider.fleet.mailing import Reader as FleetReader
from provider.month.tree import Member
from provider.partners import LOGO_MAX_BYTES

#: When the month is closed if nothing is written: after the last clocks have passed its end and most finals came.
_SIX: Final = time(6)
#: When the mail about the agents goes if nothing is written: read with the first coffee.
_SEVEN: Final = time(7)
_LOGO_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".svg": "image/svg+xml",
}
_TIME_SAYS: Final = 'a local time of day, as in "06:00"'
_EXAMPLE: Final = "name it with --config, or leave that out: then nothing is closed or mailed by itself"


def _time(value: object) -> time:
    """Read "06:00"."""
    try:
        return time.fromisoformat(value if isinstance(value, str) and len(value) == len("06:00") else "")
    except ValueError:
        raise wrong("not a time of day", f"write {_TIME_SAYS}") from None


def _logo(file: Path) -> Path:
    """Return the file if a report can show it."""
    if file.suffix.lower() not in _LOGO_TYPES:
        raise wrong("not a picture that reports can show", "give a .png, .jpg or .svg file")
    try:
        size = file.stat().st_size
    except OSError as error:
        raise wrong(f"can't be read ({error.strerror})", "name a file that is there") from None
    if size > LOGO_MAX_BYTES:
        raise wrong("too large for a mail", f"make it smaller than {LOGO_MAX_BYTES // 1024} KiB")
    return file


class Operator(Section):
    """The provider's own people: the whole report, and what needs a hand."""

    email: Annotated[tuple[Address, ...], Field(min_length=1), AfterValidator(unique)] = Field(
        description=f"a list, each {ADDRESS_SAYS}"
    )
    language: Literal["nl", "en", "it", "de"] = Field("en", description='"nl", "en", "it" or "de"')


class Month(Section):
    """When a period is closed by itself, and whether a person approves before it is mailed."""

    timezone: ZoneInfo = Field(description=ZONE_SAYS)
    close_on: Annotated[int, Field(strict=True, ge=1, le=28)] = Field(
        3, description="the day of the next month, 1 to 28"
    )
    at: Annotated[time, BeforeValidator(_time)] = Field(_SIX, description=_TIME_SAYS)
    approve: Literal["human", "itself"] = Field("human", description='"human" or "itself"')


class PostgreSQL(Section):
    """A PostgreSQL instead of the file in the data folder."""

    url: Secret = Field(description="postgresql://USER@HOST/NAME, as url, url_file or url_env")


class Brand(Section):
    """In whose name the provider's own report is read, and those of partners without a name of their own."""

    name: Line = Field("pbx-meter", description="the name that people read")
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = Field(
        "#1f4e79", description='six hexadecimal digits, as in "#1f4e79"'
    )
    sender: Address | None = Field(None, description=ADDRESS_SAYS)
    reply_to: Address | None = Field(None, description=ADDRESS_SAYS)
    footer: Line | None = Field(None, description="one line under every mail")
    logo: Annotated[File, AfterValidator(_logo)] | None = Field(None, description="a .png, .jpg or .svg file")


class Fleet(Section):
    """What of the agents and tenants is worth a word, and when the daily mail about them goes to the operator."""

    at: Annotated[time, BeforeValidator(_time)] = Field(_SEVEN, description=_TIME_SAYS)
    silent_after: Annotated[int, Field(strict=True, ge=2, le=1000)] = Field(
        3, description="so many of an agent's own intervals without a record, 2 to 1000"
    )
    coverage: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        99, description="per cent of a period that have to be seen, 1 to 100"
    )
    warn_at: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        80, description="per cent of the capacity from which a peak is close to it, 1 to 100"
    )
    version_at_least: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,3}$")] | None = (
        Field(None, description='a version, as in "0.2.0"; left out: the newest that any agent runs')
    )
    key_days: Annotated[int, Field(strict=True, ge=1, le=365)] = Field(
        14, description="days before its end at which a key is named, 1 to 365"
    )

    @property
    def limits(self) -> Limits:
        """From where on something is a finding."""
        return Limits(self.silent_after, self.coverage, self.warn_at, self.version_at_least, self.key_days)


class Settings(Section):
    """Everything that was written. A section that is missing is None, or as its class says."""

    smtp: Smtp | None = None
    operator: Operator | None = None
    month: Month | None = None
    database: PostgreSQL | None = None
    brand: Brand = Brand()
    fleet: Fleet = Fleet()
    warnings: tuple[Problem, ...] = Field(default=(), repr=False)

    @property
    def timezone(self) -> ZoneInfo:
        """Where the provider's months begin and end."""
        return self.month.timezone if self.month else ZoneInfo("UTC")

    @property
    def provider(self) -> Member:
        """The provider himself, as his report is written. Reads the logo."""
        brand, logo = self.brand, None
        if brand.logo is not None:
            logo = _LOGO_TYPES[brand.logo.suffix.lower()], brand.logo.read_bytes()
        name = usage.Brand(brand.name, brand.colour, brand.sender, brand.reply_to, brand.footer or "", logo)
        return Member("", brand.name, None, self.operator.language if self.operator else "en", name)

    @property
    def fleet_reader(self) -> FleetReader | None:
        """Who gets the daily mail about the agents; None: nobody was named."""
        if self.operator is None or self.smtp is None:
            return None
        return FleetReader(
            self.operator.email,
            self.brand.sender or self.smtp.sender,
            self.operator.language,
            self.timezone,
            self.fleet.at,
            mail.Brand(self.brand.name, self.brand.colour, self.brand.reply_to, self.brand.footer or ""),
        )

    @property
    def mail_server(self) -> MailServer | None:
        """The server that takes our mail; None: none was given."""
        if self.smtp is None:
            return None
        smtp = self.smtp
        return MailServer(
            host=smtp.host,
            port=smtp.port,
            sender=smtp.sender,
            security=Security(smtp.tls),
            username=smtp.username,
            password=smtp.password.reveal() if smtp.password else None,
            tls=ssl.create_default_context(cafile=str(smtp.ca_file)) if smtp.ca_file else None,
        )


def load(file: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the settings. Changes nothing anywhere.

    Args:
        file: The TOML file; relative paths in it start at its folder. None: nothing was written.
        environ: Where `password_env` and `url_env` look.

    Raises:
        ConfigError: With all problems that can be told, section by section.
    """
    if file is None:
        return Settings()
    file = file.absolute()
    content = tables(file, missing=_EXAMPLE, unreadable="let the provider's user read it, or name another")
    known = [name for name in Settings.model_fields if name != "warnings"]
    reader = Reader(file, content, environ, known=known, needed={})
    smtp = reader.one("smtp", Smtp)
    operator = reader.one("operator", Operator)
    month = reader.one("month", Month)
    database = reader.one("database", PostgreSQL)
    brand = reader.one("brand", Brand)
    fleet = reader.one("fleet", Fleet)
    problems = [*reader.problems, *_between(file, reader.broken, smtp, operator)]
    if problems:
        raise ConfigError(problems)
    return Settings(
        smtp=smtp,
        operator=operator,
        month=month,
        database=database,
        brand=brand or Brand(),
        fleet=fleet or Fleet(),
        warnings=tuple(reader.warnings),
    )


def _between(file: Path, broken: set[str], smtp: Smtp | None, operator: Operator | None) -> Iterator[Problem]:
    """Yield what is wrong between sections."""
    if operator is not None and smtp is None and "smtp" not in broken:
        what, hint = "mail can't be sent without [smtp]", "add [smtp] with host and sender"
        yield Problem(file, "operator.email", what, hint)
    if smtp is not None and (smtp.username is None) != (smtp.password is None):
        what, hint = "username and password come together", "add the missing one, or leave out both"
        yield Problem(file, "smtp", what, hint)
