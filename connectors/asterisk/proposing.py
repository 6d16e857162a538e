"""Which endpoints are trunks and which are phones, as far as Asterisk's files tell. Pure.

Nothing here decides: it is what `pbx-meter init` proposes and an administrator confirms. What
the files don't tell stays in `neither`; it is shown, and counts nowhere until somebody says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from connectors.asterisk.cdr import Record
from connectors.asterisk.channels import endpoint_of
from connectors.asterisk.written import Section, Written

#: What is read, where it is there.
FILES: Final = ("pjsip.conf", "pjsip_wizard.conf", "sip.conf", "iax.conf", "chan_dahdi.conf")

#: chan_sip is gone from this Asterisk on: its file may have stayed.
_WITHOUT_CHAN_SIP: Final = 21

#: What a phone's endpoint is called where it is called by its number.
_NUMBER: Final = re.compile(r"[0-9]{2,9}")
#: A number that is dialled over a trunk.
_OUTSIDE: Final = re.compile(r"\+?[0-9]{7,}")
#: chan_dahdi's `signalling` towards the telephone network: ISDN, SS7 and R2 by spans, analogue lines by channel.
_SPANS: Final = ("pri_cpe", "bri_cpe", "bri_cpe_ptmp", "ss7", "mfcr2")
_ANALOGUE: Final = ("fxs_ls", "fxs_gs", "fxs_ks")
#: FreePBX calls the second device of a user (browser, mobile app) by one of these and his extension.
_TWINS: Final = ("90", "98", "99")
#: Peers of Asterisk's own sample files that lead nowhere.
_SAMPLES: Final = frozenset({"demo", "guest", "iaxtel", "iaxfwd"})


class Role(Enum):
    """What an endpoint seems to be."""

    TRUNK = "trunk"
    PHONE = "phone"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Found:
    """One endpoint, or a glob for several, and what it seems to be.

    Attributes:
        endpoint: The full endpoint (`PJSIP/kpn`), or a glob.
        role: What it seems to be.
        why: What says so, in words for the administrator.
    """

    endpoint: str
    role: Role
    why: str = ""

    @property
    def bare(self) -> str:
        """The bare endpoint: `101`."""
        return self.endpoint.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed for one Asterisk.

    Attributes:
        trunks: With what says so.
        phones: Those that are called by their number.
        neither: The rest.
        extensions: The expression for `extensions`; None: no phone was found.
        exclude: The expression for second devices of the same user; None: there are none.
    """

    trunks: tuple[Found, ...]
    phones: tuple[Found, ...]
    neither: tuple[Found, ...]
    extensions: str | None
    exclude: str | None


def proposal(
    files: Mapping[str, Written], carried: Collection[str] = frozenset(), release: int | None = None
) -> Proposal:
    """Return what the files propose.

    Args:
        files: What each of FILES says; one that is not there may be missing.
        carried: Endpoints that carried outside calls (`carried_outside`).
        release: Of Asterisk, as 22; None: unknown.
    """
    read = {name: files.get(name, Written()) for name in FILES}
    every = [*_pjsip(read["pjsip.conf"], carried), *_wizard(read["pjsip_wizard.conf"])]
    if release is None or release < _WITHOUT_CHAN_SIP:
        every += _peers("SIP", read["sip.conf"])
    every += _peers("IAX2", read["iax.conf"])
    every += _dahdi(read["chan_dahdi.conf"])
    found = list({each.endpoint: each for each in reversed(every)}.values())[::-1]
    by_role = {role: tuple(each for each in found if each.role is role) for role in Role}
    numbers = sorted({each.bare for each in by_role[Role.PHONE]})
    twins = [number for number in numbers if number[:2] in _TWINS and number[2:] in numbers]
    others = [each.bare for each in found if each.role is not Role.PHONE]
    return Proposal(
        by_role[Role.TRUNK],
        by_role[Role.PHONE],
        by_role[Role.NEITHER],
        extensions=expression(numbers, others),
        exclude=expression(twins, others, len(_TWINS[0])),
    )


def expression(numbers: Iterable[str], others: Iterable[str], sure: int = 1) -> str | None:
    """Return a short regular expression that takes these numbers, and those that may come beside them.

    It takes every number of the same length and the same first digit, so that the next phone
    is a user without anybody's doing. Where that would take one of `others` too, it takes the numbers as they are.

    Args:
        numbers: Digits only.
        others: Bare endpoints that it must not take.
        sure: How many of the first digits all numbers are held to.

    Returns:
        None if there are no numbers.
    """
    others = list(others)
    by_length: dict[int, list[str]] = {}
    for number in sorted(set(numbers)):
        by_length.setdefault(len(number), []).append(number)
    parts = []
    for length, same in sorted(by_length.items()):
        heads = sorted({number[:sure] for number in same})
        head = _digits(heads) if sure == 1 else _either(heads)
        rest = length - sure
        wide = head + {0: "", 1: "[0-9]"}.get(rest, f"[0-9]{{{rest}}}")
        parts.append(_either(same) if any(re.fullmatch(wide, other) for other in others) else wide)
    return "|".join(parts) or None


def _digits(digits: list[str]) -> str:
    if len(digits) == 1:
        return digits[0]
    run = "".join(digits)
    whole = run in "0123456789" and len(run) > 2  # noqa: PLR2004 -- [12] is no longer than [1-2], and plainer
    return f"[{run[0]}-{run[-1]}]" if whole else f"[{run}]"


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"


def carried_outside(records: Iterable[Record]) -> frozenset[str]:
    """Return the endpoints over which a phone, known by its number, dialled a number of the outside.

    Calls that come in don't tell as much: their DID is a number of ours, and stands beside phones too.
    """
    return frozenset(
        dialled
        for record in records
        if (dialled := endpoint_of(record.dialled))
        and _NUMBER.fullmatch((endpoint_of(record.channel) or "").partition("/")[2])
        and _OUTSIDE.fullmatch(record.number)
    )


# --- what each channel driver's file tells -----------------------------------------------------


def _pjsip(written: Written, carried: Collection[str]) -> Iterator[Found]:
    endpoints = written.of("endpoint")
    aors = {aor.name: aor for aor in written.of("aor")}
    registering = _registering(written, endpoints)
    # `match_header` tells phones apart as well; an address is a carrier's.
    recognised = {found.get("endpoint") for found in written.of("identify") if found.get("match")}
    for endpoint in endpoints:
        name = endpoint.name
        places = [aors[aor] for aor in endpoint.all("aors") if aor in aors]
        static = any(aor.get("contact") for aor in places)
        logs_in = bool(endpoint.get("auth")) and not static
        number = _NUMBER.fullmatch(name) is not None
        if name in registering:
            role, why = Role.TRUNK, "registers with its carrier"
        elif logs_in and number:
            role, why = Role.PHONE, "registers here"
        elif name in recognised:
            role, why = Role.TRUNK, "is recognised by its address (identify)"
        elif endpoint.get("outbound_auth") and static:
            role, why = Role.TRUNK, "logs in at a fixed address"
        elif f"PJSIP/{name}" in carried and not logs_in and not number:
            role, why = Role.TRUNK, "carried outside calls (call records)"
        elif number:
            role, why = Role.PHONE, "is called by its number"
        else:
            role, why = Role.NEITHER, "registers here: a phone, or another PBX" if logs_in else ""
        yield Found(f"PJSIP/{name}", role, why)


def _registering(written: Written, endpoints: list[Section]) -> set[str]:
    """Return the endpoints for which Asterisk registers elsewhere.

    A registration names its endpoint only with `line = yes`; else both have one name by custom (FreePBX's
    too), or one set of credentials.
    """
    by_auth = {auth: e.name for e in endpoints for auth in e.all("outbound_auth")}
    names = {e.name for e in endpoints}
    found = set()
    for registration in written.of("registration"):
        own = registration.get("endpoint") or (registration.name if registration.name in names else "")
        credentials = [by_auth[auth] for auth in registration.all("outbound_auth") if auth in by_auth]
        found |= {own} if own else set(credentials)
    return found


def _wizard(written: Written) -> Iterator[Found]:
    for section in written.of("wizard"):
        endpoint = f"PJSIP/{section.name}"
        if section.is_on("sends_registrations"):
            yield Found(endpoint, Role.TRUNK, "registers with its carrier")
        elif section.get("remote_hosts"):
            yield Found(endpoint, Role.TRUNK, "has a fixed address")
        else:
            number = _NUMBER.fullmatch(section.name) is not None
            yield Found(endpoint, Role.PHONE if number else Role.NEITHER, "registers here")


def _peers(technology: str, written: Written) -> Iterator[Found]:
    """Return the peers of chan_sip and chan_iax2, whose files are alike."""
    # user[:secret[:authuser]]@host[:port][/extension]
    lines = [line for section in written.named("general") for line in section.all("register")]
    carriers = {re.split(r"[:/]", line.rpartition("@")[2])[0] for line in lines}
    for section in written.sections:
        where, name = section.get("host"), section.name
        if section.kind not in ("peer", "friend") or not where or name in _SAMPLES:
            continue
        number = _NUMBER.fullmatch(name) is not None
        endpoint = f"{technology}/{name}"
        if where in carriers:
            yield Found(endpoint, Role.TRUNK, "registers with its carrier")
        elif number:
            yield Found(endpoint, Role.PHONE, "is called by its number")
        elif where.lower() == "dynamic":
            yield Found(endpoint, Role.NEITHER, "registers here: a phone, or another PBX")
        else:
            yield Found(endpoint, Role.TRUNK, "has a fixed address")


def _dahdi(written: Written) -> Iterator[Found]:
    """Return the lines of the telephone network: a `channel` takes the `signalling` that stands before it."""
    for section in written.sections:
        signalling = ""
        for setting in section.settings:
            if setting.key == "signalling":
                signalling = setting.value.lower()
            elif setting.key == "channel" and signalling in _SPANS:
                # The channel of a span is called by span and telephone number: DAHDI/i1/….
                yield Found("DAHDI/i*", Role.TRUNK, f"is a span to the telephone network ({signalling})")
            elif setting.key == "channel" and signalling in _ANALOGUE:
                for channel in _channels(setting.value):
                    yield Found(f"DAHDI/{channel}", Role.TRUNK, f"is an analogue line ({signalling})")


def _channels(text: str) -> Iterator[int]:
    """`1-4,7` -> 1, 2, 3, 4, 7."""
    for part in text.split(","):
        if found := re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part):
            yield from range(int(found[1]), int(found[2] or found[1]) + 1)
