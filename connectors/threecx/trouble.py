"""What goes wrong with a 3CX, told apart as far as it lets itself be told, each with the next thing to click.

The menus are those of the V20 Admin Console. No message holds a secret, and none
repeats what a 3CX wrote: it may hold names and numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from connectors.errors import ConnectorError, Denied, Garbled, Unreachable
from connectors.threecx.settings import Access
from meter.model import Cause

_CLIENT: Final = "Admin Console > Integrations > API"
_BLACKLIST: Final = (
    "3CX also drops everything from an address that failed to log in a few times: look at Admin Console > "
    "Security > IP Blacklist there."
)

#: Roles that see one department only, or nothing: their calls would be a part taken for the whole.
_LOWER: Final = frozenset({"group_owners", "managers", "group_admins", "receptionists", "users"})
_WHOLE: Final = frozenset({"system_owners", "system_admins"})


class Forbidden(Denied):
    """403: the token is good, and may not read this."""


class Foreign(Denied):
    """What answers is no 3CX V20."""

    cause = Cause.PBX_UNREACHABLE


class Absent(Denied):
    """404: this version has no such thing."""

    cause = Cause.PBX_UNREACHABLE


class Unasked(Garbled):
    """400: the question is one that this version does not understand."""


class Throttled(Unreachable):
    """429: too many questions.

    Attributes:
        wait_s: How long it wants to be left alone; None: it doesn't say.
    """

    def __init__(self, wait_s: float | None) -> None:
        super().__init__(
            "The 3CX, or a proxy before it, answers 429: too many requests.",
            hint="It is asked at half the rate for a while; if it stays so, give it a longer `poll`.",
        )
        self.wait_s = wait_s


def insecure() -> Denied:
    """Plain HTTP to another machine would show the API key to everybody in between."""
    return Denied(
        "The 3CX is to be reached over http://, which hides neither the key nor the calls.",
        hint="Write `https://` and the FQDN of the 3CX into `url`; http:// is taken for this machine only.",
    )


def refused(access: Access) -> Denied:
    """The credentials, or the licence behind them, don't open the door."""
    if access is Access.USER_LOGIN:
        return Denied(
            "The 3CX refuses the user's number or password.",
            hint="Check `username` and the secret: the web client's login of a user with the role System Owner or "
            "System Admin and without 2FA (Admin Console > Users > the user).",
        )
    return Denied(
        "The 3CX refuses the Client ID or its API key.",
        hint=f"{_CLIENT}: the client must be there with 3CX Configuration API Access ticked; its key is shown once "
        'when it is made. The licence must be Enterprise (8SC+); with another use `access = "user_login"` or `"cdr"`.',
    )


def stopped(before: ConnectorError) -> Denied:
    """Asked twice, refused twice: a third time would only bring the blacklist nearer."""
    return Denied(
        f"{before} It did so twice, so it is not asked again: a few more failures and 3CX blacklists this address.",
        hint=f"{before.hint} Then restart the agent.",
    )


def locked() -> Denied:
    """The account was locked after failed log-ins."""
    return Denied(
        "The 3CX has locked the user's account.",
        hint="Wait until the lock ends or unlock it: Admin Console > Users > the user; then restart the agent.",
    )


def not_allowed() -> Denied:
    """The user may not use the web client from here."""
    return Denied(
        "The 3CX does not allow this user to connect.",
        hint="Admin Console > Users > the user > Options: the web client must be allowed, from this address too.",
    )


def second_factor() -> Denied:
    """A program has no telephone to read a code from."""
    return Denied(
        "The 3CX asks the user for a second factor (2FA).",
        hint="Use a System Owner or Admin without 2FA (Admin Console > Users > the user > General), or an API client.",
    )


def fought_over(access: Access) -> Denied:
    """Token after token is taken away: only one per client is valid at a time."""
    if access is Access.USER_LOGIN:
        return Denied(
            "The 3CX refuses a token that it has only just given, again and again.",
            hint="Check the user's role (System Owner or System Admin), and that nothing else logs in as this user.",
        )
    return Denied(
        "The 3CX refuses a token that it has only just given: another program uses this Client ID, or its rights changed.",
        hint=f"{_CLIENT}: make one client for this agent alone. If nobody else uses it: 3CX Configuration API Access "
        "ticked, Role System Admin, a real Department (DEFAULT), an Enterprise licence.",
    )


def not_v20() -> Foreign:
    """V18 and older have another interface."""
    return Foreign(
        "What answers has no XAPI: it is no 3CX V20.",
        hint="Check `url`; 3CX up to V18 is not supported, with V20 XAPI is at the same address as the Admin Console.",
    )


def forbidden(what: str, roles: Collection[str]) -> Forbidden:
    """The token's own roles tell a low role from the other causes of a 403."""
    low = _LOWER & set(roles)
    if _WHOLE & set(roles):
        return Forbidden(
            f"The 3CX lets this account not read {what}, though its role would do.",
            hint="If console restrictions are on, allow this machine's address: Admin Console > Security > "
            f"Console Restrictions. Else {_CLIENT} > 3CX Configuration API Access, and an Enterprise licence.",
        )
    role = f"its role {', '.join(sorted(low))!r} is too low" if low else "its role is too low"
    return Forbidden(
        f"The 3CX lets this account not read {what}: {role}, or this address or the licence is not let in.",
        hint=f"{_CLIENT} > the client: Role System Admin, Department a real one such as DEFAULT (with System Wide the "
        "role stays User). If console restrictions are on, allow this machine's address: Admin Console > Security.",
    )


def of_a_part(roles: Collection[str]) -> Denied | None:
    """Return the refusal of a role that shows one department's calls as if they were all; None: no such role."""
    low = _LOWER & set(roles)
    if not low or _WHOLE & set(roles):
        return None
    return Denied(
        f"The account's role {', '.join(sorted(low))!r} sees one department at most, so its counts would be too low.",
        hint=f"{_CLIENT} > the client: Role System Admin, Department a real one such as DEFAULT.",
    )


def absent(what: str) -> Absent:
    """A path that this version lacks."""
    return Absent(
        f"This version of 3CX has no {what}.", hint="Update the 3CX: Admin Console > Dashboard > Updates."
    )


def unasked(what: str) -> Unasked:
    """A 400 is ours: the same question again would be answered alike."""
    return Unasked(
        f"The 3CX does not understand how it is asked for {what}.",
        hint="Its version may be newer than this agent: please report it, with the version.",
    )


def failing(status: int) -> Unreachable:
    """5xx: upgrade, restart, or a fault of its own."""
    return Unreachable(
        f"The 3CX answers {status}: it is starting, being upgraded, or in trouble.",
        hint="It is asked again; if it stays so: Admin Console > Dashboard > Services.",
    )


def elsewhere(status: int) -> Unreachable:
    """3xx: what answers is something else, and no token is carried after it."""
    return Unreachable(
        f"What answers at `url` points elsewhere ({status}).",
        hint="Write the FQDN and port of the 3CX itself into `url`, as the Admin Console shows them.",
    )


def garbled(what: str) -> Garbled:
    """200 with something else than what was asked for."""
    return Garbled(
        f"The 3CX's answer about {what} can't be understood.",
        hint="If this stays so, something else than a 3CX answers at `url`, or its version is not known yet.",
    )


def gone() -> Unreachable:
    """Asked while nothing is served."""
    return Unreachable("There is no connection to the 3CX now.", hint="It is read again once there is one.")


def nobody() -> Unreachable:
    """No TCP connection."""
    return Unreachable(
        "Nobody answers at the address of the 3CX.",
        hint=f"Check `url` (self-hosted: port 5001, hosted by 3CX: 443) and the firewall. {_BLACKLIST}",
    )


def nameless() -> Unreachable:
    """No DNS answer."""
    return Unreachable(
        "The name of the 3CX is not known to this machine's DNS.", hint="Check `url` and the DNS server."
    )


def silent() -> Unreachable:
    """Connected or connecting, and no answer in time."""
    return Unreachable("The 3CX does not answer in time.", hint=f"Check its load and the line. {_BLACKLIST}")


def dropped() -> Unreachable:
    """The connection was closed before the answer was complete."""
    return Unreachable(
        "The 3CX closes the connection without a complete answer.",
        hint=f"It may be restarting. {_BLACKLIST}",
    )


def certificate(error: Exception) -> Unreachable:
    """The certificate is for another name, by an unknown authority, or out of date."""
    code = getattr(error, "verify_code", 0)
    if code in {62, 64}:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return Unreachable(
            "The 3CX's certificate is not made for the name in `url`.",
            hint="Write its FQDN, not an IP address, into `url` (let the DNS of your network answer with the inner "
            "address), or pin the certificate with `fingerprint`.",
        )
    if code in {9, 10}:  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return Unreachable(
            "The 3CX's certificate is out of date.",
            hint="Check this machine's clock; renew the certificate: Admin Console > Settings > SSL.",
        )
    return Unreachable(
        "The 3CX's certificate is by an authority that this machine does not know.",
        hint="Give the authority's file with `ca_file`, or pin the certificate with `fingerprint`.",
    )


def another_certificate() -> Unreachable:
    """Not the pinned one."""
    return Unreachable(
        "The 3CX shows another certificate than the pinned one.",
        hint="3CX renews its certificate every few months: compare, then change `fingerprint`, or use `ca_file`.",
    )


def no_tls() -> Unreachable:
    """The handshake fails for another reason."""
    return Unreachable(
        "No TLS connection to the 3CX comes about.",
        hint=f"Check that the port in `url` is its HTTPS port. {_BLACKLIST}",
    )


def trunkless(trunks: int) -> Denied:
    """Without the trunks no external call can be told, and none is not the same as unknown."""
    return Denied(
        f"The 3CX has {trunks} trunks and shows this account none of them.",
        hint=f"{_CLIENT} > the client: Role System Admin, Department a real one such as DEFAULT.",
    )


def backwards() -> Garbled:
    """An answer that is older than the one before it, out of some cache, or a clock that was set back."""
    return Garbled(
        "The 3CX's clock went back between two answers.",
        hint="If this stays so, look at the clock of the 3CX's machine, and for a proxy that keeps answers.",
    )


def no_good_poll(last: ConnectorError) -> ConnectorError:
    """For three intervals no poll succeeded: the link is lost since the last good one."""
    kind = Garbled if isinstance(last, Garbled) else Unreachable
    return kind(str(last), hint=last.hint, cause=Cause.POLL_FAILED)


def sift(status: int, retry_after_s: float | None, *, but: Collection[int] = ()) -> None:
    """Let an answer pass that may hold what was asked for: 200, and those that the caller judges.

    Raises:
        Throttled: 429.
        Unreachable: 5xx, and 3xx: a redirect is not followed.
        Foreign: 404 to a token: no V20.
        Garbled: Anything else.
    """
    if status == 200 or status in but:  # noqa: PLR2004 -- HTTP's own numbers
        return
    if status == 429:  # noqa: PLR2004 -- likewise
        raise Throttled(retry_after_s)
    if status == 404:  # noqa: PLR2004 -- likewise
        raise not_v20()
    if status >= 500:  # noqa: PLR2004 -- likewise
        raise failing(status)
    if 300 <= status < 400:  # noqa: PLR2004 -- likewise
        raise elsewhere(status)
    raise garbled("anything")
