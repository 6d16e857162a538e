"""The promises of `connectors.connector.Connector`, kept by every kind."""

import asyncio

import pytest

from connectors.errors import Denied, Unreachable
from meter.events import Snapshot
from meter.model import Cause


async def test_the_first_thing_said_is_a_snapshot(pbx, heard, served):
    """A call that was up before is in the snapshot, the snapshot comes first, and what comes later is told after it."""
    pbx.call()
    async with served(pbx.connector(), heard):
        (snapshot,) = (await heard.snapshots(1))[:1]
        before = heard.up(pbx.trunk)
        end = pbx.call()
        await heard.until(lambda _: heard.up(pbx.trunk) > before)
        end()
        await heard.until(lambda _: heard.up(pbx.trunk) == before)
    assert heard.events[0] is snapshot
    assert pbx.trunk in {leg.endpoint for leg in snapshot.legs}
    assert not {leg.leg for leg in snapshot.legs} & set(heard.started())
    assert snapshot.requested_at <= snapshot.at


async def test_a_call_is_told_from_beginning_to_end(pbx, heard, served):
    """A call's trunk leg starts, is answered and ends, each once, at instants that never go back."""
    async with served(pbx.connector(), heard):
        await heard.snapshots(1)
        end = pbx.call()
        await heard.until(lambda _: any(what == "answered" for _, what in heard.told(pbx.trunk)))
        end()
        await heard.until(lambda _: not heard.up(pbx.trunk))
    ((leg, _), *_) = told = heard.told(pbx.trunk)
    assert told == [(leg, "up"), (leg, "answered"), (leg, "gone")]
    instants = [event.at for event in heard.events]
    assert instants == sorted(instants)


async def test_link_loss_is_said_exactly_once(pbx, heard, served):
    """A cut line ends `serve` with one Unreachable, as a link that was lost, and nothing is said after it: no zero."""
    pbx.call()
    connector = pbx.connector()
    async with served(connector, heard) as task:
        await heard.snapshots(1)
        pbx.cut()
        said = len(heard.batches)
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is pbx.lost
    assert len(heard.batches) == said
    assert heard.up(pbx.trunk)
    assert connector.heard_at is not None


async def test_every_serve_begins_anew(pbx, heard, served):
    """After a lost link the next `serve` of the same connector gives a fresh snapshot first."""
    connector = pbx.connector()
    for _ in range(2):
        said = len(heard.events)
        async with served(connector, heard) as task:
            await heard.until(lambda events, said=said: len(events) > said)
            pbx.cut()
            await asyncio.wait_for(task, 5)
        assert isinstance(heard.events[said], Snapshot)
        pbx.mend()


async def test_closing_ends_within_a_second(pbx, heard, served):
    """Cancelling `serve` closes everything within a second, on a half-open line too."""
    for disturb in (lambda: None, pbx.freeze):
        async with asyncio.timeout(5), served(pbx.connector(), heard) as task:
            await heard.until(bool)
            disturb()
            task.cancel()
            begun = asyncio.get_running_loop().time()
            await asyncio.wait([task])
            assert asyncio.get_running_loop().time() - begun < 1
            assert task.cancelled()


async def test_a_sink_that_raises_ends_it(pbx, heard, served):
    """What the sink raises comes out of `serve` as it is; the sink is not called again."""

    def sink(events):
        heard(events)
        if len(heard.batches) == 2:
            raise ZeroDivisionError

    async with served(pbx.connector(), sink) as task:
        await heard.snapshots(1)
        pbx.call()
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, ZeroDivisionError)
    assert len(heard.batches) == 2


async def test_a_refused_login_is_an_error_with_a_hint(pbx, heard, served):
    """A wrong secret is Denied, with the next thing to do and without the secret; nothing is said."""
    async with served(pbx.refused(), heard) as task:
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Denied)
    assert all(words in fault.hint for words in pbx.refusal_hints)
    assert pbx.wrong not in str(fault) + fault.hint
    assert heard.events == []


async def test_a_half_open_line_is_noticed(pbx, heard, served):
    """When nothing is heard for as long as the settings say, the link is lost."""
    connector = pbx.brisk()
    async with served(connector, heard) as task:
        await heard.snapshots(1)
        pbx.freeze()
        fault = await asyncio.wait_for(task, 5)
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is pbx.lost


async def test_a_quiet_pbx_is_not_lost(pbx, heard, served):
    """A PBX without calls is heard all the same: the link outlives the silence that would end it."""
    connector = pbx.brisk()
    async with served(connector, heard) as task:
        await heard.snapshots(2)
        assert not task.done()
    assert connector.heard_at is not None


async def test_nobody_there_is_unreachable(pbx, heard, served):
    """A port at which nobody listens is Unreachable, as a PBX that can't be reached."""
    async with asyncio.timeout(5), served(pbx.astray(), heard) as task:
        fault = await task
    assert isinstance(fault, Unreachable)
    assert fault.gap_cause is Cause.PBX_UNREACHABLE


async def test_bytes_cut_anywhere_tell_the_same(pbx, heard, served):
    """A PBX that sends one byte at a time, or a few, is understood."""
    await pbx.trickle()
    pbx.call()
    async with served(pbx.connector(), heard):
        (snapshot,) = (await heard.snapshots(1))[:1]
        before = heard.up(pbx.trunk)
        end = pbx.call()
        await heard.until(lambda _: heard.up(pbx.trunk) > before)
        end()
        await heard.until(lambda _: heard.up(pbx.trunk) == before)
    assert len(snapshot.legs) == pbx.legs_of_call
    assert len(heard.told(pbx.trunk)) == 5  # the second call's three things, and two of the first


async def test_only_listed_requests_leave(pbx, heard, served):
    """Following, reading extensions and calls, probing and leaving send nothing that is not on the list."""
    connector = pbx.brisk()
    async with served(connector, heard):
        await heard.snapshots(3)
        await connector.read_extensions()
        await connector.read_calls(None)
        await connector.probe()
    assert pbx.strays() == set()


async def test_a_fresh_snapshot_on_request(pbx, heard, served):
    """`resnapshot` brings one snapshot soon, however often it is asked for."""
    connector = pbx.patient()
    async with served(connector, heard) as task:
        await heard.snapshots(1)
        for _ in range(10):
            connector.resnapshot()
        await heard.snapshots(2)
        await connector.read_extensions()  # time enough for a third, were there one
        assert not task.done()
    assert len(heard.events) == 2


async def test_extensions_need_a_connection(pbx):
    """Without a connection the extension list is Unreachable, not empty."""
    with pytest.raises(Unreachable):
        await pbx.connector().read_extensions()


async def test_extensions_are_read_while_following(pbx, heard, served):
    """The list comes over the connection that is served, each endpoint once, its source named."""
    connector = pbx.connector()
    async with served(connector, heard):
        await heard.snapshots(1)
        found = await connector.read_extensions()
    endpoints = [extension.endpoint for extension in found.extensions]
    assert pbx.extension in endpoints
    assert len(endpoints) == len(set(endpoints))
    assert found.source
