"""The simulated 3CX over HTTP: its tokens, roles, versions and limits, and what goes wrong when it is told to."""

import asyncio
import base64
import json
import ssl
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from connectors.threecx.simulated import cycles
from connectors.threecx.simulated.directory import TRUNKS, Trunk, User
from connectors.threecx.simulated.entities import SECRET
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulated.tokens import SHUT_OUT_MS, Client
from connectors.threecx.simulator import ADMIN, OWNER, SimulatedThreeCX

AT = 1_795_286_668_123
LOG = (
    "ReportCallLogData/Pbx.GetCallLogData(periodFrom=2026-01-01T00:00:00Z,periodTo=2027-01-01T00:00:00Z,"
    "sourceType=0,sourceFilter='',destinationType=0,destinationFilter='',callsType=0,callTimeFilterType=0,"
    "callTimeFilterFrom='0:00:0',callTimeFilterTo='0:00:0',hidePcalls=true)"
)


class Clock:
    def __init__(self):
        self.at = AT

    def __call__(self):
        return self.at


class Visitor:
    """Somebody who speaks HTTP with a simulated 3CX, and looks at every answer."""

    def __init__(self, pbx, session):
        self.pbx = pbx
        self.session = session
        self.token = ""

    async def mint(self, client=OWNER, secret=None, **more):
        form = {
            "client_id": client.client_id,
            "client_secret": client.secret if secret is None else secret,
            "grant_type": "client_credentials",
        }
        async with self.session.post(f"{self.pbx.url}/connect/token", data=form | more) as answer:
            said = await answer.json()
            self.token = said.get("access_token", self.token)
            return answer.status, said

    async def ask(self, path, token=None):
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.session.get(f"{self.pbx.url}/xapi/v1/{path}", headers=headers) as answer:
            self.headers = answer.headers
            body = await answer.read()
            return answer.status, json.loads(body) if body.startswith(b"{") else body

    async def rows(self, path):
        status, said = await self.ask(path)
        assert status == 200, said
        return said["value"]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as one:
        yield one


@pytest.fixture
async def pbx(clock):
    async with SimulatedThreeCX(clock) as simulated:
        yield simulated


@pytest.fixture
async def visitor(pbx, session):
    one = Visitor(pbx, session)
    await one.mint()
    return one


def claims(token):
    header, payload, signature = token.split(".")
    assert signature
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "ES256"
    return json.loads(base64.urlsafe_b64decode(payload + "=="))


# --- tokens --------------------------------------------------------------------------------------


async def test_a_token_comes_for_a_form_and_for_multipart(visitor):
    """Both ways to send the secret bring a three-part JWT whose `exp` is an hour away, by the 3CX's clock."""
    status, said = await visitor.mint()
    assert (status, said["token_type"], said["expires_in"]) == (200, "Bearer", 3600)
    parts = aiohttp.FormData(quote_fields=False)
    for name, value in (
        ("client_id", "901"),
        ("client_secret", OWNER.secret),
        ("grant_type", "client_credentials"),
    ):
        parts.add_field(name, value, content_type="text/plain")
    async with visitor.session.post(f"{visitor.pbx.url}/connect/token", data=parts) as answer:
        assert answer.status == 200
        told = claims((await answer.json())["access_token"])
    assert told["exp"] - told["iat"] == 3600
    assert told["iat"] == AT // 1000
    assert (told["sub"], told["aud"]) == ("901", "/api")
    assert "system_owners" in told["role"]


@pytest.mark.parametrize(
    ("version", "odd", "expires_in", "life_s"),
    [
        ("20.0.8.1109", False, 60, 3600),
        ("20.0.9.995", False, 3600, 3600),
        ("20.0.4.5", True, 60, 60),
        ("20.0.9.995", True, 60, 60),
    ],
)
async def test_expires_in_counts_minutes_or_seconds(clock, session, version, odd, expires_in, life_s):
    """Up to update 8 `expires_in` says minutes, then seconds; in the odd mode it is 60 seconds; `exp` tells truly."""
    async with SimulatedThreeCX(clock, version=version, odd_expiry=odd) as pbx:
        one = Visitor(pbx, session)
        _, said = await one.mint()
        assert said["expires_in"] == expires_in
        assert claims(said["access_token"])["exp"] == AT // 1000 + life_s
        clock.at += life_s * 1000 - 1
        assert (await one.ask("Defs"))[0] == 200
        clock.at += 1
        assert (await one.ask("Defs"))[0] == 401


async def test_a_new_token_voids_the_old_one(visitor):
    """One token lives per client: the first is refused the moment the second is minted; another client's lives on."""
    old = visitor.token
    other = Visitor(visitor.pbx, visitor.session)
    await other.mint(ADMIN)
    await visitor.mint()
    assert await visitor.ask("Defs", old) == (401, b"")
    assert visitor.headers["WWW-Authenticate"] == "Bearer"
    assert (await visitor.ask("Defs"))[0] == 200
    assert (await other.ask("Defs"))[0] == 200


async def test_a_wrong_secret_is_refused_and_the_fourth_shuts_the_address_out(visitor, clock):
    """A wrong secret brings 401 with JSON; after four nothing from there is answered until the time is over."""
    for _ in range(4):
        assert await visitor.mint(secret="wrong") == (
            401,
            {
                "error": "unauthorized",
                "error_description": "The request requires valid user authentication.",
            },
        )
    with pytest.raises(aiohttp.ClientError):
        await visitor.mint()
    with pytest.raises(aiohttp.ClientError):
        await visitor.ask("Defs")
    clock.at += SHUT_OUT_MS
    assert (await visitor.mint())[0] == 200


async def test_a_right_secret_makes_up_for_wrong_ones(visitor):
    """Three wrong secrets and a right one begin the count anew."""
    for _ in range(3):
        for _ in range(3):
            await visitor.mint(secret="wrong")
        assert (await visitor.mint())[0] == 200


async def test_another_grant_is_none(visitor):
    """A grant that a 3CX does not know brings OAuth's 400."""
    assert await visitor.mint(grant_type="password") == (400, {"error": "unsupported_grant_type"})


# --- the web client's log-in ---------------------------------------------------------------------


async def log_in(visitor, username, password, code=""):
    body = {"SecurityCode": code, "Username": username, "Password": password}
    url = f"{visitor.pbx.url}/webclient/api/Login/GetAccessToken"
    async with visitor.session.post(url, json=body) as answer:
        said = await answer.json()
        if said["Token"] is not None:
            visitor.token = said["Token"]["access_token"]
        return said, answer.cookies


async def test_a_user_logs_in_and_renews_by_cookie(pbx, session):
    """A user's number and password bring a token of his role, whatever the licence, and a cookie that renews it."""
    pbx.me.licence = "free"
    one = Visitor(pbx, session)
    said, cookies = await log_in(one, "100", "only-for-simulations")
    assert said["Status"] == "AuthSuccess"
    assert (await one.ask("ActiveCalls"))[0] == 200
    cookie = {"Cookie": f"RefreshTokenCookie={cookies['RefreshTokenCookie'].value}"}
    form = {"client_id": "Webclient", "grant_type": "refresh_token"}
    async with session.post(f"{pbx.url}/connect/token", data=form, headers=cookie) as answer:
        renewed = await answer.json()
    assert answer.status == 200
    assert (await one.ask("ActiveCalls", renewed["access_token"]))[0] == 200
    assert (await one.ask("ActiveCalls"))[0] == 200, "a user's tokens live side by side"


async def test_a_log_in_is_refused_without_a_token(clock, session):
    """Wrong password, second factor, locked account: 200 with a status of its own and no token."""
    users = (
        User("101", password="right"),
        User("102", password="right", two_factor=True),
        User("103", password="right", enabled=False),
    )
    async with SimulatedThreeCX(clock, users=users) as pbx:
        one = Visitor(pbx, session)
        said = [
            (await log_in(one, *who))[0]
            for who in (("101", "wrong"), ("102", "right"), ("103", "right"), ("102", "right", "123456"))
        ]
        assert [one["Token"] is None for one in said] == [True, True, True, False]
        assert "AuthSuccess" not in [one["Status"] for one in said[:3]]
        assert said[1]["TwoFactorAuth"] is not None
        assert (await one.ask("ActiveCalls"))[0] == 403, "a user without a role sees nothing"


# --- roles and licence ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "department", "calls", "log", "status"),
    [
        ("system_owners", "DEFAULT", 200, 200, 200),
        ("system_admins", "DEFAULT", 200, 403, 200),
        ("managers", "Sales", 200, 403, 403),
        ("receptionists", "Sales", 403, 403, 403),
        ("users", "DEFAULT", 403, 403, 403),
        ("system_owners", "", 403, 403, 403),
    ],
)
async def test_a_role_opens_what_it_opens(clock, session, role, department, calls, log, status):
    """Owners see all, admins all but the call log, a department's roles their own, users nothing; so does "System Wide"."""
    async with SimulatedThreeCX(clock, clients=(Client("7", role=role, department=department),)) as pbx:
        one = Visitor(pbx, session)
        await one.mint(Client("7"))
        found = [(await one.ask(path))[0] for path in ("ActiveCalls", LOG, "SystemStatus")]
    assert found == [calls, log, status]


async def test_a_department_s_role_sees_its_own(clock, session):
    """A manager of Sales sees the calls, users, trunks and departments of Sales."""
    async with SimulatedThreeCX(clock, clients=(Client("7", role="managers", department="Sales"),)) as pbx:
        one = Visitor(pbx, session)
        await one.mint(Client("7"))
        for extension in ("100", "200"):
            cycles.begin(pbx.exchange, "inbound", extension=extension)
        clock.at += 10_000
        assert [row["Callee"][:3] for row in await one.rows("ActiveCalls")] == ["200"]
        assert {row["Number"][0] for row in await one.rows("Users")} == {"2"}
        assert [row["Number"] for row in await one.rows("Trunks")] == ["10020", "10200"]
        assert [row["Name"] for row in await one.rows("Groups")] == ["Sales"]


@pytest.mark.parametrize("lower", ["licence", "console", "client"])
async def test_what_shuts_the_door_brings_403(clock, session, lower):
    """A lower licence, console restrictions, and a client without the tick are refused everything, without a word why."""
    clients = (Client("901", xapi=lower != "client"),)
    async with SimulatedThreeCX(clock, clients=clients) as pbx:
        one = Visitor(pbx, session)
        await one.mint()
        pbx.me.licence = "pro" if lower == "licence" else "enterprise"
        pbx.console = lower == "console"
        assert await one.ask("Defs") == (403, b"")


# --- answers -------------------------------------------------------------------------------------


async def test_the_first_look(visitor, clock):
    """Defs answers with the version in a header, in OData's content type, and dates itself by the 3CX's clock."""
    visitor.pbx.exchange.ahead_ms = -300_000
    status, said = await visitor.ask("Defs?$select=Id")
    assert (status, said["Id"]) == (200, 0)
    assert said["@odata.context"].endswith("/xapi/v1/$metadata#Defs(Id)")
    assert visitor.headers["X-3CX-Version"] == "20.0.9.995"
    assert visitor.headers["Content-Type"] == "application/json; odata.metadata=minimal; odata.streaming=true"
    assert parsedate_to_datetime(visitor.headers["Date"]).timestamp() == (clock.at - 300_000) // 1000


async def test_pages_end_at_a_hundred(clock, session):
    """`$top` above 100 is refused in OData's words; pages with a count bring every row once, and no next link."""
    users = tuple(User(str(number)) for number in range(1000, 1250))
    async with SimulatedThreeCX(clock, users=users, page_size=50) as pbx:
        one = Visitor(pbx, session)
        await one.mint()
        status, said = await one.ask("Users?$top=101&$select=Number")
        assert status == 400
        assert said["error"]["message"] == (
            "The query specified in the URI is not valid. The limit of '100' for Top query has been exceeded. "
            "The value from the incoming request is '101'."
        )
        found = []
        for skip in (0, 100, 200, 300):
            _, said = await one.ask(
                f"users?%24top=100&$skip={skip}&$count=true&$select=Number&$orderby=Number desc"
            )
            assert set(said) == {"@odata.context", "@odata.count", "value"}
            assert said["@odata.count"] == 250
            found += [row["Number"] for row in said["value"]]
        assert found == [str(number) for number in range(1249, 999, -1)]
        _, said = await one.ask("Users?$select=Number")
        assert (len(said["value"]), "@odata.count" in said) == (50, False)


@pytest.mark.parametrize("path", ["Users", "Trunks", "Fax", "SystemStatus", "LicenseStatus"])
async def test_who_does_not_select_gets_secrets(visitor, path):
    """Without `$select` passwords and keys come along; with it exactly what was asked for."""
    _, said = await visitor.ask(path)
    assert SECRET in json.dumps(said)
    singleton = path.endswith("Status")
    _, said = await visitor.ask(f"{path}?$select={'Version' if singleton else 'Number,Id'}")
    rows = [said] if singleton else said["value"]
    assert SECRET not in json.dumps(said)
    assert [name for name in rows[0] if name[0] != "@"] == (["Version"] if singleton else ["Number", "Id"])


@pytest.mark.parametrize(
    "path",
    [
        "Users?$select=Number,Password",
        "Trunks?$select=Name",
        "Trunks?$expand=DidNumbers",
        "Trunks?$expand=Groups($select=Nope)",
        "Trunks?$expand=Groups($select=GroupId",
        "Trunks?$expand=Groups($filter=1)",
        "Users?$filter=Nope eq 1",
        "Users?$filter=Number eq",
        "Users?$orderby=Nope",
        "Users?$top=ten",
        "Users?$skip=-1",
        "Users?$apply=aggregate",
        "SystemStatus?$select=MaxUserCount",
    ],
)
async def test_what_can_t_be_is_refused(visitor, path):
    """A field that the type has not, an expansion of what is no navigation, a broken option: 400, with OData's envelope."""
    status, said = await visitor.ask(path)
    assert status == 400
    assert said["error"]["message"].startswith("The query specified in the URI is not valid. ")


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("Number eq '100'", ["100"]),
        ("not startsWith(Number,'HD') and Enabled eq false", ["120"]),
        ("startsWith(Number,'HD') or Number eq '10016'", ["10016", "HD101"]),
        ("contains(LastName,'ast10') and not (Number eq '101' or Number ne '102')", ["102"]),
        ("LastName eq 'O''Neill'", []),
        ("PrimaryGroupId gt 95 and Number le '301'", ["300", "301"]),
    ],
)
async def test_filters_are_understood(visitor, condition, numbers):
    """`eq`, `ne`, comparisons, functions, `not`, `and`, `or` and brackets decide as OData has it."""
    rows = await visitor.rows(f"Users?$filter={condition}&$select=Number&$orderby=Number")
    assert [row["Number"] for row in rows] == numbers


@pytest.mark.parametrize(
    ("update", "fields"),
    [
        (4, set()),
        (7, {"RemoteStorageStatus"}),
        (8, {"RemoteStorageStatus", "MyPhoneEnabled"}),
        (9, {"RemoteStorageStatus", "MyPhoneEnabled", "UserExtensions", "AIAgent", "IsSystem"}),
        (
            10,
            {
                *("RemoteStorageStatus", "MyPhoneEnabled", "UserExtensions", "AIAgent", "IsSystem"),
                *("ForbidRecording", "IsCustom", "IsEnterprise"),
            },
        ),
    ],
)
async def test_a_field_comes_with_its_version(clock, session, update, fields):
    """Each update has the fields that it brought, in rows and in `$select`; users by number since update 8."""
    async with SimulatedThreeCX(clock, version=f"20.0.{update}.1") as pbx:
        one = Visitor(pbx, session)
        await one.mint()
        trunk, user = (await one.rows("Trunks"))[0], (await one.rows("Users"))[0]
        principal = (await one.rows("ServicePrincipals"))[0]
        _, status = await one.ask("SystemStatus")
        _, parameters = await one.ask("Defs/Pbx.GetSystemParameters()")
        present = {*trunk["Gateway"], *user, *principal, *status, *parameters["License"]}
        known = {"RemoteStorageStatus", "MyPhoneEnabled", "UserExtensions", "AIAgent", "IsSystem"}
        assert present & (known | {"ForbidRecording", "IsCustom", "IsEnterprise"}) == fields
        selected, _ = await one.ask("SystemStatus?$select=CallsActive,UserExtensions")
        assert selected == (200 if update >= 9 else 400)
        by_number, _ = await one.ask("Users(Number='100')?$select=Id")
        assert by_number == (200 if update >= 8 else 404)
        assert (await one.ask("Users/Pbx.GetByNumber(number='100')?$select=Id"))[0] == 200


async def test_trunks_tell_bridges_and_departments(visitor):
    """The gateway's type tells a bridge; departments come with `$expand=Groups`."""
    rows = await visitor.rows("Trunks?$select=Number,Gateway&$expand=Groups&$orderby=Number")
    shown = {row["Number"]: row for row in rows}
    assert {number for number, row in shown.items() if row["Gateway"]["Type"].startswith("Bridge")} == {
        "10002"
    }
    assert [group["GroupId"] for group in shown["10020"]["Groups"]] == [95, 96]
    assert shown["10001"]["Groups"] == []


async def test_what_stands_within_is_chosen_too(visitor):
    """An expansion shows rows within without their own navigations, or just what it selects and expands of them."""
    (whole,) = (await visitor.rows("Users?$select=Number&$expand=Groups&$top=1"))[0]["Groups"]
    assert {"GroupId", "Name", "Number"} <= whole.keys()
    assert "Rights" not in whole
    asked = "Users?$select=Number&$expand=Groups($select=GroupId,Name;$expand=Rights)&$top=1"
    assert (await visitor.rows(asked))[0] == {
        "Number": "100",
        "Groups": [{"GroupId": 28, "Name": "DEFAULT", "Rights": {"RoleName": "system_owners"}}],
    }


@pytest.mark.parametrize(
    "path",
    [
        "Nope",
        "Users(Number='nobody')",
        "ReportCallLogData/Pbx.GetCallLogData()",
        LOG.replace(",hidePcalls=true", ""),
        LOG.replace("hidePcalls", "hideCalls"),
    ],
)
async def test_what_is_nowhere_is_404(visitor, path):
    """A path that is none, a row that is none, a function without all its parameters."""
    assert (await visitor.ask(path))[0] == 404


async def test_a_broken_date_fails_it(visitor):
    """A period that is no date brings 500 without a body."""
    assert await visitor.ask(LOG.replace("2026-01-01T00:00:00Z", "yesterday")) == (500, b"")


async def test_before_v20_there_was_another_api(visitor):
    """`/api/activeCalls` is gone; Call Control is shut for a client of the configuration API."""
    headers = {"Authorization": f"Bearer {visitor.token}"}
    for path, status in (("/api/activeCalls", 404), ("/callcontrol", 403), ("/", 404)):
        async with visitor.session.get(f"{visitor.pbx.url}{path}", headers=headers) as answer:
            assert answer.status == status


async def test_whoever_would_change_something_is_noted(visitor):
    """A DropCall is answered, changes nothing, and stands in `dropped`."""
    cycles.begin(visitor.pbx.exchange, "inbound")
    headers = {"Authorization": f"Bearer {visitor.token}"}
    url = f"{visitor.pbx.url}/xapi/v1/ActiveCalls(1)/Pbx.DropCall"
    async with visitor.session.post(url, headers=headers) as answer:
        assert answer.status == 204
    assert visitor.pbx.dropped == ["POST /xapi/v1/ActiveCalls(1)/Pbx.DropCall"]
    assert len(await visitor.rows("ActiveCalls")) == 1


async def test_what_is_asked_is_kept(visitor):
    """`received` has method and path, `queries` what was asked for; neither has a secret or a token."""
    await visitor.ask("Users?$select=Id&$top=1")
    assert visitor.pbx.received == ["POST /connect/token", "GET /xapi/v1/Users"]
    assert visitor.pbx.queries[1] == {"$select": "Id", "$top": "1"}
    await asyncio.wait_for(visitor.pbx.asked("GET */Users"), 5)


async def test_more_calls_than_a_page_holds(visitor, clock):
    """Two hundred and fifty calls at a time are read in three pages, each once."""
    for _ in range(250):
        cycles.begin(visitor.pbx.exchange, "inbound")
    clock.at += 10_000
    found = []
    for skip in (0, 100, 200):
        _, said = await visitor.ask(f"ActiveCalls?$top=100&$skip={skip}&$count=true&$orderby=Id")
        assert said["@odata.count"] == 250
        found += [row["Id"] for row in said["value"]]
    assert found == list(range(1, 251))


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "status", "starts"),
    [
        (Trouble.UNAUTHORIZED, 401, b""),
        (Trouble.FORBIDDEN, 403, b""),
        (Trouble.MISSING, 404, b""),
        (Trouble.FAILED, 500, b""),
        (Trouble.BAD_GATEWAY, 502, b"<html><head><title>502 Bad Gateway"),
        (Trouble.LATE_GATEWAY, 504, b"<html><head><title>504 Gateway Time-out"),
        (Trouble.TOO_MANY, 429, b""),
    ],
)
async def test_an_answer_in_place_of_the_proper_one(visitor, trouble, status, starts):
    """A fault is for its paths and its number of requests, then all is well again."""
    visitor.pbx.faults.add(trouble, "*/activecalls", times=2)
    assert (await visitor.ask("Defs"))[0] == 200
    for _ in range(2):
        found, body = await visitor.ask("ActiveCalls")
        assert found == status
        assert body.startswith(starts)
    assert (await visitor.ask("ActiveCalls"))[0] == 200


async def test_too_many_with_and_without_a_time(visitor):
    """429 says when to come again if it is told to."""
    visitor.pbx.faults.add(Trouble.TOO_MANY, times=1)
    visitor.pbx.faults.add(Trouble.TOO_MANY, times=1, seconds=7)
    await visitor.ask("Defs")
    assert "Retry-After" not in visitor.headers
    await visitor.ask("Defs")
    assert visitor.headers["Retry-After"] == "7"


async def test_hanging_ends_with_the_connection(visitor):
    """A request that hangs is never answered, others are, and stopping does not wait for it."""
    visitor.pbx.faults.add(Trouble.HANG, times=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(visitor.ask("Defs"), 0.2)
    assert (await visitor.ask("Defs"))[0] == 200
    visitor.pbx.faults.add(Trouble.HANG, times=1)
    async with asyncio.TaskGroup() as tasks:
        hanging = tasks.create_task(asyncio.wait_for(_lost(visitor), 5))
        await visitor.pbx.asked("GET */Defs", 3)
        await asyncio.wait_for(visitor.pbx.stop(), 2)
    assert hanging.result()


async def _lost(visitor):
    with pytest.raises(aiohttp.ClientError):
        await visitor.ask("Defs")
    return True


async def test_slow_is_late_and_right(visitor):
    """A slow answer is the proper one, as much later as it was told."""
    visitor.pbx.faults.add(Trouble.SLOW, seconds=0.1, times=1)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert (await visitor.ask("Defs"))[0] == 200
    assert loop.time() - begun >= 0.1


async def test_half_an_answer_and_none(visitor):
    """A truncated answer is half of the JSON with status 200; a cut one is no answer."""
    visitor.pbx.faults.add(Trouble.TRUNCATED, times=1)
    with pytest.raises(json.JSONDecodeError):
        await visitor.ask("ActiveCalls")
    visitor.pbx.faults.add(Trouble.CUT)  # aiohttp itself asks a second time over a fresh connection
    with pytest.raises(aiohttp.ClientError):
        await visitor.ask("ActiveCalls")
    visitor.pbx.faults.clear()
    assert (await visitor.ask("ActiveCalls"))[0] == 200


async def test_no_trunks_to_see(visitor):
    """Trunks come as an empty list, as to a role without scope, and with a count of nought."""
    visitor.pbx.faults.add(Trouble.EMPTY, "*/trunks")
    _, said = await visitor.ask("Trunks?$count=true")
    assert (said["value"], said["@odata.count"]) == ([], 0)


async def test_a_list_that_moves_between_pages(visitor, clock):
    """With one call gone in between, the second page begins one row later than it should."""
    for _ in range(150):
        cycles.begin(visitor.pbx.exchange, "inbound")
    clock.at += 10_000
    visitor.pbx.faults.add(Trouble.SHIFTED, "*/activecalls")
    first = await visitor.rows("ActiveCalls?$top=100&$skip=0&$orderby=Id")
    _, said = await visitor.ask("ActiveCalls?$top=100&$skip=100&$count=true&$orderby=Id")
    assert [row["Id"] for row in first] == list(range(1, 101))
    assert [row["Id"] for row in said["value"]] == list(range(102, 151))
    assert said["@odata.count"] == 149


async def test_an_answer_that_lacks_a_call(visitor, clock):
    """Once the first call is missing, and counted by nobody; the next answer has it again."""
    for _ in range(2):
        cycles.begin(visitor.pbx.exchange, "inbound")
    clock.at += 10_000
    visitor.pbx.faults.add(Trouble.LACKING, "*/activecalls", times=1)
    _, said = await visitor.ask("ActiveCalls?$count=true")
    assert ([row["Id"] for row in said["value"]], said["@odata.count"]) == ([2], 1)
    assert [row["Id"] for row in await visitor.rows("ActiveCalls")] == [1, 2]


async def test_rows_that_are_written_late(visitor, clock):
    """The log has a call's rows two minutes after its end, and not before."""
    visitor.pbx.faults.add(Trouble.LATE_ROWS, "*calllog*", seconds=120)
    call = cycles.begin(visitor.pbx.exchange, "inbound", ring_s=1, talk_s=10)
    clock.at = call.end + 119_999
    assert await visitor.rows(LOG) == []
    clock.at += 1
    assert len(await visitor.rows(LOG)) == 1


async def test_rows_that_are_written_piece_by_piece(visitor, clock):
    """While a call is up, the log has the rows of the segments that ended; in the end they are the same rows."""
    visitor.pbx.faults.add(Trouble.PIECEMEAL, "*calllog*")
    cycles.begin(visitor.pbx.exchange, "queue", ring_s=10, talk_s=60)
    seen = []
    while not seen or visitor.pbx.exchange.up:
        seen.append(await visitor.rows(LOG))
        clock.at += 1_000
    whole = await visitor.rows(LOG)
    numbers = [len(rows) for rows in seen]
    assert numbers == sorted(numbers)
    assert (numbers[0], 1 in numbers, len(whole)) == (0, True, numbers[-1])
    assert len(whole) > 1
    said = ("CallHistoryId", "SegmentId", "StartTime", "SourceDn", "DestinationDn", "TalkingDuration")
    for rows in seen:
        assert [[row[name] for name in said] for row in rows] == [
            [row[name] for name in said] for row in whole[: len(rows)]
        ]


async def test_lines_that_are_written_twice(clock, tmp_path):
    """CDR lines come twice while that is wrong, and requests over HTTP take nothing of it away."""
    file = tmp_path / "cdr.log"
    async with SimulatedThreeCX(clock, cdr=("file", file)) as pbx:
        pbx.faults.add(Trouble.CUT, times=1)
        pbx.faults.add(Trouble.TWICE, "cdr", times=1)
        for _ in range(2):
            cycles.begin(pbx.exchange, "inbound")
            clock.at += 100_000
            await pbx.advance()
        assert pbx.faults.take("/xapi/v1/Defs").trouble is Trouble.CUT
    lines = [line.split(",")[0] for line in file.read_text().splitlines()]
    assert lines == ["Call 1", "Call 1", "Call 2"]


async def test_its_clock_is_another(clock, session):
    """Minutes ahead, and then back: ServerNow, tokens and call log follow the 3CX's clock, the truth does not."""
    async with SimulatedThreeCX(clock, ahead_ms=180_000) as pbx:
        one = Visitor(pbx, session)
        _, said = await one.mint()
        assert claims(said["access_token"])["iat"] == (AT + 180_000) // 1000
        cycles.begin(pbx.exchange, "inbound", ring_s=6, talk_s=60)
        clock.at += 10_000
        (row,) = await one.rows("ActiveCalls")
        assert row["ServerNow"] == "2026-11-21T18:47:38.1230000Z"
        assert row["EstablishedAt"] == "2026-11-21T18:47:34Z"
        pbx.exchange.ahead_ms = 60_000
        (row,) = await one.rows("ActiveCalls")
        assert row["ServerNow"] == "2026-11-21T18:45:38.1230000Z"
        clock.at += 60_000
        (row,) = await one.rows(LOG)
        assert row["StartTime"] == "2026-11-21T18:45:28.123Z"
        assert pbx.exchange.legs[0].start == AT


async def test_a_restart_forgets(visitor, clock):
    """After a restart calls, tokens and connections are gone, ids begin at 1, and the log has nothing of what was up."""
    for _ in range(3):
        cycles.begin(visitor.pbx.exchange, "inbound")
    clock.at += 10_000
    assert [row["Id"] for row in await visitor.rows("ActiveCalls")] == [1, 2, 3]
    visitor.pbx.restart()
    assert (await visitor.ask("ActiveCalls"))[0] == 401
    await visitor.mint()
    assert await visitor.rows("ActiveCalls") == []
    cycles.begin(visitor.pbx.exchange, "inbound")
    assert [row["Id"] for row in await visitor.rows("ActiveCalls")] == [1]
    assert await visitor.rows(LOG) == []
    assert [(leg.run, leg.call, leg.end) for leg in visitor.pbx.exchange.legs] == [
        *((1, call, clock.at) for call in (1, 2, 3)),
        (2, 1, None),
    ]


async def test_what_there_is_may_change(visitor):
    """Trunks that are put in place of others show at once."""
    visitor.pbx.directory.trunks = (*TRUNKS, Trunk("10300", "New"))
    assert "10300" in {row["Number"] for row in await visitor.rows("Trunks?$select=Number")}


async def test_it_speaks_tls(clock, session, tmp_path):
    """With a certificate it speaks TLS, and a client that does not know the certificate turns away."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "2", "-subj", "/CN=pbx.example", "-keyout", key, "-out", cert),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with SimulatedThreeCX(clock, tls=context) as pbx:
        assert pbx.url.startswith("https://")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(pbx.url)
        async with session.get(f"{pbx.url}/xapi/v1/Defs", ssl=False) as answer:
            assert answer.status == 401
