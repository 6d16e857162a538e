"""CDR output as it really arrives: over a TCP connection on loopback, and in a file that another program writes."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connectors.errors import Denied, Garbled, Unreachable
from connectors.threecx.intake import Intake
from connectors.threecx.records_only import RecordsOnly
from connectors.threecx.settings import Access, Cdr, Settings
from meter.events import Snapshot
from meter.model import Cause
from meter.periods import instant
from tests.threecx.around import listening_port

NINE = instant(datetime(2026, 11, 12, 9, tzinfo=UTC))
#: How the other end shows that it closed.
CLOSED = (ConnectionError, asyncio.IncompleteReadError)


class Clock:
    def __init__(self):
        self.at = NINE

    def __call__(self):
        return self.at


def line(number, end_s=34, from_type="Line"):
    """One call's line that ended so many seconds after nine."""
    end = f"2026/11/12 09:{end_s // 60:02d}:{end_s % 60:02d}"
    return (
        f"Call {number},0C21_{number},00:00:25,2026/11/12 09:00:00,2026/11/12 09:00:00,{end},TerminatedBySrc,"
        "+15550100111,Ext.100,10000,100,100,,Ext.100,100,,,,,Chain: +15550100111;Ext.100;,"
        f"{from_type},Extension,Extension,A caller,Jane Doe,Jane Doe,\r\n"
    ).encode()


async def until(condition, within_s=5):
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 -- other programs' sockets and files: nothing to wait on
            await asyncio.sleep(0.005)


@asynccontextmanager
async def dialled(port, address="127.0.0.1"):
    """Connect as the 3CX does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def legs(told):
    return sorted(leg.leg for leg in told.legs)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def intake(clock):
    async with Intake(Cdr(port=0), clock) as intake:
        yield intake


# --- the port --------------------------------------------------------------------------------


async def test_a_call_that_is_told_can_be_taken(intake, clock):
    """A line that arrives is a leg once its time has settled; the stretch is that of the connection."""
    async with dialled(intake.port) as (_, writer):
        writer.write(line(1) + line(2, from_type="Extension"))
        await until(lambda: intake.lines == 2)
        clock.at += 60_000

        told = intake.take(None)

        assert (legs(told), told.source, told.start, told.end) == (["1:from"], "cdr", NINE, NINE + 55_000)
        assert intake.connected
        assert intake.heard_at == NINE


async def test_lines_cut_anywhere_are_whole(intake, clock):
    """A line that comes byte by byte, without CR, or together with another is the line that it is."""
    async with dialled(intake.port) as (_, writer):
        for number in line(1) + line(2).replace(b"\r", b"") + line(3):
            writer.write(bytes([number]))
            await writer.drain()
        await until(lambda: intake.lines == 3)
        clock.at += 60_000
        assert legs(intake.take(None)) == ["1:from", "2:from", "3:from"]
    assert intake.refused == 0


async def test_nothing_is_ever_sent(intake):
    """The 3CX gets no byte back."""
    async with dialled(intake.port) as (reader, writer):
        writer.write(line(1) + b"garbage\r\n")
        await until(lambda: intake.lines == 2)
        writer.write_eof()
        async with asyncio.timeout(5):
            assert await reader.read() == b""


async def test_a_stranger_is_closed_at_once(intake, clock):
    """Another address is closed at once and counted, tells nothing, and is no connection; the 3CX goes on meanwhile."""
    async with dialled(intake.port) as (_, writer):
        await intake.connection()
        for _ in range(20):
            async with dialled(intake.port, "127.0.0.2") as (stranger, writes):
                writes.write(line(9))
                async with asyncio.timeout(1):
                    with pytest.raises(CLOSED):
                        await stranger.readexactly(1)
        writer.write(line(1))
        await until(lambda: intake.lines == 1)
        clock.at += 60_000
        assert legs(intake.take(None)) == ["1:from"]
    assert (intake.strangers, intake.stranger) == (20, "127.0.0.2")


async def test_a_stranger_alone_is_no_connection(intake):
    """While only strangers come, nothing is connected and nothing can be told."""
    async with dialled(intake.port, "127.0.0.2"):
        await until(lambda: intake.strangers == 1)
    assert not intake.connected
    assert intake.heard_at is None
    assert intake.take(None) is None


async def test_half_a_line_is_no_call(intake, clock):
    """A connection that ends in the middle of a line leaves no leg, though all that matters was there; it is counted."""
    async with dialled(intake.port) as (_, writer):
        await intake.connection()
        writer.write(line(1).rstrip(b"\r\n"))
    await until(lambda: not intake.connected)
    clock.at += 60_000
    assert intake.refused == 1
    assert intake.take(None) is None


async def test_a_line_that_cannot_be_read_breaks_the_stretch(intake, clock):
    """What is told has a break around a line that can't be read: the call that it was of is missing."""
    async with dialled(intake.port) as (_, writer):
        await intake.connection()
        clock.at += 60_000
        writer.write(b"Call 1,nonsense\r\n")
        await until(lambda: intake.refused == 1)
        clock.at += 60_000
        first = intake.take(None)
        second = intake.take(first.end)
    assert (first.start, first.end) == (NINE, NINE + 55_000)
    assert (second.start, second.end) == (NINE + 60_000, NINE + 115_000)
    assert "columns" in intake.trouble


async def test_after_a_reconnect_the_time_between_is_told_by_nobody(intake, clock):
    """A connection that went and came again leaves the time between out of what is told; no leg is lost."""
    async with dialled(intake.port) as (_, writer):
        writer.write(line(1))
        await until(lambda: intake.lines == 1)
        clock.at += 60_000
    await until(lambda: not intake.connected)
    clock.at += 60_000
    async with dialled(intake.port) as (_, writer):
        writer.write(line(2, end_s=130))
        await until(lambda: intake.lines == 2)
        clock.at += 60_000
        first = intake.take(None)
        second = intake.take(first.end)
    assert (first.start, first.end, legs(first)) == (NINE, NINE + 55_000, ["1:from"])
    assert (second.start, second.end, legs(second)) == (NINE + 120_000, NINE + 175_000, ["2:from"])


async def test_a_second_connection_means_that_the_first_may_be_dead(intake, clock):
    """While a second connection stands both are read, and what the first one may have missed is told by nobody."""
    async with dialled(intake.port) as (_, old):
        await intake.connection()
        clock.at += 100_000
        async with dialled(intake.port) as (_, new):
            await until(lambda: len(intake._connections) == 2)
            old.write(line(1, end_s=100))
            new.write(line(2, end_s=100))
            await until(lambda: intake.lines == 2)
            clock.at += 100_000
            first = intake.take(None)
            second = intake.take(first.end)
        await until(lambda: len(intake._connections) == 1)
        assert intake.connected
    assert (first.start, first.end) == (NINE, NINE + 45_000)
    assert (second.start, legs(second)) == (NINE + 100_000, ["1:from", "2:from"])


async def test_a_few_connections_are_borne(intake):
    """Of a fifth connection the oldest is closed; it brings nothing more."""
    lines = []
    try:
        for number in range(5):
            lines.append(await asyncio.open_connection("127.0.0.1", intake.port))
            await until(
                lambda number=number: intake._connections and len(intake._connections) == min(number + 1, 4)
            )
        async with asyncio.timeout(5):
            with pytest.raises(CLOSED):
                await lines[0][0].readexactly(1)
        assert len(intake._connections) == 4
        assert intake.connected
    finally:
        for _, writer in lines:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_connection_that_dies_unheard_is_found(intake):
    """The operating system is asked to probe a quiet connection, so that one without an other end is found in a minute."""
    async with dialled(intake.port):
        await intake.connection()
        sock = intake._connections[0]._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


async def test_a_connection_that_was_reset_may_have_been_dead_before(intake, clock):
    """A connection that ends with an error was perhaps dead for a while: that time is told by nobody."""
    async with dialled(intake.port) as (_, writer):
        await intake.connection()
        clock.at += 100_000
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: not intake.connected)
    clock.at += 100_000
    assert intake.take(None).end == NINE + 45_000


async def test_a_flood_is_borne(clock):
    """Of ten thousand lines in one go all are read, and no more are kept than may be."""
    async with Intake(Cdr(port=0), clock, most=1_000) as intake, dialled(intake.port) as (_, writer):
        for number in range(50):
            writer.write(b"".join(line(number * 200 + n) for n in range(200)))
            await writer.drain()
        await until(lambda: intake.lines == 10_000, 60)
        clock.at += 60_000
        told = intake.take(None)
        assert len(told.legs) == 1_000
        assert told.start == NINE + 35_000  # all ended in one second, of whose calls some are lost
        assert intake.lost == 9_000


async def test_a_line_without_end_is_refused_once(intake):
    """Megabytes without a line's end are one refused line, and the next line is read."""
    async with dialled(intake.port) as (_, writer):
        for _ in range(50):
            writer.write(b"x" * 100_000)
            await writer.drain()
        writer.write(b"\r\n" + line(1))
        await until(lambda: intake.lines == 2, 20)
        assert intake.refused == 1
        assert len(intake._connections[0]._lines._rest) == 0


async def test_it_closes_within_a_second(clock):
    """Closing cuts what stands, at once, and what was told stays to be taken."""
    loop = asyncio.get_running_loop()
    intake = Intake(Cdr(port=0), clock)
    async with intake:
        reader, writer = await asyncio.open_connection("127.0.0.1", intake.port)
        writer.write(line(1))
        await until(lambda: intake.lines == 1)
        clock.at += 60_000
        begun = loop.time()
    assert loop.time() - begun < 1
    assert not intake.connected
    with pytest.raises(CLOSED):
        await reader.readexactly(1)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert legs(intake.take(None)) == ["1:from"]


async def test_a_port_that_is_taken_is_said(intake, clock):
    """A port that another program has is Unreachable, with the port in the sentence."""
    with pytest.raises(Unreachable, match=str(intake.port)):
        async with Intake(Cdr(port=intake.port), clock):
            pass


async def test_a_trunk_that_does_not_count_is_left_out(clock):
    """A trunk that is a bridge to another system has no leg where bridges don't count."""
    async with (
        Intake(Cdr(port=0), clock, counts=lambda dn: dn != "10000") as intake,
        dialled(intake.port) as (_, writer),
    ):
        writer.write(line(1))
        await until(lambda: intake.lines == 1)
        clock.at += 60_000
        assert intake.take(None).legs == ()


# --- the file --------------------------------------------------------------------------------


@pytest.fixture
def following(tmp_path, clock):
    file = tmp_path / "cdr.log"
    return file, lambda: Intake(Cdr(file=file), clock, look_every_s=0.01)


async def test_a_file_is_followed(following, clock):
    """What a file gains is told, an unfinished last line not before it ends."""
    file, follow = following
    file.write_bytes(b"")
    async with follow() as intake:
        await intake.connection()
        with file.open("ab") as log:
            log.write(line(1)[:50])
            log.flush()
            looked = clock.at = NINE + 1_000
            await until(lambda: intake.heard_at == looked)
            assert intake.lines == 0
            log.write(line(1)[50:])
        await until(lambda: intake.lines == 1)
        looked = clock.at = NINE + 60_000
        await until(lambda: intake.heard_at == looked)
        told = intake.take(None)
    assert (legs(told), told.start, told.end) == (["1:from"], NINE, NINE + 55_000)


async def test_a_file_is_told_from_where_it_was_left(following, clock):
    """What was written while the agent was down is told to one who says how far he was told."""
    file, follow = following
    file.write_bytes(line(1, end_s=10) + line(2, end_s=20) + line(3, end_s=30))
    clock.at += 100_000
    async with follow() as intake:
        await intake.connection()
        told = intake.take(NINE + 15_000)
    assert (legs(told), told.start, told.end) == (["2:from", "3:from"], NINE + 15_000, NINE + 95_000)


async def test_an_unreadable_line_in_an_old_file_breaks_its_stretch_there(following, clock):
    """The break around a line that can't be read lies where it stands in the file, not where we read it."""
    file, follow = following
    file.write_bytes(line(1, end_s=10) + line(2, end_s=20) + b"nonsense\n" + line(3, end_s=30))
    clock.at += 100_000
    async with follow() as intake:
        await intake.connection()
        first = intake.take(NINE)
        second = intake.take(first.end)
    assert (first.start, first.end) == (NINE + 10_000, NINE + 20_000)
    assert (second.start, second.end) == (NINE + 30_000, NINE + 95_000)


async def test_a_file_that_is_turned_loses_nothing(following, clock, tmp_path):
    """Across a rotation every line is told, the stretch unbroken."""
    file, follow = following
    file.write_bytes(b"")
    async with follow() as intake:
        await intake.connection()
        file.write_bytes(line(1))
        await until(lambda: intake.lines == 1)
        log = file.open("ab")
        file.rename(tmp_path / "cdr.1.log")
        await until(lambda: not intake.connected)
        log.write(line(2))
        log.close()
        file.write_bytes(line(3))
        await until(lambda: intake.connected and intake.lines == 3)
        looked = clock.at = NINE + 60_000
        await until(lambda: intake.heard_at == looked)
        told = intake.take(None)
    assert (legs(told), told.start, told.end) == (["1:from", "2:from", "3:from"], NINE, NINE + 55_000)


async def test_a_file_that_is_cut_breaks_the_stretch(following, clock):
    """A file that was cut short may have lost lines: since it was last read to its end nothing is claimed."""
    file, follow = following
    file.write_bytes(line(1) + line(2))
    async with follow() as intake:
        await intake.connection()
        looked = clock.at = NINE + 60_000
        await until(lambda: intake.heard_at == looked)
        looked = clock.at = NINE + 90_000
        file.write_bytes(line(3, end_s=85))
        await until(lambda: intake.lines == 3)
        looked = clock.at = NINE + 120_000
        await until(lambda: intake.heard_at == looked)
        first = intake.take(NINE)
        second = intake.take(first.end)
    assert first.end <= NINE + 85_000
    assert second.start >= first.end + 5_000
    assert legs(second) == ["3:from"]


async def test_closing_and_opening_goes_on_where_it_was(following, clock):
    """A file that was left for a while is read on from there, and nothing is told twice or missing."""
    file, follow = following
    file.write_bytes(b"")
    intake = follow()
    async with intake:
        await intake.connection()
    with file.open("ab") as log:
        log.write(line(1))
    clock.at += 60_000
    assert intake.take(None) is None  # nobody looked since
    async with intake:
        await intake.connection()
        told = intake.take(None)
    assert (intake.lines, legs(told), told.start) == (1, ["1:from"], NINE)


# --- the connector ---------------------------------------------------------------------------


class Heard:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.events = []

    def __call__(self, events):
        self.events += events

    async def snapshots(self, number):
        await until(lambda: len(self.events) >= number)


@asynccontextmanager
async def serving(connector, sink):
    async def serve():
        try:
            await connector.serve(sink)
        except Exception as exc:  # noqa: BLE001 -- the test looks at it
            return exc

    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve())
        yield task
        task.cancel()


@pytest.fixture
def heard():
    return Heard()


class ByPort:
    """A 3CX that connects."""

    def __init__(self, settings):
        self.port = listening_port()
        self.settings = replace(settings, cdr=replace(settings.cdr, port=self.port))
        self.writer = None

    async def come(self):
        async with asyncio.timeout(5):
            while True:
                try:
                    _, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.005)
                else:
                    return

    async def say(self, content):
        self.writer.write(content)

    async def go(self):
        if self.writer is not None:
            self.writer.close()
            with suppress(ConnectionError):
                await self.writer.wait_closed()
            self.writer = None


class ByFile:
    """A 3CX that writes a file."""

    def __init__(self, settings, file):
        self.file = file
        self.settings = replace(settings, cdr=replace(settings.cdr, file=file))

    async def come(self):
        self.file.touch()

    async def say(self, content):
        with self.file.open("ab") as log:
            log.write(content)

    async def go(self):
        self.file.unlink(missing_ok=True)


@pytest.fixture(params=["port", "file"])
async def pbx(request, tmp_path):
    cdr = Cdr(grace_s=0.3)
    settings = Settings(access=Access.CDR, poll_s=0.02, cdr=cdr, answer_timeout_s=0.5)
    pbx = ByPort(settings) if request.param == "port" else ByFile(settings, tmp_path / "cdr.log")
    yield pbx
    await pbx.go()


@pytest.fixture
def connector(pbx, clock):
    return RecordsOnly("cloud", pbx.settings, clock)


async def test_the_first_thing_said_is_a_snapshot(pbx, connector, heard, clock):
    """While records can arrive, polled snapshots without legs come again and again, the first one first; before, nothing."""
    async with serving(connector, heard):
        assert heard.events == []
        await pbx.come()
        await heard.snapshots(3)
    assert set(heard.events) == {Snapshot(NINE, NINE, (), polled=True)}
    assert connector.heard_at == NINE
    assert connector.method == "cdr"


async def test_link_loss_is_said_exactly_once(pbx, connector, heard):
    """A 3CX that goes away for longer than the grace ends `serve` with one Unreachable, as a link that was lost."""
    async with serving(connector, heard) as task:
        await pbx.come()
        await heard.snapshots(1)
        await pbx.go()
        fault = await asyncio.wait_for(task, 5)
        said = len(heard.events)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.LINK_LOST
    assert "Admin Console" in fault.hint
    assert len(heard.events) == said


async def test_a_short_absence_is_no_loss(pbx, connector, heard):
    """A 3CX that is back within the grace was never lost."""
    async with serving(connector, heard) as task:
        await pbx.come()
        await heard.snapshots(1)
        await pbx.go()
        await until(lambda: not connector._intake.connected)
        said = len(heard.events)
        await pbx.come()
        await heard.snapshots(said + 2)
        assert not task.done()


async def test_every_serve_begins_anew(pbx, connector, heard, clock):
    """After a lost link the next `serve` opens the same port or file again, and what was told before is still there."""
    for number in (1, 2):
        heard.events.clear()
        async with serving(connector, heard) as task:
            await pbx.come()
            await heard.snapshots(1)
            await pbx.say(line(number))
            await until(lambda number=number: connector.beside["CDR lines"] == number)
            clock.at += 60_000
            await until(lambda: connector._intake.heard_at == clock.at or isinstance(pbx, ByPort))
            await pbx.go()
            await asyncio.wait_for(task, 5)
    since, found = None, []
    while (told := await connector.read_calls(since, soon=True)) is not None:
        found += legs(told)
        since = told.end
    assert set(found) == {"1:from", "2:from"}


async def test_nobody_there_is_unreachable(connector, heard):
    """A 3CX that never comes is Unreachable, as one that can't be reached; nothing is said."""
    async with serving(connector, heard) as task:
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.PBX_UNREACHABLE
    assert "CDR page" in fault.hint
    assert heard.events == []
    assert connector.heard_at is None


@pytest.mark.parametrize("connected", [True, False])
async def test_closing_ends_within_a_second(pbx, connector, heard, connected):
    """Cancelling `serve` closes everything within a second."""
    async with serving(connector, heard) as task:
        if connected:
            await pbx.come()
            await heard.snapshots(1)
        else:
            await until(lambda: connector._serving)
        begun = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait([task])
        assert asyncio.get_running_loop().time() - begun < 1
        assert task.cancelled()
    if isinstance(pbx, ByPort):
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", pbx.port)


async def test_a_sink_that_raises_ends_it(pbx, connector):
    """What the sink raises comes out of `serve` as it is; the sink is not called again."""
    calls = []

    def sink(events):
        calls.append(events)
        if len(calls) == 2:
            raise ZeroDivisionError

    async with serving(connector, sink) as task:
        await pbx.come()
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, ZeroDivisionError)
    assert len(calls) == 2


async def test_lines_of_another_layout_are_garbled(pbx, connector, heard):
    """Lines in a row that can't be read are no accident: the link is Garbled, and the hint names the fields."""
    async with serving(connector, heard) as task:
        await pbx.come()
        await heard.snapshots(1)
        await pbx.say(b"2026/11/12 09:00:00,100,+15550100111\r\n" * 5)
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Garbled)
    assert "`fields`" in fault.hint
    assert "15550" not in f"{fault}{fault.hint}"


async def test_calls_are_read_beside_it(pbx, connector, heard, clock):
    """Calls that were told are read, then none until there are new ones; what else came stands beside."""
    async with serving(connector, heard):
        await pbx.come()
        await heard.snapshots(1)
        await pbx.say(line(1) + b"nonsense\n" + line(2, from_type="Extension"))
        await until(lambda: connector.beside["CDR lines"] == 3)
        clock.at += 60_000
        await until(lambda: connector._intake.heard_at == clock.at or isinstance(pbx, ByPort))
        told = await connector.read_calls(None)
        assert legs(told) == ["1:from"]
        assert await connector.read_calls(told.end) is None
    assert connector.beside["CDR lines refused"] == 1


async def test_there_is_no_list_of_extensions(connector):
    """The extension list is refused with what would give it, never empty."""
    with pytest.raises(Denied) as refusal:
        await connector.read_extensions()
    assert 'access = "xapi"' in refusal.value.hint


async def test_resnapshot_needs_nothing(pbx, connector, heard):
    """A wish for a fresh snapshot is met by the next one."""
    connector.resnapshot()
    async with serving(connector, heard) as task:
        await pbx.come()
        await heard.snapshots(1)
        connector.resnapshot()
        await heard.snapshots(3)
        assert not task.done()


async def test_a_look_says_whether_the_3cx_comes(pbx, connector):
    """A look listens for a while: whether the 3CX came, else the same error as following it."""
    with pytest.raises(Unreachable):
        await connector.probe()
    async with asyncio.TaskGroup() as group:
        coming = group.create_task(pbx.come())
        found = await connector.probe()
        await coming
    assert found.rights == (("CDR output", True, True),)
    assert found.up == 0


async def test_a_look_while_following_uses_what_is_there(pbx, connector, heard):
    """A look during `serve` takes no second port, and names the trunks of the records that came."""
    async with serving(connector, heard):
        await pbx.come()
        await heard.snapshots(1)
        await pbx.say(line(1))
        await until(lambda: connector.beside["CDR lines"] == 1)
        found = await connector.probe()
    assert found.endpoints == found.trunk_hints == ("3CX/10000",)


async def test_a_stranger_is_named_in_the_hint(clock, heard):
    """If only another address came, the hint names it: it may be the 3CX's."""
    port = listening_port()
    settings = Settings(access=Access.CDR, poll_s=0.02, cdr=Cdr(port=port, grace_s=0.3))
    connector = RecordsOnly("cloud", settings, clock)
    async with serving(connector, heard) as task:
        await until(lambda: connector._intake.port)
        async with dialled(port, "127.0.0.2"):
            fault = await asyncio.wait_for(task, 5)
    assert "127.0.0.2" in fault.hint
    assert connector.beside["connections by strangers"] == 1
