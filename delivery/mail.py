"""A notice as a mail: a complete RFC 5322 message in text and HTML, in the partner's colours.

The same notice, brand and recipient always give the same bytes, Message-ID
included: nothing here reads a clock or draws lots. Names come from people and
may hold anything; none of it can become a header, a tag or a style.

Another kind of mail is a letter and a template that fills the frame's blocks (delivery.tidings).
"""

from __future__ import annotations

import email.policy
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final, Protocol

import jinja2

from delivery.address import is_address
from delivery.letter import notice_letter
from delivery.wording import wording
from meter.model import Instant
from meter.notices import Notice

_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("delivery"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Brand:
    """Whose mail it is, as its reader knows them.

    Attributes:
        name: Shown as the sender and above the mail.
        colour: `#rrggbb`, of the band that carries the name and of the bar.
        reply_to: Where answers go; None: to the sender's address.
        footer: Below the mail, several lines if wanted; "" for none.

    Raises:
        ValueError: The colour or the reply-to address is not in that form.
    """

    name: str
    colour: str = "#1f4e79"
    reply_to: str | None = None
    footer: str = ""

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError("a brand's colour is written #rrggbb")
        if self.reply_to is not None and not is_address(self.reply_to):
            raise ValueError("a brand's reply_to is one plain address in ASCII")

    @property
    def ink(self) -> str:
        """The colour of letters on `colour`: black or white, whichever has more contrast (WCAG 2.2)."""
        return "#000000" if _luminance(self.colour) > 0.179 else "#ffffff"  # noqa: PLR2004 - equal contrast to both

    @property
    def bar(self) -> str:
        """The colour of the bar on a white card: `colour`, darker if it would not be seen."""
        return _until(self.colour, toward=0, seen=lambda luminance: luminance <= 0.3)  # noqa: PLR2004 - 3:1 to white

    @property
    def bar_dark(self) -> str:
        """The colour of the bar on a dark card: `colour`, lighter if it would not be seen."""
        return _until(self.colour, toward=255, seen=lambda luminance: luminance >= 0.15)  # noqa: PLR2004 - 3:1 to the card


def notice_mail(
    notice: Notice, *, brand: Brand, language: str, tz: tzinfo, sender: str, recipient: str
) -> EmailMessage:
    """Return the mail that tells one recipient of a notice. `as_bytes` of it is a parcel's body.

    Args:
        notice: What to tell.
        brand: Whose mail it is.
        language: `nl`, `en`, `it` or `de`.
        tz: The tenant's time zone.
        sender: The address it comes from.
        recipient: One address. Several recipients are several mails with one text.

    Raises:
        ValueError: No such language, or an address that mail can't use.
    """
    letter = notice_letter(notice, wording(language), tz)
    return compose(
        letter,
        template="notice",
        brand=brand,
        language=language,
        sender=sender,
        recipient=recipient,
        topic=notice.id,
        at=notice.at,
    )


class Sentences(Protocol):
    """A letter of any kind: what the frame itself shows of it."""

    @property
    def subject(self) -> str:
        """One line."""
        ...

    @property
    def small(self) -> tuple[str, ...]:
        """What identifies the mail and its times."""
        ...


def compose(
    letter: Sentences,
    *,
    template: str,
    brand: Brand,
    language: str,
    sender: str,
    recipient: str,
    topic: str,
    at: Instant,
) -> EmailMessage:
    """Put a letter into a template and a complete message, every line of it at most 78 ASCII characters.

    Args:
        letter: What it says.
        template: Its name in delivery/templates, without `.html` and `.txt`.
        brand: Whose mail it is.
        language: ISO 639-1, for `Content-Language` and for screen readers.
        sender: The address it comes from.
        recipient: The address it goes to.
        topic: What makes it this mail and no other; with the recipient it gives the Message-ID.
        at: When what it tells happened: the mail's date.

    Raises:
        ValueError: An address that mail can't use.
    """
    if not (is_address(sender) and is_address(recipient)):
        raise ValueError("sender and recipient are plain addresses in ASCII")
    digest = hashlib.sha256(f"{topic}\n{recipient}".encode()).hexdigest()[:24]
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = one_line(letter.subject)
    message["From"] = Address(one_line(brand.name), addr_spec=sender)
    message["To"] = recipient
    if brand.reply_to is not None:
        message["Reply-To"] = brand.reply_to
    message["Date"] = format_datetime(_EPOCH + timedelta(milliseconds=at))
    message["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    # RFC 3834: no machine answers this; the second header tells the same to Exchange.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    values = {"letter": letter, "brand": brand, "language": language}
    # Quoted-printable whatever is in it: no server on the way has a reason to change a byte.
    text = _TEMPLATES.get_template(f"{template}.txt").render(values)
    message.set_content(text, cte="quoted-printable")
    html = _TEMPLATES.get_template(f"{template}.html").render(values)
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{digest}")
    message["Content-Language"] = language  # last: setting the content drops what was said of it
    return message


def one_line(text: str) -> str:
    """Return a text as one line that is fit for a header.

    Control, format and private characters become spaces. What looks like an
    encoded word (`=?utf-8?…`) is broken: Python's email package would decode it,
    line breaks and all, and write the result as headers.
    """
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.replace("=?", "= ?").split())


def _until(colour: str, *, toward: int, seen: Callable[[float], bool]) -> str:
    """Mix a colour with black (0) or white (255), tenth by tenth, until it is seen."""
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    mixes = ([round(part + (toward - part) * tenth / 10) for part in parts] for tenth in range(11))
    colours = ("#{:02x}{:02x}{:02x}".format(*mix) for mix in mixes)
    return next(mixed for mixed in colours if seen(_luminance(mixed)))


def _luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - sRGB's own curve
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
