"""The simulated Asterisk: its truth, its rights, its day."""

import asyncio

import pytest

from connectors.asterisk.parse import fields
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.day import play
from connectors.asterisk.simulated.exchange import Exchange, outside_number
from connectors.asterisk.simulator import EXTENSIONS, LEAST, TRUNKS, SimulatedAsterisk
from connectors.office import Office, burst, day
from meter.model import Direction


class Clock:
    def __init__(self):
        self.at = 1_795_286_668_000

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def exchange(clock):
    return Exchange(clock, lambda *_: None, TRUNKS, EXTENSIONS)


def test_the_truth_is_kept(exchange, clock):
    """Of every trunk leg the exchange keeps direction, call, start, answer and end."""
    call = calls.forward(exchange, *TRUNKS)
    assert exchange.up() == 2
    assert exchange.up([TRUNKS[1]]) == 1
    clock.at += 5_000
    call.answer()
    clock.at += 60_000
    call.hang_up()
    inbound, outbound = exchange.lines
    assert (inbound.direction, outbound.direction) == (Direction.IN, Direction.OUT)
    assert inbound.call == outbound.call == inbound.leg
    assert (inbound.answer - inbound.start, inbound.end - inbound.start) == (5_000, 65_000)
    assert exchange.up() == 0
    assert not exchange.channels


def test_joined_calls_take_the_oldest_name(exchange, clock):
    """Two calls that are bridged show the older one's Linkedid from then on."""
    first = calls.ring_in(exchange, TRUNKS[0], EXTENSIONS[0])
    clock.at += 1_000
    second = calls.ring_in(exchange, TRUNKS[0], EXTENSIONS[1])
    exchange.join(second.caller, first.caller)
    assert second.caller.linkedid == first.caller.uniqueid
    assert exchange.lines[1].call == first.caller.uniqueid


def test_a_restart_loses_every_channel(exchange):
    """A restart ends the lines, begins another run, and what a script does to old calls is nothing."""
    call = calls.ring_in(exchange, TRUNKS[0], EXTENSIONS[0])
    booted_at = exchange.booted_at
    exchange.restart()
    call.answer()
    call.hang_up()
    assert exchange.booted_at > booted_at
    assert exchange.lines[0].end is not None
    assert exchange.lines[0].answer is None


def test_numbers_belong_to_nobody():
    """Every outside number is one of 020 7946 0000-0999."""
    assert {outside_number(place)[:10] for place in range(2_000)} == {"+442079460"}
    assert {len(outside_number(place)) for place in range(2_000)} == {13}


async def test_a_day_is_played_with_its_concurrency(exchange, clock):
    """A compressed day leaves nothing up, gives one truth per trunk leg, and the burst reaches its level."""
    office = Office(TRUNKS, EXTENSIONS, calls=120)
    planned = day(office, 5) + burst(office, 5, at_s=40_000, lines=12, hold_s=900)
    highest = 0

    def tell(*_):
        nonlocal highest
        highest = max(highest, exchange.up([TRUNKS[0]]))

    exchange.tell = tell
    async with asyncio.timeout(30):
        await play(exchange, planned, speed=1_000_000)
    assert exchange.up() == 0
    assert not exchange.channels
    assert highest >= 12
    assert len(exchange.lines) >= len([call for call in planned if call.kind != "internal"])
    assert all(line.end is not None for line in exchange.lines)


async def ask(port: int, *actions: str) -> list[dict[str, str]]:
    """Send actions over one connection; return all messages until the line is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for action in (*actions, "Action: Logoff"):
        writer.write(action.encode() + b"\r\n\r\n")
    async with asyncio.timeout(5):
        stream = await reader.read()
    writer.close()
    await writer.wait_closed()
    greeting, _, rest = stream.partition(b"\r\n")
    assert greeting == b"Asterisk Call Manager/11.0.0"
    return [fields(message) for message in rest.split(b"\r\n\r\n")[:-1]]


LOGIN = f"Action: Login\r\nUsername: {LEAST.username}\r\nSecret: {LEAST.secret}"


@pytest.mark.parametrize("piece_bytes", [0, 3])
async def test_rights_are_a_real_asterisks(clock, piece_bytes):
    """Under least rights the lists of channels and devices answer, PJSIP's own is denied, other actions are unknown."""
    async with SimulatedAsterisk(clock) as asterisk:
        asterisk.piece_bytes = piece_bytes
        calls.ring_in(asterisk.exchange, TRUNKS[0], EXTENSIONS[0])
        answers = await ask(
            asterisk.port,
            *(
                LOGIN,
                "Action: CoreShowChannels\r\nActionID: 9",
                "Action: PJSIPShowEndpoints",
                "Action: SIPpeers",
            ),
        )
    assert [answer.get("response", answer.get("event")) for answer in answers] == [
        *("Success", "Success", "CoreShowChannel", "CoreShowChannel", "CoreShowChannelsComplete"),
        *("Error", "Error", "Goodbye"),
    ]
    assert {answer["actionid"] for answer in answers[1:5]} == {"9"}
    assert answers[5]["message"] == "Permission denied"
    assert answers[6]["message"].startswith("Invalid/unknown command")


async def test_nobody_is_answered_before_the_login(clock):
    """Without a login every action is denied; a wrong secret closes the line."""
    async with SimulatedAsterisk(clock) as asterisk:
        assert (await ask(asterisk.port, "Action: CoreStatus"))[0]["message"] == "Permission denied"
        refused = await ask(asterisk.port, LOGIN + "x")
    assert [answer["message"] for answer in refused] == ["Authentication failed"]
