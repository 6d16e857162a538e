"""Where the running agent answers: its local socket, and the address of its status page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

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


async def open_socket(
    path: Path,
    read: Callable[[], Awaitable[dict[str, Any]]],
    reload: Callable[[], Awaitable[dict[str, Any]]] | None = None,
) -> AsyncExitStack:
    """Answer on the local socket; return what closes it.

    Args:
        path: Where.
        read: What the agent says of itself.
        reload: Reads the configuration again, for those whom the socket lets in; None: it can't be.

    Raises:
        StoreError: The socket can't be made.
    """
    door = AsyncExitStack()
    try:
        runner = await status.serve(path, read, reload)
    except OSError as error:
        raise StoreError(
            f"the socket {path} can't be made: {error.strerror or error}",
            hint="make its folder and give it to the agent's user, or name another: [agent] socket",
            damaged=False,
        ) from error
    door.push_async_callback(runner.cleanup)
    return door


async def open_page(
    config: Config, told: Status, glance: Glance, health: Health, clock: Clock
) -> AsyncExitStack:
    """Serve the status page, if it is wanted; return what closes it. One that can't be served stops nothing.

    Args:
        config: Where.
        told: Is told where the page is, or why it is not there.
        glance: What the agent says of itself.
        health: Whether it is well.
        clock: The clock.
    """
    door = AsyncExitStack()
    if not config.page.enabled:
        return door
    measured = partial(metrics.text, synchronised=clock_is_synchronised, state_dir=config.agent.state_dir)
    page = serving.Page(glance, health.unwell, measured, config.agent.timezone, run=str(clock.boot()))
    trouble = None
    try:
        served = await serving.serve(page, config.page.listen)
        door.push_async_callback(served.cleanup)
    except OSError as error:
        trouble = f"{error.strerror or error}: name another address, [page] listen"
        log.warning("page.not_served", listen=config.page.listen, error=trouble)
    told.page = {"url": f"http://{config.page.listen}/", "trouble": trouble}
    return door
