"""What can be said to a 3CX at all: nothing that could change or delay a call."""

import ast
import inspect
from pathlib import Path

import pytest

from connectors.errors import ConnectorError, Denied
from connectors.threecx import line, trouble
from connectors.threecx.line import Line, Resource, connected
from connectors.threecx.polling import Rhythm
from connectors.threecx.settings import Access, Settings

FOLDER = Path(line.__file__).parent
#: The connector's modules; the simulator answers, and so has verbs of its own.
MODULES = sorted(file for file in FOLDER.glob("*.py") if file.name != "simulator.py")
VERBS = {"get", "post", "put", "patch", "delete", "head", "options", "request", "ws_connect", "_request"}


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_one_module_speaks_http():
    """The line alone imports aiohttp, and nobody another library that could speak."""
    speakers = {"aiohttp", "http", "httpx", "requests", "urllib3", "websockets", "threecx"}
    found = {file.name for file in MODULES if speakers & set(imports(ast.parse(file.read_text())))}
    assert found == {"line.py"}


def test_it_can_post_to_two_paths_only():
    """The line's only verbs on its session are one GET and two POSTs, to the token's and the log-in's path."""
    said = [
        (node.func.attr, ast.unparse(node.args[0]))
        for node in ast.walk(ast.parse(Path(line.__file__).read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in VERBS
        and ast.unparse(node.func.value) == "self._session"
    ]
    assert sorted(said) == [
        ("get", "url"),
        ("post", "URL(f'{self._base}/connect/token')"),
        ("post", "URL(f'{self._base}/webclient/api/Login/GetAccessToken')"),
    ]
    assert "_session" not in "".join(file.read_text() for file in MODULES if file.name != "line.py")


def test_what_can_be_read_is_a_short_list():
    """Nothing on the list is an action, and the list is closed."""
    assert {resource.value for resource in Resource} == {
        *("Defs", "SystemStatus", "ActiveCalls", "Trunks", "Groups", "Users", "Peers"),
        "ReportCallLogData/Pbx.GetCallLogData",
    }


@pytest.mark.parametrize(
    "path",
    ["ActiveCalls(7)/Pbx.DropCall", "ActiveCalls/../ActiveCalls(7)/Pbx.DropCall", "", "activecalls", None],
)
async def test_drop_call_can_t_be_built(path):
    """Any other path raises before a byte leaves: there is not even a session to send it."""
    with pytest.raises(ValueError):  # noqa: PT011 -- the enumeration's own
        await Line(None, "http://127.0.0.1:1", lambda: 0).read(path, {}, bearer="x")


@pytest.mark.parametrize(
    "url",
    [
        "http://pbx.example",
        "http://192.0.2.1:5000",
        "ftp://127.0.0.1",
        "",
        "pbx.example",
        "http://127.0.0.1.example",
    ],
)
async def test_only_https_leaves_the_machine(url):
    """Plain HTTP is refused but towards this machine itself, with what to write instead."""
    with pytest.raises(Denied) as caught:
        async with connected(Settings(url=url, secret="hidden"), lambda: 0):
            pass
    assert "https://" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "http://localhost", "http://[::1]:5000", "https://pbx.example:5001"]
)
async def test_https_and_this_machine_are_let_through(url):
    """HTTPS to anybody, and HTTP to this machine, open a session."""
    async with connected(Settings(url=url), lambda: 0):
        pass


def every_trouble():
    for name, make in inspect.getmembers(trouble, inspect.isfunction):
        if make.__module__ != trouble.__name__ or name in {"sift", "of_a_part"}:
            continue
        given = {
            "access": Access.XAPI,
            "before": trouble.refused(Access.XAPI),
            "last": trouble.silent(),
            "what": "the call log",
            "roles": {"managers"},
            "status": 502,
            "trunks": 4,
            "error": ValueError("x"),
        }
        yield make(**{word: given[word] for word in inspect.signature(make).parameters})
    yield trouble.Throttled(None)
    yield trouble.of_a_part({"managers"})
    yield trouble.refused(Access.USER_LOGIN)
    yield trouble.fought_over(Access.USER_LOGIN)
    yield trouble.forbidden("x", {"system_admins"})


@pytest.mark.parametrize("error", list(every_trouble()), ids=str)
def test_every_trouble_says_what_to_do(error):
    """Every error is a sentence, and its hint is another one."""
    assert isinstance(error, ConnectorError)
    assert str(error).endswith(".")
    assert error.hint.endswith(".")


def test_the_settings_show_no_secret():
    """The repr of the settings holds no key."""
    assert "hidden" not in repr(Settings(url="https://pbx.example", secret="hidden"))


@pytest.mark.parametrize(
    ("roles", "of_a_part"),
    [
        ({"App", "system_admins"}, False),
        ({"system_owners", "users"}, False),
        ({"App", "managers"}, True),
        ({"users"}, True),
        ({"MyUser", "PhoneSystemAdmin"}, False),
        (set(), False),
    ],
)
def test_a_role_of_one_department_is_refused(roles, of_a_part):
    """A role that sees a part would make a part the whole; one that nobody knows is left to the 3CX."""
    assert (trouble.of_a_part(roles) is not None) is of_a_part


def test_the_rhythm_is_steady():
    """Polls are due at fixed distances from the first, however long each took within its interval."""
    rhythm = Rhythm(2.0)
    due = []
    for at in (100.0, 102.3, 103.0, 104.01, 106.0):
        rhythm.begun(at)
        due.append(rhythm.due)
    assert due == [102.0, 104.0, 104.0, 106.0, 108.0]  # the one at 103 was asked for beside the beat


def test_a_slow_poll_makes_the_next_one_late():
    """A poll that took longer than the interval is followed by one poll, not by all that were missed."""
    rhythm = Rhythm(2.0)
    rhythm.begun(100.0)
    rhythm.begun(107.0)
    assert rhythm.due == 109.0


def test_too_many_requests_slow_it_down():
    """Without Retry-After the interval is doubled for a minute; with it nothing is asked before."""
    rhythm = Rhythm(2.0)
    rhythm.begun(100.0)
    rhythm.throttle(100.1, None)
    assert rhythm.due == 102.0
    rhythm.begun(102.0)
    assert rhythm.due == 106.0
    rhythm.begun(170.0)
    assert rhythm.due == 172.0
    rhythm.throttle(170.0, 30.0)
    assert rhythm.due == 200.0
    rhythm.throttle(170.0, 1e9)
    assert rhythm.due == 770.0
