"""What the test PBX is: its trunks, phones, dialplan and AMI accounts, as Asterisk's own files.

Two tenants share it. `acme` has `trunk-kpn` and phones 101-109, `globex` has
`trunk-kpn2` (a name that begins with the other's) and phones 131-139; both call
over `trunk-shared`, where only the DID, the account code, the context or the
call's other leg tells them apart. Phones 108, 109, 138, 139 ring and never answer.

Every number is from a range that is kept for fiction: DIDs 01632 960xxx (tenant's
digit, then two of what the dialplan does with the call), the outside world
07700 900xxx (xxx: the script that the call belongs to).
"""

from __future__ import annotations

import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DID: Final = "01632960"
OUTSIDE: Final = "07700900"

#: What a DID's last two digits make of an inbound call.
PHONE, IVR, BRIEFLY, SILENT, GROUP, QUEUE, CONFERENCE = "01", "02", "03", "04", "08", "09", "10"
#: ... and the DIDs that go out again, by trunk.
ONWARD: Final = {"trunk-kpn": "05", "trunk-kpn2": "06", "trunk-shared": "07"}
#: The digit that a phone dials before an outside number, by trunk.
ACCESS: Final = {"trunk-kpn": "1", "trunk-kpn2": "2", "trunk-shared": "3"}

TRUNKS: Final = tuple(ACCESS)
#: Seconds after which the dialplan gives up on a phone behind a BRIEFLY DID.
BRIEF_S: Final = 1

#: The rights of each AMI account: (read, write). `driver` and `witness` belong to the tests.
RIGHTS: Final = {
    "meter": ("call", "reporting"),
    "meter-filtered": ("call", "reporting"),
    "meter-system": ("call,system", "reporting,system"),
    "driver": ("all", "all"),
    "witness": ("all", "all"),
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of the two customers on the test PBX."""

    name: str
    digit: str  #: of its DIDs
    trunk: str  #: its own
    phones: str  #: the first two digits of its phones

    @property
    def phone(self) -> str:
        """The phone that its calls go to."""
        return f"{self.phones}1"

    @property
    def colleague(self) -> str:
        """The phone that calls are transferred to."""
        return f"{self.phones}2"

    @property
    def marked_phone(self) -> str:
        """The phone whose legs carry the tenant's name as account code."""
        return f"{self.phones}5"

    def did(self, what: str) -> str:
        """Return the DID that makes `what` (PHONE, IVR, …) of a call."""
        return f"{DID}{self.digit}{what}"


TENANTS: Final = {
    "acme": Tenant("acme", "1", "trunk-kpn", "10"),
    "globex": Tenant("globex", "2", "trunk-kpn2", "13"),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The loopback addresses and ports of one instance, so that instances run side by side.

    Attributes:
        host: Asterisk's own.
        ami_port, sip_port: Asterisk's.
        parties: Who is around it: `trunk-…`, `phones`, `silent`; each (host, port).
    """

    host: str
    ami_port: int
    sip_port: int
    parties: Mapping[str, tuple[str, int]]

    @property
    def trunks(self) -> dict[str, str]:
        """Each trunk's address, by its name."""
        return {trunk: self.parties[trunk][0] for trunk in TRUNKS}


def addresses() -> Addresses:
    """Choose a loopback net that nobody else uses now, and free ports in it."""
    draw = random.SystemRandom()
    net = f"127.{draw.randrange(1, 255)}.{draw.randrange(0, 255)}"
    hosts = {"trunk-kpn": 2, "phones": 3, "trunk-kpn2": 4, "trunk-shared": 5, "silent": 6}
    return Addresses(
        host=f"{net}.1",
        ami_port=free_port(f"{net}.1", socket.SOCK_STREAM),
        sip_port=free_port(f"{net}.1"),
        parties={name: (f"{net}.{n}", free_port(f"{net}.{n}")) for name, n in hosts.items()},
    )


def free_port(host: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Return a port of `host` that nobody is bound to at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Account:
    """An AMI account of the test PBX."""

    name: str
    secret: str = field(repr=False)


def accounts() -> dict[str, Account]:
    """Return the accounts of RIGHTS with fresh secrets."""
    return {name: Account(name, secrets.token_hex(16)) for name in RIGHTS}


def files(where: Addresses, who: Mapping[str, Account], generation: str) -> dict[str, str]:
    """Return every file of /instance/etc for one instance, by name."""
    return {
        "asterisk.conf": _ASTERISK,
        "modules.conf": "[modules]\nautoload = no\n" + "".join(f"load = {name}.so\n" for name in _MODULES),
        "logger.conf": "[general]\n[logfiles]\nmessages = notice,warning,error\n",
        "manager.conf": _manager(where, who, generation),
        "pjsip.conf": _pjsip(where),
        "extensions.conf": _extensions(),
        "queues.conf": "[general]\nautofill = yes\n" + "".join(_queue(tenant) for tenant in TENANTS.values()),
        "confbridge.conf": _CONFBRIDGE,
        "rtp.conf": "[general]\nrtpstart = 20000\nrtpend = 30000\n",
        "cdr.conf": _CDR,
        # Empty: without the file Asterisk complains, and complaints are looked at.
        **dict.fromkeys(("ccss.conf", "cel.conf", "features.conf", "udptl.conf"), "[general]\n"),
        **dict.fromkeys(("acl.conf", "pjproject.conf", "indications.conf"), ""),
    }


#: Loaded by name: autoload finds modules that look for hardware, databases and DNS,
#: and takes ten times as long.
_MODULES: Final = (
    *("res_timing_timerfd", "res_musiconhold", "res_pjproject", "res_sorcery_config", "res_sorcery_memory"),
    *("res_sorcery_astdb", "res_rtp_asterisk", "codec_ulaw", "codec_alaw", "codec_resample", "format_pcm"),
    *("res_pjsip", "res_pjsip_session", "res_pjsip_sdp_rtp", "res_pjsip_caller_id", "res_pjsip_refer"),
    *("res_pjsip_endpoint_identifier_ip", "res_pjsip_endpoint_identifier_user", "res_pjsip_nat"),
    *("res_pjsip_header_funcs", "res_pjsip_outbound_registration", "res_pjsip_pubsub", "res_pjsip_rfc3326"),
    *("chan_pjsip", "bridge_simple", "bridge_softmix", "bridge_holding", "bridge_builtin_features"),
    *(
        "res_pjsip_authenticator_digest",
        "pbx_config",
        "app_dial",
        "app_queue",
        "app_confbridge",
        "app_stack",
        "app_transfer",
        "app_verbose",
    ),
    "cdr_csv",
    *("func_callerid", "func_channel", "func_logic", "func_strings", "res_manager_devicestate"),
)

_ASTERISK: Final = """\
[directories]
astetcdir = /instance/etc
astvarlibdir = /instance/lib
astdbdir = /instance/lib
astkeydir = /instance/lib
astdatadir = /instance/data
astspooldir = /instance/spool
astrundir = /instance/run
astlogdir = /instance/log
[options]
hideconnect = yes
"""

#: Call records as a file, with everything that helps to tell legs apart.
_CDR: Final = """\
[general]
enable = yes
[csv]
usegmtime = yes
loguniqueid = yes
loguserfield = yes
newcdrcolumns = yes
accountlogs = no
"""

_CONFBRIDGE: Final = """\
[general]
[outsider]
type = user
quiet = yes
dsp_drop_silence = yes
[room]
type = bridge
"""


def _manager(where: Addresses, who: Mapping[str, Account], generation: str) -> str:
    text = f"[general]\nenabled = yes\nwebenabled = no\nbindaddr = {where.host}\nport = {where.ami_port}\n"
    for name, (read, write) in RIGHTS.items():
        text += f"[{name}]\nsecret = {who[name].secret}\nread = {read}\nwrite = {write}\n"
        if name == "meter-filtered":
            events = ("Newchannel", "Newstate", "Hangup", "BridgeEnter")
            # By name since 18.26, 20.11, 21.6, 22.1; a regular expression over the event before.
            lines = (
                [f"eventfilter = Event: {event}\n" for event in events]
                if generation == "16"
                else [f"eventfilter(action(include),name({event})) =\n" for event in events]
            )
            text += "".join(lines)
    return text


def _pjsip(where: Addresses) -> str:
    text = f"[global]\ntype = global\n[udp]\ntype = transport\nprotocol = udp\nbind = {where.host}:{where.sip_port}\n"
    common = f"disallow = all\nallow = ulaw\ndirect_media = no\nmedia_address = {where.host}\nbind_rtp_to_media_address = yes\n"
    for trunk in TRUNKS:
        host, port = where.parties[trunk]
        text += (
            f"[{trunk}]\ntype = endpoint\ncontext = from-{trunk}\naors = {trunk}\n{common}"
            f"[{trunk}]\ntype = aor\ncontact = sip:{host}:{port}\n"
            f"[{trunk}]\ntype = identify\nendpoint = {trunk}\nmatch = {host}\n"
        )
    for tenant in TENANTS.values():
        for phone in (f"{tenant.phones}{n}" for n in range(1, 10)):
            host, port = where.parties["silent" if phone[-1] in "89" else "phones"]
            account = f"accountcode = {tenant.name}\n" if phone == tenant.marked_phone else ""
            text += (
                f"[{phone}]\ntype = endpoint\ncontext = {tenant.name}-phones\naors = {phone}\n{common}{account}"
                f"[{phone}]\ntype = aor\ncontact = sip:{phone}@{host}:{port}\n"
                f"[{phone}]\ntype = identify\nendpoint = {phone}\nmatch_header = X-Ext: {phone}\n"
            )
    return text


def _extensions() -> str:
    text = "[general]\nstatic = yes\n[globals]\n"
    for trunk in TRUNKS:
        text += f"[from-{trunk}]\ninclude = dids\n"
    text += "[dids]\n"
    for tenant in TENANTS.values():
        a, b, c = (f"{tenant.phones}{n}" for n in (1, 8, 9))
        local = "&".join(f"Local/{phone}@{tenant.name}-phones" for phone in (a, b, c))
        text += _exten(tenant.did(PHONE), f"Dial(PJSIP/{a},60)")
        text += _exten(tenant.did(IVR), "Answer()", "Wait(60)")
        text += _exten(tenant.did(BRIEFLY), f"Dial(PJSIP/{b},{BRIEF_S})")
        text += _exten(tenant.did(SILENT), f"Dial(PJSIP/{b},60)")
        text += _exten(tenant.did(GROUP), f"Dial({local},60)")
        text += _exten(tenant.did(QUEUE), "Answer()", f"Queue({tenant.name},r,,,60)")
        text += _exten(tenant.did(CONFERENCE), "Answer()", f"ConfBridge({tenant.name},room,outsider)")
        for trunk, what in ONWARD.items():
            text += _exten(tenant.did(what), f"Dial(PJSIP/{OUTSIDE}${{CALLERID(num):-3}}@{trunk},60)")
    for tenant in TENANTS.values():
        text += f"[{tenant.name}-phones]\n"
        text += _exten(f"_{tenant.phones}X", "Dial(PJSIP/${EXTEN},60)")
        for trunk, digit in ACCESS.items():
            text += _exten(f"_{digit}{OUTSIDE}XXX", f"Dial(PJSIP/${{EXTEN:1}}@{trunk},60)")
    return text


def _exten(pattern: str, *steps: str) -> str:
    """Return one extension; it ends with the cause that its last dialled leg ended with."""
    first, *others = (*steps, "Hangup(${IF(${HANGUPCAUSE}?${HANGUPCAUSE}:16)})")
    return f"exten = {pattern},1,{first}\n" + "".join(f" same = n,{step}\n" for step in others)


def _queue(tenant: Tenant) -> str:
    members = "".join(f"member = PJSIP/{tenant.phones}{n}\n" for n in (1, 8))
    return f"[{tenant.name}]\nstrategy = ringall\ntimeout = 30\nringinuse = yes\njoinempty = yes\n{members}"
