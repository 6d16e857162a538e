"""Which run of a 3CX it is, told by call ids alone."""

from connectors.threecx.calllog import LATE_MS
from connectors.threecx.calls import Call
from connectors.threecx.run import LONGEST_MS, Run


def calls(*ids, established=None):
    return [Call(number, "10000", "100", "Talking", established, None) for number in ids]


def test_the_run_has_no_name_until_a_restart_is_seen():
    """An agent that was restarted claims no other run than before; a restart that it sees is told by its instant."""
    run = Run()
    run.see(calls(200), 1, followed=False)
    assert run.name == ""
    run.see(calls(1), 2, followed=True)
    assert run.name == "since 2"
    assert Run().name == ""


def test_growing_ids_are_one_run():
    """Calls come with higher ids and go in any order: nothing restarted."""
    run = Run()
    names = set()
    for at, ids in enumerate([(), (4,), (4, 5), (5, 9), (), (12,), ()]):
        run.see(calls(*ids), at, followed=True)
        names.add(run.name)
    assert len(names) == 1


def test_an_id_that_was_higher_before_is_another_run():
    """A call that is new under a low id, with nothing left of those shown before, proves a restart: once."""
    run = Run()
    first = run.name
    run.see(calls(200, 201), 1, followed=True)
    run.see(calls(1), 2, followed=True)
    second = run.name
    run.see(calls(1, 2), 3, followed=True)
    assert first != second
    assert run.name == second
    run.see(calls(3), 4, followed=True)
    run.see(calls(1), 5, followed=True)  # shown a moment ago: the same call, that a poll had missed
    assert run.name == second


def test_a_restart_is_seen_over_a_gap():
    """Between two connections nothing is forgotten: the first poll after it tells of the restart."""
    run = Run()
    run.see(calls(200), 1, followed=True)
    first = run.name
    run.see([], 50, followed=False)
    run.see(calls(2), 60, followed=True)
    assert run.name != first


def test_a_call_that_a_poll_missed_is_no_restart():
    """A row that one answer lacked is back in the next: the same run."""
    run = Run()
    for at, ids in enumerate([(7, 8), (8,), (7, 8), (), (7,)]):
        run.see(calls(*ids), at, followed=True)
    assert run.name == Run().name


def test_a_late_row_beside_a_call_that_goes_on_is_no_restart():
    """A lower id that shows late, while a call of before is still there, is no restart."""
    run = Run()
    run.see(calls(8, established=5), 1, followed=True)
    run.see(calls(7) + calls(8, established=5), 2, followed=True)
    assert run.name == Run().name


def test_since_when_calls_are_up():
    """A call is up since the good poll before the one that met it; one of the first poll may have been up for hours."""
    run = Run()
    run.see(calls(1), 10_000_000_000, followed=False)
    run.see(calls(1, 2), 10_000_002_000, followed=True)
    run.see(calls(2), 10_000_004_000, followed=True)
    assert run.up == {2: 10_000_000_000}
    run.see(calls(2, 3), 10_000_060_000, followed=False)
    assert run.up == {2: 10_000_000_000, 3: 10_000_004_000}
    first = Run()
    first.see(calls(1), 10_000_000_000, followed=False)
    assert first.up == {1: 10_000_000_000 - LONGEST_MS}


def test_a_call_that_polls_missed_is_as_old_as_it_was():
    """A row that some answers lacked is of the same call: it began no later for that."""
    run = Run()
    run.see(calls(1), 10_000_000, followed=True)
    run.see(calls(1, 2), 10_002_000, followed=True)
    for at in (10_004_000, 10_006_000):
        run.see(calls(1), at, followed=True)
    run.see(calls(1, 2), 10_008_000, followed=True)
    assert run.up[2] == 10_000_000


def test_the_oldest_call_is_remembered_a_while_after_its_end():
    """A long call that ended of late still says how far back the call log must be read; later it does not."""
    run = Run()
    run.see([], 1_000_000, followed=True)
    run.see(calls(1), 1_002_000, followed=True)
    run.see(calls(2), 2_000_000, followed=True)
    assert run.oldest(2_000_000) == 1_000_000
    run.see(calls(2), 2_000_000 + LATE_MS + 60_000, followed=True)
    assert run.oldest(3_000_000) == 1_000_000
    run.see(calls(2), 2_000_000 + LATE_MS + 180_000, followed=True)
    assert run.oldest(3_200_000) == 1_002_000
    assert Run().oldest(7) == 7


def test_what_nobody_watched_is_remembered_as_a_call_that_long():
    """A call may have been up for all of the time between two connections, and no poll shows it."""
    run = Run()
    run.see([], 1_000_000, followed=True)
    run.see([], 9_000_000, followed=False)
    run.see([], 9_002_000, followed=True)
    assert run.oldest(9_002_000) == 1_000_000
