"""Where the running agent answers: its local socket, and the address of its status page."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import structlog

from agent import metrics, status
from agent.clock import Clock
from agent.health import Health, clock_is_synchronised
from agent.page import serving
from agent.page.glance import Glance
from agent.status import Status
from agent.store.database import StoreError
from config.model import Config

log = structlog.get_logger(__name__)


async def open_doors(
    config: Config, told: Status, glance: Glance, health: Health, clock: Clock
) -> AsyncExitStack:
    """Answer on the local socket and on the status page; return what closes both.

    Args:
        config: Where.
        told: Is told where the page is, or why it is not there.
        glance: What the agent says of itself.
        health: Whether it is well.
        clock: The clock.

    Raises:
        StoreError: The socket can't be made. A page that can't be served is said, and stops nothing.
    """
    doors = AsyncExitStack()
    try:
        runner = await status.serve(config.agent.socket, glance.fresh)
    except OSError as error:
        raise StoreError(
            f"the socket {config.agent.socket} can't be made: {error.strerror or error}",
            hint="make its folder and give it to the agent's user, or name another: [agent] socket",
            damaged=False,
        ) from error
    doors.push_async_callback(runner.cleanup)
    if not config.page.enabled:
        return doors
    measured = partial(metrics.text, synchronised=clock_is_synchronised, state_dir=config.agent.state_dir)
    page = serving.Page(glance, health.unwell, measured, config.agent.timezone, run=str(clock.boot()))
    trouble = None
    try:
        served = await serving.serve(page, config.page.listen)
        doors.push_async_callback(served.cleanup)
    except OSError as error:
        trouble = f"{error.strerror or error}: name another address, [page] listen"
        log.warning("page.not_served", listen=config.page.listen, error=trouble)
    told.page = {"url": f"http://{config.page.listen}/", "trouble": trouble}
    return doors
