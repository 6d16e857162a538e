"""A real headless Chromium, driven over its own debugging protocol: no driver to install, nothing fetched.

Debian: apt-get install chromium. Where it is missing these tests are skipped and say so;
where CI=true they fail.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.around import Process, until

CHROMIUM = shutil.which("chromium")


def need_chromium() -> None:
    """Skip the test if there is no Chromium; in CI it fails."""
    if CHROMIUM is None:
        sentence = "no chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


class Tab:
    """One page that is open.

    Attributes:
        complaints: What the browser logged against the page: errors, refused resources, broken policies.
        asked: Every URL that the page asked for.
    """

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.session: str | None = None
        self._line = line
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take what the browser says, until it is closed."""
        async for message in self._line:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._hear(said.get("method"), said.get("params", {}))

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    async def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and return its result."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        to = {} if self.session is None else {"sessionId": self.session}
        await self._line.send_json({"id": number, "method": method, "params": params, **to})
        async with asyncio.timeout(20):
            said = await self._answers[number]
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page; a promise is awaited."""
        said = await self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def wait(self, script: str, *, within_s: float = 10) -> Any:
        """Wait until JavaScript is true in the page, asked at every change of it and ten times a second."""
        wait = (
            "new Promise((done, fail) => { const look = () => { const found = (%s); if (found) { done(found);"
            " seen.disconnect(); clearInterval(again); } };"
            " const seen = new MutationObserver(look);"
            " seen.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});"
            " const again = setInterval(look, 100);"
            " setTimeout(() => fail('not within %d ms: ' + document.body.innerText), %d); look(); })"
        )
        return await self.run(wait % (script, within_s * 1000, within_s * 1000))

    async def arrive(self, script: str, *, within_s: float = 20) -> None:
        """Wait until JavaScript is true in the page that is open by then, whatever page that is."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    await self.wait(script, within_s=1)
                except AssertionError:  # not yet, or the page went away in the midst of it
                    await asyncio.sleep(0.1)
                else:
                    return

    async def open(self, url: str) -> None:
        await self.tell("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'")

    async def text(self, selector: str = "body") -> str:
        found: str = await self.run(f"document.querySelector({selector!r}).innerText")
        return found

    async def look(self, *, width: int, dark: bool = False, height: int = 800) -> None:
        """Be a screen of a width, in a scheme of colours."""
        await self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.tell("Emulation.setEmulatedMedia", features=[scheme])

    async def shot(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        said = await self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(said["data"])

    async def tree(self) -> list[dict[str, str]]:
        """Return what a screen reader is told: each thing's role and name, in order."""
        nodes = {node["nodeId"]: node for node in (await self.tell("Accessibility.getFullAXTree"))["nodes"]}
        found, left = [], [next(iter(nodes))]
        while left:
            node = nodes[left.pop()]
            left += [child for child in reversed(node.get("childIds", [])) if child in nodes]
            if not node.get("ignored"):
                found.append(
                    {"role": node["role"]["value"], "name": node.get("name", {}).get("value", "").strip()}
                )
        return found


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """Open a Chromium with one empty tab; it ends with the block."""
    need_chromium()
    profile = folder / "chromium"
    argv = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = await Process.start(argv, folder / "chromium.log")
    port = profile / "DevToolsActivePort"
    try:
        await until(lambda: port.exists() and port.read_text().count("\n"), within_s=30, what="Chromium")
        number, path = port.read_text().split("\n")[:2]
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{number}{path}", max_msg_size=0) as line,
            asyncio.TaskGroup() as group,
        ):
            tab = Tab(line)
            listening = group.create_task(tab.listen())
            target = await tab.tell("Target.createTarget", url="about:blank")
            attached = await tab.tell("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            tab.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
                await tab.tell(f"{domain}.enable")
            yield tab
            listening.cancel()
    finally:
        process.kill()
        await process.ended()
