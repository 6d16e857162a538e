"""The simulated 3CX's calls: what each way of calling shows, what was true of it, and what the records tell."""

import asyncio
import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connectors.office import Kind, PlannedCall, day
from connectors.threecx.simulated import calllog, cdr, cycles, scenario, states
from connectors.threecx.simulated import day as days
from connectors.threecx.simulated.directory import SERVICES, TRUNKS, USERS, Directory
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.timeline import Side
from connectors.threecx.simulator import SimulatedThreeCX
from meter.model import Direction

AT = 1_795_286_668_123
ME = states.Self("20.0.9.995")


class Clock:
    def __init__(self):
        self.at = AT

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def exchange(clock):
    return Exchange(clock, Directory())


def shown(exchange):
    """Return what ActiveCalls shows: Id, status, first words of both sides, and whether it is established."""
    exchange.advance()
    return [
        (
            row["Id"],
            row["Status"],
            None if row["Caller"] is None else row["Caller"].split()[0],
            None if row["Callee"] is None else row["Callee"].split()[0],
            row["EstablishedAt"] is not None,
        )
        for row in states.active_calls(ME, exchange).rows
    ]


def life(exchange, clock, until_s=100):
    """Return everything that is shown one after another, second by second, each once."""
    seen = []
    for _ in range(until_s):
        now = shown(exchange)
        if not seen or seen[-1] != now:
            seen.append(now)
        clock.at += 1_000
    return seen


LIVES = {
    "inbound": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "queue": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Talking", "10000", "8003", True)],
        [(1, "Rerouting", "10000", "100", True)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "doubled": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Talking", "10000", "8003", True)],
        [(1, "Talking", "10000", "8003", True), (1, "Routing", "10000", "100", True)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "ivr": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Talking", "10000", "8010", True)],
        [(1, "Rerouting", "10000", "100", True)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "ring_group": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "8020", False)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "voicemail": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "unrouted": [[(1, "Routing", "10000", "ROUTER", False)]],
    "outbound": [
        [(1, "Initiating", "100", None, False)],
        [(1, "Routing", "100", "10000", False)],
        [(1, "Talking", "100", "10000", True)],
    ],
    "internal": [
        [(1, "Routing", "100", "101", False)],
        [(1, "Talking", "100", "101", True)],
    ],
    "make_call": [
        [(1, "Routing", "MakeCall", "100", False)],
        [(1, "Routing", "100", "10000", False)],
        [(1, "Talking", "100", "10000", True)],
    ],
    "null_caller": [
        [(1, "Initiating", None, "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
    ],
    "blind_transfer": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
        [(1, "Transferring", "10000", "100", True)],
        [(1, "Rerouting", "10000", "101", True)],
        [(1, "Talking", "10000", "101", True)],
    ],
    "blind_to_mobile": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
        [(1, "Transferring", "10000", "100", True)],
        [(1, "Rerouting", "10000", "10001", True)],
        [(1, "Talking", "10000", "10001", True)],
    ],
    "forward_to_mobile": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Rerouting", "10000", "10001", False)],
        [(1, "Talking", "10000", "10001", True)],
    ],
    "attended_transfer": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
        [(1, "Talking", "10000", "100", True), (2, "Routing", "100", "101", False)],
        [(1, "Talking", "10000", "100", True), (2, "Talking", "100", "101", True)],
        [(1, "Talking", "10000", "101", True)],
    ],
    "attended_to_mobile": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
        [(1, "Talking", "10000", "100", True), (2, "Routing", "100", "10001", False)],
        [(1, "Talking", "10000", "100", True), (2, "Talking", "100", "10001", True)],
        [(1, "Talking", "10000", "10001", True)],
    ],
    "parked": [
        [(1, "Routing", "10000", "ROUTER", False)],
        [(1, "Routing", "10000", "100", False)],
        [(1, "Talking", "10000", "100", True)],
        [(1, "Transferring", "10000", "100", True)],
        [(1, "Talking", "10000", "SP0", True)],
        [(1, "Talking", "10000", "101", True)],
    ],
    "bridge_in": [
        [(1, "Routing", "10002", "ROUTER", False)],
        [(1, "Routing", "10002", "100", False)],
        [(1, "Talking", "10002", "100", True)],
    ],
    "bridge_out": [
        [(1, "Initiating", "100", None, False)],
        [(1, "Routing", "100", "10002", False)],
        [(1, "Talking", "100", "10002", True)],
    ],
}


def test_every_cycle_is_told_here():
    """No way of calling is without its life below."""
    assert set(LIVES) == set(cycles.CYCLES)


@pytest.mark.parametrize("cycle", cycles.CYCLES)
def test_a_call_lives_as_it_does(exchange, clock, cycle):
    """Each way of calling shows its phases in their order, under one Id unless it is a second call, and is gone."""
    cycles.begin(exchange, cycle, out="10001", ring_s=10, talk_s=60)
    assert life(exchange, clock) == [*LIVES[cycle], []]


@pytest.mark.parametrize("cycle", cycles.CYCLES)
def test_nobody_answers(exchange, clock, cycle):
    """Of a call that nobody answers no extension talks, it ends with the ringing, and nothing is up after it."""
    cycles.begin(exchange, cycle, ring_s=10, talk_s=None)
    told = life(exchange, clock, 20)
    machines = {"8003", "8010"}
    talking = {row[3] for rows in told for row in rows if row[1] == "Talking"}
    assert talking <= machines
    assert told[-1] == []
    assert {leg.end for leg in exchange.legs} <= {AT + 10_000}


# --- the truth -----------------------------------------------------------------------------------


def test_the_truth_of_a_forwarded_call(exchange, clock):
    """In and out are two legs of one call, each with its own answer, of the forwarding extension's department."""
    cycles.begin(
        exchange, "forward_to_mobile", trunk="10001", out="10200", extension="200", ring_s=10, talk_s=60
    )
    clock.at += 100_000
    inbound, outbound = exchange.legs
    assert (inbound.side, inbound.trunk, inbound.direction) == (Side.CALLER, "10001", Direction.IN)
    assert (outbound.side, outbound.trunk, outbound.direction) == (Side.CALLEE, "10200", Direction.OUT)
    assert {inbound.department, outbound.department} == {"GRP0001"}
    assert (inbound.start, inbound.answer, inbound.end) == (AT, AT + 10_000, AT + 70_000)
    assert (outbound.start, outbound.answer, outbound.end) == (AT + 5_000, AT + 10_000, AT + 70_000)


def test_a_queue_answers_the_line_before_anybody_talks(exchange, clock):
    """A caller who hears the queue's music has been answered, for his line; who gives up there too."""
    cycles.begin(exchange, "queue", ring_s=10, talk_s=None)
    clock.at += 100_000
    (leg,) = exchange.legs
    assert (leg.answer, leg.end) == (AT + 2_000, AT + 10_000)


def test_what_lies_ahead_is_not_yet_true(exchange, clock):
    """Answer and end are None until they have come, and a call that has not begun has no leg."""
    cycles.begin(exchange, "inbound", ring_s=10, talk_s=60)
    cycles.begin(exchange, "inbound", at=AT + 3_600_000)
    clock.at += 5_000
    assert [(leg.answer, leg.end) for leg in exchange.legs] == [(None, None)]
    clock.at += 10_000
    assert [(leg.answer, leg.end) for leg in exchange.legs] == [(AT + 10_000, None)]


def test_an_attended_transfer_holds_the_line_without_a_hole(exchange, clock):
    """The line of the second call ends and goes on, in the same instant, as a line of the first."""
    cycles.begin(exchange, "attended_to_mobile", out="10001", ring_s=10, talk_s=100)
    clock.at += 200_000
    out = [leg for leg in exchange.legs if leg.direction is Direction.OUT]
    assert [leg.call for leg in out] == [2, 1]
    assert (out[0].start, out[0].end, out[1].end) == (AT + 40_000, AT + 70_000, AT + 110_000)
    assert out[1].start == out[1].answer == out[0].end


def test_bridges_are_marked(exchange, clock):
    """A leg to another 3CX is a leg, and marked."""
    cycles.begin(exchange, "bridge_in")
    cycles.begin(exchange, "inbound")
    clock.at += 1
    assert [leg.bridge for leg in exchange.legs] == [True, False]


def test_a_call_is_hung_up_at_any_time(exchange, clock):
    """Hung up while it rings, a call ends there and was never answered."""
    call = cycles.begin(exchange, "inbound", ring_s=10)
    clock.at += 4_000
    call.hang_up()
    clock.at += 60_000
    (leg,) = exchange.legs
    assert (leg.answer, leg.end) == (None, AT + 4_000)
    assert not exchange.up


def test_a_call_that_is_hung_up_before_it_begins_never_was(exchange, clock):
    """What was written down for later and called off leaves no leg, no id and no record."""
    call = cycles.begin(exchange, "inbound", at=AT + 10_000)
    call.hang_up()
    clock.at += 100_000
    assert (exchange.legs, exchange.ended, call.id) == ([], [], 0)


def test_ids_follow_the_beginnings(exchange, clock):
    """Whatever the order in which calls are written down, ids count up as they begin."""
    late = cycles.begin(exchange, "inbound", at=AT + 5_000)
    early = cycles.begin(exchange, "internal", at=AT + 1_000)
    clock.at += 6_000
    exchange.advance()
    assert (early.id, late.id) == (1, 2)


def test_what_is_no_trunk_carries_no_call(exchange):
    """A cycle over something that is no trunk is a mistake in the test that asks for it."""
    with pytest.raises(ValueError, match="101 is no trunk"):
        cycles.begin(exchange, "inbound", trunk="101")
    with pytest.raises(KeyError):
        cycles.begin(exchange, "nothing")
    with pytest.raises(TypeError):
        cycles.begin(exchange, "inbound", colour="red")


def test_names_are_as_odd_as_they_are(exchange, clock):
    """Trunk names with brackets and digits, an extension as long as a trunk's number, a voice mail box."""
    cycles.begin(exchange, "inbound", trunk="10020", extension="10016")
    cycles.begin(exchange, "voicemail", trunk="10001", extension="101")
    clock.at += 10_000
    exchange.advance()
    rows = states.active_calls(ME, exchange).rows
    assert [(row["Caller"], row["Callee"]) for row in rows] == [
        ("10020 Backup (no 2) [old] (+442079460001)", "10016 Digits (home), Five"),
        ("10001 OB-Trunk 0555-53830 0-99 (+442079460002)", "101 VoiceMail Last101, First101"),
    ]


def test_before_an_answer_there_may_be_the_year_1(exchange):
    """Some builds show the year 1 where others show null."""
    cycles.begin(exchange, "inbound")
    exchange.advance()
    assert states.active_calls(ME, exchange).rows[0]["EstablishedAt"] is None
    odd = states.Self("20.0.9.995", unanswered="0001-01-01T00:00:00Z")
    assert states.active_calls(odd, exchange).rows[0]["EstablishedAt"] == "0001-01-01T00:00:00Z"


# --- the call log --------------------------------------------------------------------------------


def recorded(exchange, clock, *, same_call_id=True):
    log = calllog.CallLog(same_call_id=same_call_id)
    exchange.on_end = log.add
    clock.at += 3_600_000
    exchange.advance()
    return list(log.between(0, clock.at).rows)


def lives(rows):
    """Return (start, end) of each row in milliseconds, added up as a reader has to."""
    found = []
    for row in rows:
        start = round(datetime.fromisoformat(row["StartTime"]).timestamp() * 1000)
        length = sum(_ms(row[name]) for name in ("RingingDuration", "TalkingDuration"))
        found.append((start, start + length))
    return found


def _ms(text):
    """Return the length of `PT1H2M3.4S`."""
    hours, _, rest = text.removeprefix("PT").rpartition("H")
    minutes, _, rest = rest.rpartition("M")
    seconds = float(rest.removesuffix("S") or 0)
    return round(
        timedelta(hours=int(hours or 0), minutes=int(minutes or 0), seconds=seconds).total_seconds() * 1000
    )


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "PT0S"),
        (6_200, "PT6.2S"),
        (72_577, "PT1M12.577S"),
        (3_600_000, "PT1H"),
        (7_384_050, "PT2H3M4.05S"),
    ],
)
def test_durations_are_iso(ms, text):
    """Lengths of time are told as ISO 8601 has them, and read back the same."""
    assert calllog.duration(ms) == text
    assert _ms(text) == ms


@pytest.mark.parametrize("cycle", cycles.CYCLES)
@pytest.mark.parametrize("talk_s", [60, None])
def test_the_call_log_tells_the_truth(exchange, clock, cycle, talk_s):
    """Added up as its reader does, the log's rows have every trunk leg with the truth's start and end."""
    cycles.begin(exchange, cycle, out="10001", ring_s=10, talk_s=talk_s)
    rows = recorded(exchange, clock)
    told = []
    for call in {row["CallId"] for row in rows}:
        own = sorted((row for row in rows if row["CallId"] == call), key=lambda row: row["SegmentId"])
        assert [row["SegmentId"] for row in own] == list(range(1, len(own) + 1))
        assert len({row["CallHistoryId"] for row in own}) == 1
        spans = lives(own)
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]], "without a hole"
        if own[0]["SourceType"] == 1:
            told.append((call, own[0]["SourceDn"], spans[0][0], spans[-1][1]))
        told += [
            (call, row["DestinationDn"], *span)
            for row, span in zip(own, spans, strict=True)
            if row["DestinationType"] == 1
        ]
    assert sorted(told) == sorted((leg.call, leg.trunk, leg.start, leg.end) for leg in exchange.legs)


def test_rows_of_a_queue_call(exchange, clock):
    """The queue's segment is answered, with its own talking time; the agent's has ringing and talking."""
    cycles.begin(exchange, "queue", ring_s=10, talk_s=72.577)
    waiting, agent = recorded(exchange, clock)
    assert (waiting["DestinationType"], waiting["CallType"], waiting["Status"]) == (7, "Queue", "Answered")
    assert (waiting["RingingDuration"], waiting["TalkingDuration"]) == ("PT2S", "PT5S")
    assert (agent["DestinationType"], agent["CallType"], agent["Direction"]) == (
        0,
        "Extension",
        "Inbound Queue",
    )
    assert (agent["RingingDuration"], agent["TalkingDuration"]) == ("PT3S", "PT1M12.577S")
    assert (agent["StartTime"], agent["SourceDn"], agent["SourceType"]) == (
        "2026-11-21T18:44:35.123Z",
        "10000",
        1,
    )


def test_rows_of_the_others(exchange, clock):
    """Outbound, unanswered, voice mail, menu and consultation are told with their directions and types."""
    for cycle in ("outbound", "voicemail", "ivr", "internal"):
        cycles.begin(exchange, cycle)
    cycles.begin(exchange, "inbound", talk_s=None)
    cycles.begin(exchange, "attended_transfer")
    rows = recorded(exchange, clock)
    told = {(row["CallId"], row["SegmentId"]): row for row in rows}
    assert (told[1, 1]["Direction"], told[1, 1]["CallType"], told[1, 1]["DestinationType"]) == (
        "Outbound",
        "External",
        1,
    )
    assert [told[2, number]["DestinationType"] for number in (1, 2)] == [0, 5]
    assert told[3, 1]["CallType"] == "Digital Receptionist"
    assert told[4, 1]["Direction"] == "Internal"
    assert (told[5, 1]["Status"], told[5, 1]["TalkingDuration"]) == ("Unanswered", "PT0S")
    assert told[7, 1]["MainCallHistoryId"] == told[6, 1]["CallHistoryId"] != told[7, 1]["CallHistoryId"]


def test_the_log_has_ids_of_its_own(exchange, clock):
    """With `same_call_id` off, CallId is nothing that ActiveCalls ever showed."""
    cycles.begin(exchange, "inbound")
    assert recorded(exchange, clock, same_call_id=False)[0]["CallId"] == 100_001


def test_the_log_has_ended_calls_of_its_period(exchange, clock):
    """What is up is not told, and a row belongs to the period in which it starts."""
    log = calllog.CallLog()
    exchange.on_end = log.add
    cycles.begin(exchange, "inbound", talk_s=600)
    cycles.begin(exchange, "inbound", at=AT + 60_000, talk_s=30)
    clock.at += 120_000
    exchange.advance()
    assert [row["CallId"] for row in log.between(0, clock.at).rows] == [2]
    assert log.between(0, AT + 59_999).rows == []
    assert log.between(AT + 60_001, clock.at).rows == []


# --- CDR -----------------------------------------------------------------------------------------


def lines(exchange, clock):
    clock.at += 3_600_000
    exchange.advance()
    found = [cdr.line(call) for call in exchange.ended]
    return [
        dict(zip(cdr.FIELDS, values, strict=True)) for values in csv.reader(io.StringIO("\n".join(found)))
    ]


def test_a_line_of_the_cdr(exchange, clock):
    """An outbound call is one line of 27 fields, in UTC seconds, as a real one looks."""
    cycles.begin(exchange, "outbound", extension="10016", trunk="10020", ring_s=10, talk_s=25)
    (line,) = lines(exchange, clock)
    assert len(line) == 27
    assert (line["time-start"], line["time-answered"], line["time-end"]) == (
        "2026/11/21 18:44:30",
        "2026/11/21 18:44:38",
        "2026/11/21 18:45:03",
    )
    assert (line["from-no"], line["from-dn"], line["from-type"]) == ("Ext.10016", "10016", "Extension")
    assert (line["to-dn"], line["to-type"], line["final-type"]) == ("10020", "Line", "Line")
    assert (line["historyid"], line["duration"], line["reason-terminated"]) == (
        "Call 1",
        "00:00:25",
        "TerminatedBySrc",
    )
    assert line["chain"] == "Chain: Ext.10016;+442079460001;"


def test_lines_of_calls_that_go_on(exchange, clock):
    """A forwarded call comes from a line and ends on one; nobody's answer leaves no time; commas in names are gone."""
    cycles.begin(exchange, "forward_to_mobile", out="10001")
    cycles.begin(exchange, "inbound", talk_s=None)
    ringing, forwarded = lines(exchange, clock)
    assert [forwarded[name] for name in ("from-type", "to-type", "final-type", "final-dn")] == [
        *("Line", "Extension", "Line", "10001")
    ]
    assert (ringing["time-answered"], ringing["duration"]) == ("", "")
    assert ringing["to-dispname"] == "Admin Ada"


async def test_the_cdr_comes_by_socket(clock):
    """The 3CX connects to the receiver, writes each line once, and what ends while nobody listens comes later."""
    got = []
    arrived = asyncio.Event()

    async def receive(reader, writer):
        while line := await reader.readline():
            got.append(line.decode().split(",")[0])
            arrived.set()
        writer.close()

    async def until(count):
        async with asyncio.timeout(5):
            while len(got) < count:
                arrived.clear()
                await arrived.wait()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with SimulatedThreeCX(clock, cdr=("connect", "127.0.0.1", port)) as pbx:
        cycles.begin(pbx.exchange, "inbound")
        clock.at += 100_000
        await pbx.advance()
        await until(1)
        pbx.records.cut()
        server.close()
        cycles.begin(pbx.exchange, "inbound")
        clock.at += 100_000
        await pbx.advance()
        assert len(pbx.records.waiting) == 1
        server = await asyncio.start_server(receive, "127.0.0.1", port)
        await pbx.advance()
        await until(2)
    server.close()
    assert got == ["Call 1", "Call 2"]


async def test_the_cdr_comes_in_a_file(clock, tmp_path):
    """With a file, lines are appended to it; a call without a party to tell of has none."""
    file = tmp_path / "cdr.log"
    async with SimulatedThreeCX(clock, cdr=("file", file)) as pbx:
        for _ in range(2):
            cycles.begin(pbx.exchange, "queue")
            clock.at += 100_000
            await pbx.advance()
    assert [line.split(",")[0] for line in file.read_text().splitlines()] == ["Call 1", "Call 2"]
    assert cdr.settings(cdr.target(("file", file)))["LogType"] == "SingleFileForAllCalls"
    assert cdr.settings(cdr.target(("connect", "192.0.2.1", 5015)))["LogType"] == "ActiveSocket"
    assert not cdr.settings(None)["Enabled"]
    with pytest.raises(ValueError, match="no CDR output"):
        cdr.target(("elsewhere",))


# --- scenarios and days --------------------------------------------------------------------------


def test_a_scenario_is_the_same_every_time(tmp_path, clock):
    """TOML and JSON say the same calls, and playing them twice brings the same truth."""
    toml = tmp_path / "one.toml"
    toml.write_text(
        '[[call]]\nat = 1.5\ncycle = "queue"\nextension = "101"\nring_s = 10\ntalk_s = "never"\n'
        '[[call]]\nat = 0\ncycle = "outbound"\ntrunk = "10001"\ntimes = 3\nevery_s = 2\n'
    )
    again = tmp_path / "one.json"
    again.write_text(
        json.dumps(
            {
                "call": [
                    {"at": 1.5, "cycle": "queue", "extension": "101", "ring_s": 10, "talk_s": None},
                    {"at": 0, "cycle": "outbound", "trunk": "10001", "times": 3, "every_s": 2},
                ]
            }
        )
    )
    truths = []
    for file in (toml, again):
        clock.at = AT
        exchange = Exchange(clock, Directory())
        calls = scenario.schedule(exchange, scenario.read(file))
        assert [call.start - AT for call in calls] == [1_500, 0, 2_000, 4_000]
        clock.at += 600_000
        truths.append(exchange.legs)
    assert truths[0] == truths[1]
    assert len(truths[0]) == 4


def test_the_scenario_of_every_cycle(exchange, clock):
    """The scenario file at hand has every way of calling, and then 130 calls at a time."""
    calls = scenario.read(Path(__file__).parents[2] / "threecx" / "every_cycle.toml")
    assert {call.cycle for call in calls} == set(cycles.CYCLES)
    scenario.schedule(exchange, calls)
    clock.at += 1_340_000
    exchange.advance()
    assert len(exchange.up) == 130
    clock.at += 600_000
    assert _peak(exchange.legs) == 130


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"cycle": "nothing"}, "no cycle is called"),
        ({"cycle": "queue", "colour": 1}, "nothing is called colour"),
        ({"cycle": "queue", "at": -1}, "at is no number"),
        ({"cycle": "queue", "ring_s": True}, "ring_s is no number"),
        ({"cycle": "queue", "ring_s": None}, "ring_s is no number"),
        ({"cycle": "queue", "trunk": 10000}, "trunk is written in quotes"),
        ([], "is no table"),
    ],
)
def test_a_scenario_that_can_t_be_read_says_why(entry, why):
    """A mistake in a scenario names the call and what is wrong."""
    with pytest.raises(scenario.Unreadable, match=f"call 1.*{why}"):
        scenario.scripted({"call": [entry]})


def test_a_file_that_is_no_scenario(tmp_path):
    """What is no TOML, or no list of calls, is refused with the file's name."""
    file = tmp_path / "broken.toml"
    file.write_text("call = ")
    with pytest.raises(scenario.Unreadable, match=r"broken\.toml"):
        scenario.read(file)
    with pytest.raises(scenario.Unreadable, match="list of `call`"):
        scenario.scripted({"calls": []})


OFFICE = days.office(Directory(), calls=2400)


def test_a_day_has_every_way_of_calling(exchange, clock):
    """A day of 2,000 calls and more passes at once, is the same every time, and has every way of calling in it."""
    planned = day(OFFICE, 7)
    assert len(planned) > 2_000
    assert {days.way(one) for one in planned} == set(cycles.CYCLES)
    days.schedule(exchange, planned, at=AT)
    clock.at = AT + 86_400_000 + 7_200_000
    legs = exchange.legs
    assert not exchange.up
    again = Exchange(clock, Directory())
    days.schedule(again, day(OFFICE, 7), at=AT)
    assert again.legs == legs
    begun = {leg.start for leg in legs}
    inbound = [one for one in planned if one.kind is Kind.IN and days.way(one) != "null_caller"]
    assert {AT + round(one.at_s * 1000) for one in inbound} <= begun


def test_an_office_is_made_of_what_there_is():
    """Its lines are the trunks without the bridge, its people those who are enabled and no hot desk."""
    assert OFFICE.trunks == ("10000", "10001", "10020", "10200")
    assert "10016" in OFFICE.extensions
    assert not {"120", "HD101"} & set(OFFICE.extensions)


def test_a_faster_day_has_the_same_level(exchange, clock):
    """A day that passes a thousand times as fast has about as many calls at a time: its calls are shorter, too."""
    days.schedule(exchange, day(OFFICE, 7), at=AT, speed=1000, from_s=9 * 3600)
    clock.at = AT + 86_400
    faster = _peak(exchange.legs)
    slow = Exchange(clock, Directory())
    days.schedule(slow, day(OFFICE, 7), at=AT, from_s=9 * 3600)
    clock.at = AT + 90_000_000
    assert faster == pytest.approx(_peak(slow.legs), abs=2)


def _peak(legs):
    turns = sorted(
        (at, change) for leg in legs for at, change in ((leg.start, 1), (leg.end or leg.start, -1))
    )
    level = highest = 0
    for _, change in turns:
        level += change
        highest = max(highest, level)
    return highest


async def test_a_day_is_played(tmp_path):
    """Played by a clock that moves, a few calls begin and end by themselves, and their records are written."""
    loop = asyncio.get_running_loop()

    def now():
        return round(loop.time() * 1000)

    file = tmp_path / "cdr.log"
    async with SimulatedThreeCX(now, cdr=("file", file)) as pbx:
        planned = [
            PlannedCall(36_000 + number, Kind.OUT, "10000", "", "100", "", 5, 20) for number in range(5)
        ]
        early = PlannedCall(100, Kind.OUT, "10000", "", "100", "", 5, 20)
        async with asyncio.timeout(10):
            await days.play(pbx.exchange, [early, *planned], speed=100, from_s=36_000, advance=pbx.advance)
        assert len(pbx.exchange.legs) == 5
        assert all(leg.end is not None for leg in pbx.exchange.legs)
        assert len(file.read_text().splitlines()) == 5


def test_the_directory_is_as_odd_as_it_should_be():
    """The defaults have what the facts warn of: five digits, hot-desk, disabled, a bridge, brackets, digits."""
    numbers = {user.number for user in USERS}
    assert {"10016", "HD101"} <= numbers
    assert any(not user.enabled for user in USERS)
    assert any(trunk.bridge for trunk in TRUNKS)
    assert any("(" in trunk.name for trunk in TRUNKS)
    assert any(trunk.number == "10020" for trunk in TRUNKS)
    assert len({service.kind for service in SERVICES}) == len(SERVICES) - 1, "two queues"
