"""Make tests/recordings: what a real Asterisk sends over AMI, byte for byte, per kind of call.

`python -m tests.asterisk.record` builds them anew for every version. Scrubbed are
the loopback net of the instance (to 127.0.0.x) and this machine's name; every number
comes from a range that is kept for fiction (tests.asterisk.configuration).
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from tests.asterisk import ami, network, roots
from tests.asterisk.calls import Kind, Script, pair
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Network
from tests.asterisk.patience import until

RECORDINGS: Final = Path(__file__).parent.parent / "recordings"

#: Every kind of call under least rights, and these with all rights too: much larger.
WITH_ALL_RIGHTS: Final = ("answered", "forwarded", "ring-group", "attended-transfer")

SCENARIOS: Final = {
    "answered": (Script(1, Kind.ANSWERED, "acme", "trunk-kpn"),),
    "unanswered": (Script(1, Kind.UNANSWERED, "acme", "trunk-kpn"),),
    "cancelled": (Script(1, Kind.CANCELLED, "acme", "trunk-kpn"),),
    "rejected": (Script(1, Kind.REJECTED, "acme", "trunk-kpn"),),
    "shared-trunk": (Script(1, Kind.ANSWERED, "globex", "trunk-shared"),),
    "outbound": (Script(1, Kind.OUTBOUND, "globex", "trunk-kpn2"),),
    "outbound-account": (Script(1, Kind.OUTBOUND, "acme", "trunk-shared", marked=True),),
    "outbound-busy": (Script(1, Kind.OUTBOUND_BUSY, "acme", "trunk-kpn"),),
    "internal": (Script(1, Kind.INTERNAL, "acme"),),
    "forwarded": (Script(1, Kind.FORWARDED, "acme", "trunk-kpn", "trunk-shared"),),
    "ring-group": (Script(1, Kind.RING_GROUP, "acme", "trunk-kpn"),),
    "queue": (Script(1, Kind.QUEUE, "acme", "trunk-kpn", talk_ms=1_500),),
    "conference": (
        Script(1, Kind.CONFERENCE, "acme", "trunk-kpn", talk_ms=800),
        Script(2, Kind.CONFERENCE, "acme", "trunk-shared", at_ms=200, talk_ms=800),
    ),
    "blind-transfer": (Script(1, Kind.BLIND_TRANSFER, "acme", "trunk-kpn", "trunk-kpn", talk_ms=1_500),),
    "attended-transfer": pair(Kind.ATTENDED_TRANSFER, 1, "acme", "trunk-kpn", "trunk-shared", talk_ms=1_500),
    "joined": pair(Kind.JOINED, 1, "globex", "trunk-kpn2", "trunk-shared", talk_ms=1_500),
}

#: Asked while calls are up. What an account may not is recorded too: the refusal.
LISTS: Final = (
    *("CoreSettings", "CoreStatus", "CoreShowChannels", "DeviceStateList", "PJSIPShowEndpoints"),
    *("PJSIPShowRegistrationsOutbound", "SIPpeers", "IAXpeerlist", "Ping"),
)


async def record(instance: Instance, around: Network, home: Path) -> None:
    """Write every recording of one version into `home`."""
    for name, scripts in SCENARIOS.items():
        accounts = {"least": "meter", "filtered": "meter-filtered"}
        if name in WITH_ALL_RIGHTS:
            accounts["all"] = "witness"
        async with AsyncExitStack() as stack:
            sessions = {
                rights: await stack.enter_async_context(_session(instance, account))
                for rights, account in accounts.items()
            }
            placed = await stack.enter_async_context(around.place(scripts))
            await placed.finished()
            for rights, session in sessions.items():
                await session.act("Ping")  # its answer comes after every event: nothing is cut off
                if rights != "filtered" or name == "answered":
                    _write(home / f"{name}.{rights}.ami", session, instance)
    up = Script(1, Kind.IVR, "acme", "trunk-kpn", talk_ms=2_000)
    for rights, account in {"least": "meter", "system": "meter-system", "all": "witness"}.items():
        async with (
            _session(instance, "driver", keep=False) as watch,
            _session(instance, account) as session,
            around.place((up,)) as placed,
        ):
            await _until_up(watch)
            for action in LISTS:
                with suppress(ami.Refused):
                    await session.act(action)
            _write(home / f"lists.{rights}.ami", session, instance)
            await placed.finished()


async def record_shutdown(instance: Instance, home: Path) -> None:
    """Record what is heard of an Asterisk that is stopped, with rights to hear of it."""
    async with _session(instance, "meter-system") as session:
        await asyncio.to_thread(instance.stop)
        await session.ended.wait()
        _write(home / "shutdown.system.ami", session, instance)


def _session(
    instance: Instance, account: str, *, keep: bool = True
) -> AbstractAsyncContextManager[ami.Session]:
    return ami.session(instance.host, instance.ami_port, instance.accounts[account], keep=keep)


async def _until_up(session: ami.Session) -> None:
    async def up() -> bool:
        return (await session.act("CoreShowChannels"))[-1]["ListItems"] == "1"

    await until(up, within_s=5)


def _write(path: Path, session: ami.Session, instance: Instance) -> None:
    data = bytes(session.received or b"")
    net = instance.host.removesuffix(".1").encode()
    data = data.replace(net + b".", b"127.0.0.")
    data = re.sub(rb"\b" + re.escape(socket.gethostname().encode()) + rb"\b", b"pbx", data)
    path.write_bytes(data)


def main() -> int:
    """Make all recordings anew. 0: made, 1: a sentence says what is missing."""
    if lacks := roots.missing():
        print("no real Asterisk here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    for generation in roots.SUITES:
        home = RECORDINGS / f"asterisk{generation}"
        home.mkdir(parents=True, exist_ok=True)
        for old in home.glob("*.ami"):
            old.unlink()
        with running(roots.root(generation)) as instance, network.around(instance) as around:
            asyncio.run(record(instance, around, home))
            asyncio.run(record_shutdown(instance, home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
