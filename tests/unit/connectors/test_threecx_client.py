"""Reading from something that answers as it likes: what is understood, and what is Garbled, never another error."""

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.errors import ConnectorError, Denied, Garbled, Unreachable
from connectors.threecx import calllog, directory, system
from connectors.threecx.client import Client
from connectors.threecx.line import Resource, connected
from connectors.threecx.polling import Polling
from connectors.threecx.settings import Access, Settings
from connectors.threecx.token import Tokens

TOKEN = {"access_token": "opaque", "expires_in": 3600}


@asynccontextmanager
async def asking(answer, token=TOKEN, **settings):
    """Ask a server that answers each GET with what `answer(request)` returns: JSON, bytes or a response."""

    async def handle(request):
        given = token if request.path == "/connect/token" else answer(request)
        if isinstance(given, web.Response):
            return given
        return web.Response(body=given if isinstance(given, bytes) else json.dumps(given).encode())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        given = Settings(
            url=f"http://127.0.0.1:{server.port}", username="900", secret="x", answer_timeout_s=5, **settings
        )
        async with connected(given, lambda: 1_790_000_000_000) as line:
            yield Client(line, Tokens(given), Access.XAPI)


def rows(*values, count=None):
    return {"value": list(values)} | ({} if count is None else {"@odata.count": count})


async def test_pages_are_read_up_to_the_count():
    """A page may be shorter than asked for: reading goes on by what came, up to the count."""
    skips = []

    def answer(request):
        skip = int(request.query["$skip"])
        skips.append((skip, request.query["$top"]))
        return rows(*({"Id": place} for place in range(skip, min(skip + 30, 70))), count=70)

    async with asking(answer) as client:
        assert len(await client.whole(Resource.USERS, {"$select": "Id"})) == 70
    assert skips == [(0, "100"), (30, "100"), (60, "100")]


async def test_without_a_count_an_empty_page_is_the_end():
    """What tells no count is read until nothing comes."""

    def answer(request):
        return rows({"Id": 1}, {"Id": 2}) if request.query["$skip"] == "0" else rows()

    async with asking(answer) as client:
        assert [row["Id"] for row in await client.whole(Resource.USERS, {})] == [1, 2]


async def test_a_part_is_not_taken_for_the_whole():
    """A list that counts more than it shows is Garbled."""

    def answer(request):
        return rows({"Id": 1}, count=5) if request.query["$skip"] == "0" else rows(count=5)

    async with asking(answer) as client:
        with pytest.raises(Garbled):
            await client.whole(Resource.USERS, {})


async def test_a_version_that_knows_no_expansion_is_read_without():
    """A 400 to `$expand` is not asked again unchanged: the list is read without, and departments by the user alone."""
    asked = []

    def answer(request):
        asked.append("$expand" in request.query)
        if asked[-1]:
            return web.Response(status=400, body=b'{"error":{"code":"","message":"no"}}')
        return rows({"Id": 1, "Number": "100", "PrimaryGroupId": 28}, count=1)

    async with asking(answer) as client:
        assert await directory.read_users(client) == {"100": (28,)}
    assert asked == [True, False]


async def test_a_version_that_counts_no_users_is_asked_without():
    """A 400 to the count of users, from a version that should have it, is asked once more without: unknown, not zero."""

    def answer(request):
        if "UserExtensions" in request.query["$select"]:
            return web.Response(status=400)
        return {"Version": "20.0.9.1", "TrunksTotal": 2}

    async with asking(answer) as client:
        assert await system.status(client, "20.0.9.1") == system.System(2, None)


async def test_more_than_a_page_of_calls_is_read_by_id():
    """The next page begins at the last id seen, and the same id twice is no end without end."""
    filters = []

    def answer(request):
        filters.append(request.query.get("$filter"))
        first = int((filters[-1] or "Id ge 1").rpartition(" ")[2])
        ids = list(range(first, 151))
        return rows(
            *({"Id": number, "Caller": "10000 A", "Status": "Talking"} for number in ids[:100]),
            count=len(ids),
        )

    async with asking(answer) as client:
        poll = await Polling(client).poll()
    assert {call.id for call in poll.calls} == set(range(1, 151))
    assert filters == [None, "Id ge 100"]


async def test_a_redirect_is_not_followed():
    """What points elsewhere gets no token there: Unreachable."""
    asked = []

    def answer(request):
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with asking(answer) as client:
        with pytest.raises(Unreachable):
            await client.read(Resource.DEFS, {})
    assert asked == ["/xapi/v1/Defs"]


NASTY = [
    b"",
    b"<html>502</html>",
    b"null",
    b"[]",
    b"7",
    b"{}",
    b'{"value": 7}',
    b'{"value": [7]}',
    b'{"value": [null]}',
    b'{"value": [{}], "@odata.count": 1}',
    b'{"value": [{"Id": [1]}], "@odata.count": 1}',
    b'{"value": [{"Id": 1, "Number": 7, "Name": 7}], "@odata.count": 1}',
    b'{"value": [{"Id": 1, "Number": " 7", "Name": "x"}], "@odata.count": 1}',
    b'{"value": [{"Id": 1, "Number": "7", "Groups": 7, "MemberOf": [7], "Gateway": 7, "Props": 7}], "@odata.count": "1"}',
    b'{"value": [{"Id": 1, "Number": "7", "PrimaryGroupId": "x", "Groups": [{"GroupId": []}]}], "@odata.count": 1}',
    b'{"value": [{"Id": 1, "Number": "7", "Props": {"UserNumberFrom": 1, "UserNumberTo": "'
    + b"9" * 5000
    + b'"}}], "@odata.count": 1}',
    b'{"value": [{"Id": 1e400}], "@odata.count": 1e400}',
    b'{"value": [{"Id": ' + b"9" * 5000 + b"}]}",
    b"[" * 100_000,
    b"\xff\xfe{}",
    b'{"Version": 7, "TrunksTotal": "many", "UserExtensions": []}',
]


@pytest.mark.parametrize("body", NASTY, ids=[str(place) for place in range(len(NASTY))])
async def test_any_answer_is_understood_or_garbled(body):
    """Whatever comes with a 200, every reading gives a value or Garbled."""

    def answer(request):
        return body if request.query.get("$skip", "0") == "0" else b'{"value": []}'

    async with asking(answer) as client:
        for reading in (
            lambda: system.version(client),
            lambda: system.status(client, "20.0.9"),
            lambda: directory.read(client),
            lambda: directory.read_trunks(client),
            lambda: directory.read_departments(client),
            lambda: directory.read_users(client),
            lambda: directory.read_others(client, {}),
            lambda: Polling(client).poll(),
            lambda: calllog.read(client, 0, 1000, 0),
        ):
            try:
                await reading()
            except Garbled as fault:
                assert fault.hint  # noqa: PT017 -- either is well


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"access_token": 7}', b'{"access_token": "a b"}', b"<html/>", b"\xff"],
)
async def test_any_answer_for_a_token_is_one_or_garbled(body):
    """A 200 without a token that can be carried is Garbled."""
    async with asking(lambda _: {}, token=body) as client:
        with pytest.raises(Garbled):
            await client.read(Resource.DEFS, {})


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("body", [b"", b'{"error":"invalid_client"}', b'"Account locked"', b"<html/>"])
async def test_every_refusal_of_a_token_is_denied(status, body):
    """400, 401 and 403 from the token's path are refused credentials, whatever is in them."""
    async with asking(lambda _: {}, token=web.Response(status=status, body=body)) as client:
        with pytest.raises(Denied):
            await client.read(Resource.DEFS, {})


@pytest.mark.parametrize("status", [204, 206, 300, 402, 405, 409, 410, 418, 500, 503, 511, 599])
async def test_every_other_status_is_an_error_of_the_seam(status):
    """Whatever status answers, it is one of the seam's errors."""
    async with asking(lambda _: web.Response(status=status)) as client:
        with pytest.raises(ConnectorError):
            await client.read(Resource.ACTIVE_CALLS, {})


async def test_an_answer_without_end_is_given_up(monkeypatch):
    """An answer that is too long is Garbled before it fills the memory."""
    monkeypatch.setattr("connectors.threecx.line._LARGEST_BYTES", 1000)
    async with asking(lambda _: b" " * 2000) as client:
        with pytest.raises(Garbled):
            await client.read(Resource.DEFS, {})
