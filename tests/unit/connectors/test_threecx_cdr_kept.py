"""Call records wait until somebody stored them, and claim no more time than they tell of; a file is followed wherever it goes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.threecx.following import Following, New
from connectors.threecx.intake import Lines
from connectors.threecx.kept import SETTLE_MS, Kept
from meter.model import Direction
from meter.tenancy import Claims
from meter.witness import Witnessed

T = 1_795_286_668_000
LEG = Witnessed(
    "3CX/10000-1:from", "3CX/10000", "1:from", "1", Direction.IN, Claims("3CX/10000"), T, None, T + 1_000
)


def leg(name, end):
    return replace(LEG, leg=name, start=end - 1_000, end=end)


def names(told):
    return [each.leg for each in told.legs]


def test_a_stretch_ends_a_little_ago():
    """What is told reaches to a few seconds ago: a call that ended just now may not have been written yet."""
    kept = Kept()
    kept.begin(T)
    kept.add([leg("a", T + 1_000), leg("b", T + 10_000)])

    told = kept.take(None, T + 10_000)

    assert (told.source, told.start, told.end, names(told)) == ("cdr", T, T + 10_000 - SETTLE_MS, ["a"])
    assert names(kept.take(told.end, T + 20_000)) == ["b"]


def test_nothing_new_is_nothing():
    """Asked again at once, nothing comes; nor before any stretch began."""
    kept = Kept()
    assert kept.take(None, T) is None
    kept.begin(T)
    assert kept.take(None, T + SETTLE_MS) is None
    told = kept.take(None, T + 10_000)
    assert kept.take(told.end, T + 10_000) is None


def test_a_quiet_stretch_is_told():
    """A stretch without a call is told too: it is known that there was none."""
    kept = Kept()
    kept.begin(T)
    assert kept.take(None, T + 60_000).legs == ()


def test_that_there_was_no_call_can_wait():
    """If nobody is in a hurry, a call is told at once, that there was none after a minute; a break always."""
    kept = Kept()
    kept.begin(T)
    assert kept.take(None, T + 60_000, soon=False) is None
    kept.add([leg("a", T + 1_000)])
    told = kept.take(None, T + 60_000, soon=False)
    assert names(told) == ["a"]
    assert kept.take(told.end, T + 90_000, soon=False) is None
    assert kept.take(told.end, T + 120_000, soon=False).legs == ()
    kept.end(T + 70_000)
    assert kept.take(told.end, T + 90_000, soon=False).end == T + 70_000


def test_what_was_not_stored_is_told_again():
    """A leg is told until `since` says that it was stored, and no more then."""
    kept = Kept()
    kept.begin(T)
    kept.add([leg("a", T + 1_000)])
    first = kept.take(None, T + 10_000)

    assert names(kept.take(None, T + 11_000)) == ["a"]
    assert names(kept.take(first.end, T + 20_000)) == []
    assert kept.endpoints() == ()


def test_a_line_that_came_late_is_told_late():
    """A call whose line came after its time was told is told with the next stretch."""
    kept = Kept()
    kept.begin(T)
    told = kept.take(None, T + 60_000)
    kept.add([leg("late", T + 1_000)])

    assert names(kept.take(told.end, T + 120_000)) == ["late"]


def test_a_break_parts_what_is_told():
    """Where lines may be missing, two stretches are told one after the other, and what lies between is in none."""
    kept = Kept()
    kept.begin(T)
    kept.add([leg("a", T + 1_000)])
    kept.end(T + 10_000)
    kept.begin(T + 50_000)
    kept.add([leg("b", T + 55_000)])

    first = kept.take(None, T + 100_000)
    second = kept.take(first.end, T + 100_000)

    assert (first.start, first.end, names(first)) == (T, T + 10_000, ["a"])
    assert (second.start, second.end, names(second)) == (T + 50_000, T + 95_000, ["b"])
    assert kept.take(second.end, T + 100_000) is None


def test_breaks_without_end_are_bounded():
    """A line that breaks off all the time leaves no endless list of stretches."""
    kept = Kept()
    for number in range(5_000):
        kept.begin(T + number * 10_000)
        kept.end(T + number * 10_000 + 2_000)
    since, count = None, 0
    while (told := kept.take(since, T + 10**9)) is not None:
        since, count = told.end, count + 1
    assert count == 1_000


def test_too_many_legs_cost_time_that_is_told():
    """Of too many legs the oldest are let go and counted, and what is told begins after them."""
    kept = Kept(most=3)
    kept.begin(T)
    kept.add(leg(str(number), T + number * 1_000) for number in range(1, 6))

    told = kept.take(None, T + 60_000)

    assert (kept.lost, names(told), told.start) == (2, ["3", "4", "5"], T + 3_000)


def test_stored_legs_are_let_go_for_nothing():
    """Legs that were told already may be let go without a loss."""
    kept = Kept(most=3)
    kept.begin(T)
    kept.add(leg(str(number), T + 1_000) for number in range(3))
    told = kept.take(None, T + 10_000)
    kept.add(leg(str(number), T + 11_000) for number in range(3))

    assert kept.lost == 0
    assert len(kept.take(told.end, T + 60_000).legs) == 3


def test_an_old_file_is_told_from_where_it_was_left():
    """What stood in a file before is told from `since` on; to one who was told nothing, from when we began to look."""
    for since, expected in ((None, []), (T + 2_000, ["2", "3"]), (T - 90_000, ["1", "2", "3"])):
        kept = Kept()
        kept.begin(T + 1_000, opened=T + 100_000)
        kept.add([leg(str(number), T + number * 1_000) for number in (1, 2, 3)], old=True)
        told = kept.take(since, T + 200_000)
        assert names(told) == expected
        assert told.start == max(T + 1_000, T + 100_000 if since is None else since)


@given(st.lists(st.tuples(st.sampled_from("bemta"), st.integers(0, 30_000)), max_size=40), st.integers(1, 4))
def test_stretches_never_overlap_or_reach_ahead(steps, most):
    """However lines come and go, what is told goes on without overlap, ends before now, and never claims a leg that it lacks."""
    kept, now, since = Kept(most), T, None
    added, seen = [], set()
    for what, ms in steps:
        now += ms
        match what:
            case "b":
                kept.begin(now)
            case "e":
                kept.end(now - SETTLE_MS)
            case "a":
                added.append(leg(str(len(added)), now))
                kept.add([added[-1]])
            case _:
                told = kept.take(since, now)
                if told is None:
                    continue
                assert (since or 0) <= told.start < told.end <= now - SETTLE_MS
                seen |= {each.leg for each in told.legs}
                assert {each.leg for each in added if told.start <= each.end < told.end} <= seen
                since = told.end


# --- lines -----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=12)), st.data())
def test_lines_are_the_same_however_they_are_cut(pieces, data):
    """Bytes that are cut anywhere are the same lines, and what follows the last end is none yet."""
    stream = b"\n".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    lines, found = Lines(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += lines.feed(stream[start:end])

    *whole, rest = stream.split(b"\n")
    assert (found, lines.rest()) == (whole, rest)


def test_a_line_without_end_is_cut_once():
    """Of a line that never ends a mebibyte is kept, once; the next line is whole again."""
    lines, found = Lines(), []
    for _ in range(40):
        found += lines.feed(b"x" * 100_000)
    found += lines.feed(b"y\nnext\n")

    assert [len(line) for line in found] == [1024 * 1024, 4]


# --- the file --------------------------------------------------------------------------------


def all_of(following):
    data, turns = b"", []
    while (new := following.look()) != New():
        following.took(new)
        data += new.data
        turns += [name for name in ("turned", "cut") if getattr(new, name)]
    return data, turns


def test_a_file_that_grows(tmp_path):
    """What is appended comes once, in pieces; a look that was not taken is no look."""
    file = tmp_path / "cdr.log"
    file.write_bytes(b"one\ntw")
    following = Following(file)
    following.look()
    assert all_of(following) == (b"one\ntw", [])
    with file.open("ab") as log:
        log.write(b"o\n" + b"x" * 300_000)
    assert all_of(following) == (b"o\n" + b"x" * 300_000, [])
    assert all_of(following) == (b"", [])


def test_a_file_that_is_turned_is_read_to_its_end(tmp_path):
    """After it was renamed, the last words in the old file come first, then all of the new one."""
    file = tmp_path / "cdr.log"
    file.write_bytes(b"old\n")
    following = Following(file)
    assert all_of(following)[0] == b"old\n"
    with file.open("ab") as log:
        file.rename(tmp_path / "cdr.log.1")
        log.write(b"last words\n")
    file.write_bytes(b"new\n")
    assert all_of(following) == (b"last words\nnew\n", ["turned"])


def test_a_file_that_is_cut_begins_anew(tmp_path):
    """A file that became shorter is read from its beginning, and that it was cut is said."""
    file = tmp_path / "cdr.log"
    file.write_bytes(b"a long line\n")
    following = Following(file)
    all_of(following)
    file.write_bytes(b"short\n")
    assert all_of(following) == (b"short\n", ["cut"])


def test_a_file_that_is_away_is_an_error_until_it_is_back(tmp_path):
    """No file is an OSError; one that was removed and made again goes on with the new one."""
    file = tmp_path / "cdr.log"
    following = Following(file)
    with pytest.raises(FileNotFoundError):
        following.look()
    file.write_bytes(b"one\n")
    assert all_of(following)[0] == b"one\n"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        following.look()
    file.write_bytes(b"two\n")
    assert all_of(following) == (b"two\n", ["turned"])
