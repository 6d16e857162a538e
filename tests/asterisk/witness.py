"""A second opinion on the snapshot: pyst2, an AMI client that shares nothing with ours.

It runs in a process of its own (`python -m tests.asterisk.witness`): its threads use
what newer Pythons warn about, and warnings are errors here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

from tests.asterisk.instance import Instance

_ANSWER_S: Final = 15.0
_HOST, _PORT, _SECRET = "WITNESS_HOST", "WITNESS_PORT", "WITNESS_SECRET"


async def channels(instance: Instance) -> list[dict[str, str]]:
    """Return the headers of each CoreShowChannel that pyst2 is given now.

    Raises:
        RuntimeError: pyst2 got no answer; the sentence is the end of what it wrote.
    """
    account = instance.accounts["witness"]
    told = {_HOST: instance.host, _PORT: str(instance.ami_port), _SECRET: account.secret}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "tests.asterisk.witness"),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **told},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * _ANSWER_S):
            said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise RuntimeError(f"pyst2: {complaint.decode()[-500:]}")
    found: list[dict[str, str]] = json.loads(said)
    return found


def main() -> int:
    """Print the channels as JSON. 0: done, 1: no answer in time."""
    from asterisk.manager import Manager  # noqa: PLC0415 - warns at import; only this process may

    manager = Manager()
    found: list[dict[str, str]] = []
    complete = threading.Event()

    def channel(event: Any, _: Manager) -> None:
        found.append(event.headers)

    def end(event: Any, _: Manager) -> None:
        complete.set()

    manager.register_event("CoreShowChannel", channel)
    manager.register_event("CoreShowChannelsComplete", end)
    manager.connect(os.environ[_HOST], int(os.environ[_PORT]))
    manager.login("witness", os.environ[_SECRET])
    manager.send_action({"Action": "CoreShowChannels"})
    answered = complete.wait(_ANSWER_S)
    print(json.dumps(found), flush=True)
    os._exit(0 if answered else 1)  # its threads do not end by themselves


if __name__ == "__main__":
    sys.exit(main())
