"""Which run of a 3CX it is, told by call ids alone."""

from connectors.threecx.calls import Call
from connectors.threecx.run import LONGEST_MS, Run


def calls(*ids, established=None):
    return [Call(number, "10000", "100", "Talking", established, None) for number in ids]


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
    """A call is up since the poll that met it first; one met in the first poll may have been up for hours."""
    run = Run()
    run.see(calls(1), 10_000_000_000, followed=False)
    run.see(calls(1, 2), 10_000_002_000, followed=True)
    run.see(calls(2), 10_000_004_000, followed=True)
    assert run.up == {2: 10_000_002_000}
    run.see(calls(2, 3), 10_000_006_000, followed=False)
    assert run.up == {2: 10_000_002_000, 3: 10_000_006_000 - LONGEST_MS}


def test_the_oldest_call_is_remembered_a_while_after_its_end():
    """A long call that ended a moment ago still says how far back the call log must be read; later it does not."""
    run = Run()
    run.see(calls(1), 1_000_000, followed=True)
    run.see(calls(2), 2_000_000, followed=True)
    assert run.oldest(2_000_000) == 1_000_000
    run.see(calls(2), 2_100_000, followed=True)
    assert run.oldest(2_100_000) == 1_000_000
    run.see(calls(2), 2_200_000, followed=True)
    assert run.oldest(2_200_000) == 2_000_000
    assert Run().oldest(7) == 7
