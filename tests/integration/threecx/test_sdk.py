"""The simulated 3CX held to its word by an independent client, 3cx-xapi-python-sdk, and its models of the XAPI."""

import asyncio
import typing
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import BaseModel
from threecx import ODataQuery, ThreeCXClient
from threecx.exceptions import ThreeCXError
from threecx.models import _generated as models

from connectors.threecx.simulated import cycles
from connectors.threecx.simulated.directory import USERS, User
from connectors.threecx.simulator import ADMIN, OWNER, SimulatedThreeCX

AT = 1_795_286_668_000
CALL_LOG = (
    "ReportCallLogData/Pbx.GetCallLogData(periodFrom=2026-01-01T00:00:00Z,periodTo=2027-01-01T00:00:00Z,"
    "sourceType=0,sourceFilter='',destinationType=0,destinationFilter='',callsType=0,callTimeFilterType=0,"
    "callTimeFilterFrom='0:00:0',callTimeFilterTo='0:00:0',hidePcalls=true)"
)
#: Every path, what its rows are, and what else can be asked for; "value" if they come in a list.
PATHS = [
    ("ActiveCalls", models.ActiveCall, "", True),
    ("Users", models.User, "Groups($expand=Rights)", True),
    ("Trunks", models.Trunk, "Groups", True),
    ("Groups", models.Group, "Members,Rights", True),
    ("Peers", models.Peer, "MemberOf", True),
    ("Queues", models.Queue, "Groups,Agents", True),
    ("RingGroups", models.RingGroup, "Groups,Members", True),
    ("Receptionists", models.Receptionist, "Groups", True),
    ("Parkings", models.Parking, "Groups", True),
    ("Fax", models.Fax, "Groups", True),
    ("ServicePrincipals", models.ServicePrincipal, "Groups,Peers", True),
    ("CallFlowApps", models.CallFlowApp, "Groups", True),
    ("SystemStatus/Pbx.SystemExtensions()", models.SystemExtensionStatus, "", True),
    (CALL_LOG, models.CallLogData, "", True),
    ("Defs", models.Defs, "", False),
    ("Defs/Pbx.GetSystemParameters()", models.SystemParameters, "", False),
    ("SystemStatus", models.SystemStatus, "", False),
    ("SystemStatus/Pbx.SystemHealthStatus()", models.SystemHealthStatus, "", False),
    ("LicenseStatus", models.LicenseStatus, "", False),
    ("CDRSettings", models.CDRSettings, "", False),
    ("ConsoleRestrictions", models.ConsoleRestrictions, "", False),
    ("Users(Number='100')", models.User, "Groups", False),
    ("Users/Pbx.GetByNumber(number='100')", models.User, "Groups", False),
]


class Clock:
    at = AT

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def pbx(clock):
    async with SimulatedThreeCX(clock) as simulated:
        yield simulated


def sdk(pbx, client=OWNER):
    return ThreeCXClient(pbx.url, client.client_id, client.secret, timeout=10)


async def by_sdk(pbx, ask, client=OWNER):
    """Let the SDK, which blocks, ask in a thread of its own."""

    def asking():
        with sdk(pbx, client) as one:
            return ask(one)

    return await asyncio.to_thread(asking)


def model_in(annotation):
    """Return the model that an annotation holds, in a list or beside None; None: it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    held = (model_in(part) for part in typing.get_args(annotation))
    return next((model for model in held if model is not None), None)


def unknown_names(model, row, where=""):
    """Return the names in a row that its model, or a model within, has not."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    found = [f"{where}{name}" for name in row if name not in fields and not name.startswith("@odata.")]
    for name, value in row.items():
        inner = model_in(fields[name].annotation) if name in fields else None
        if inner is not None:
            within = value if isinstance(value, list) else [value]
            found += [
                strange for one in within if one for strange in unknown_names(inner, one, f"{where}{name}/")
            ]
    return found


async def test_it_pages_through_all_users(clock):
    """The SDK logs in and gets each of 260 users once, by pages of 100 with a count."""
    users = tuple(User(str(number)) for number in range(1000, 1260))
    async with SimulatedThreeCX(clock, users=users) as pbx:

        def pages(client):
            found = []
            while True:
                query = (
                    ODataQuery().select("Id", "Number").top(100).skip(len(found)).count().order_by("Number")
                )
                page = client.users.list(query)
                if not page:
                    return found
                found += [user.number for user in page]

        assert await by_sdk(pbx, pages) == [user.number for user in users]
        assert pbx.received.count("POST /connect/token") == 1


async def test_a_page_without_next_link_is_all_that_iterating_gets(clock):
    """There is no next link: the SDK's own iterator, which trusts in it, stops after the first page."""
    users = tuple(User(str(number)) for number in range(1000, 1260))
    async with SimulatedThreeCX(clock, users=users, page_size=50) as pbx:
        found = await by_sdk(pbx, lambda client: list(client.users.iterate()))
    assert len(found) == 50


async def test_it_reads_trunks_and_their_departments(pbx):
    """Trunks show their gateway's name and type, and with $expand the departments they belong to."""
    trunks = await by_sdk(pbx, lambda client: client.trunks.list_trunks(ODataQuery().expand("Groups")))
    shown = {trunk.number: trunk for trunk in trunks}
    assert shown["10000"].gateway.name == "ACME SIP"
    assert shown["10002"].gateway.type is models.GatewayType.bridge_master
    assert [(group.group_id, group.name) for group in shown["10200"].groups] == [(95, "Sales")]
    peers = await by_sdk(
        pbx, lambda client: client.trunks.list_peers(ODataQuery().filter("Type eq 'ExternalLine'"))
    )
    assert {peer.number for peer in peers} == shown.keys()


async def test_it_reads_active_calls(pbx, clock):
    """Each cycle's call is read by the SDK, with an aware time of the server."""
    for cycle in cycles.CYCLES:
        cycles.begin(pbx.exchange, cycle)
    clock.at += 3_000
    calls = await by_sdk(pbx, lambda client: client.active_calls.list())
    assert len({call.id for call in calls}) == len(cycles.CYCLES)
    assert {call.server_now for call in calls} == {datetime.fromtimestamp(clock.at / 1000, UTC)}
    assert len(calls) == len(cycles.CYCLES) + 1, "the doubled one stands there twice"


async def test_it_reads_status_and_groups(pbx, clock):
    """System status counts the calls that are up, and the departments are those of the 3CX."""
    cycles.begin(pbx.exchange, "internal")
    clock.at += 1_000
    status = await by_sdk(pbx, lambda client: client.system.get_status(), ADMIN)
    assert (status.calls_active, status.version) == (1, "20.0.9.995")
    assert status.user_extensions == len(USERS) - 1, "the hot-desk user is none"
    no_favourites = ODataQuery().filter("not startsWith(Name,'___FAVORITES___')")
    groups = await by_sdk(pbx, lambda client: client.groups.list(no_favourites), ADMIN)
    assert [group.name for group in groups] == ["DEFAULT", "Sales", "Workshop"]
    assert groups[1].props.user_number_from == "200"
    parameters = await by_sdk(pbx, lambda client: client.system.get_parameters(), ADMIN)
    assert parameters.license.max_sim_calls == 1024


async def test_it_reads_the_call_log(pbx, clock):
    """The SDK's own call of the report brings every segment; a system administrator is refused it."""
    cycles.begin(pbx.exchange, "queue", ring_s=10, talk_s=62.5)
    clock.at += 100_000
    year = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    rows = await by_sdk(pbx, lambda client: client.reports.get_call_log(*year))
    segments = [models.CallLogData.model_validate(row) for row in rows]
    assert [segment.destination_dn for segment in segments] == ["8003", "100"]
    assert segments[1].talking_duration.total_seconds() == 62.5
    with pytest.raises(ThreeCXError) as refused:
        await by_sdk(pbx, lambda client: client.reports.get_call_log(*year), ADMIN)
    assert refused.value.status_code == 403


@pytest.mark.parametrize(("path", "model", "expand", "many"), PATHS, ids=[row[0][:40] for row in PATHS])
@pytest.mark.parametrize("version", ["20.0.4.100", "20.0.10.123"])
async def test_every_answer_is_as_the_models_have_it(clock, path, model, expand, many, version):
    """No answer has a field that the SDK's model lacks, expanded ones included, and all of them validate."""
    if version == "20.0.4.100" and path.startswith("Users(Number"):
        path = "Users(1000)"  # by number since update 8
    async with SimulatedThreeCX(clock, version=version) as pbx:
        for cycle in cycles.CYCLES:
            cycles.begin(pbx.exchange, cycle)
            cycles.begin(pbx.exchange, cycle, at=AT - 600_000)
        clock.at += 3_000
        answers = []
        async with httpx.AsyncClient(base_url=pbx.url, timeout=10, verify=False) as http:
            form = {
                "client_id": OWNER.client_id,
                "client_secret": OWNER.secret,
                "grant_type": "client_credentials",
            }
            token = (await http.post("/connect/token", data=form)).json()["access_token"]
            for query in ({}, {"$expand": expand}) if expand else ({},):
                answer = await http.get(
                    f"/xapi/v1/{path}", params=query, headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.status_code == 200, answer.text
                answers.append(answer.json())
    for whole in answers:
        assert ("value" in whole) is many
        rows = whole["value"] if many else [whole]
        assert rows
        for row in rows:
            assert unknown_names(model, row) == []
            model.model_validate({name: value for name, value in row.items() if not name.startswith("@")})


def test_a_name_that_no_model_has_is_found():
    """The comparison sees a strange name in a row and one within."""
    row = {"Id": 1, "Nope": 2, "Gateway": {"Name": "x", "Neither": 3}, "Groups": [{"GroupId": 1, "Nor": 4}]}
    assert unknown_names(models.Trunk, row) == ["Nope", "Gateway/Neither", "Groups/Nor"]
