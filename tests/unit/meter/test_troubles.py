"""When the operator hears of what needs a hand: once, once more when it is over, and through restarts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.periods import DAY_MS, MINUTE_MS
from meter.troubles import GATHER_MS, Case, Key, Kind, Tidings, Trouble, judge, standing

LOOK_MS = 5_000
PBX1, PBX2, CLOCK = (Kind.UNSEEN, "pbx1"), (Kind.UNSEEN, "pbx2"), (Kind.CLOCK, "")
SETTLE = {Kind.UNSEEN: 5 * MINUTE_MS, Kind.CLOCK: 15 * MINUTE_MS}


def settle_ms(kind: Kind) -> int:
    return SETTLE.get(kind, MINUTE_MS)


def trouble(key: Key, since: int | None = None) -> Trouble:
    return Trouble(*key, since, "nobody answers", "start it", ("pbx-meter check",), "link.down")


@dataclass
class Operator:
    """Looks every five seconds, and keeps what was told, as rows do."""

    now: int = 1_000_000_000
    cases: dict[Key, Case] = field(default_factory=dict)
    told: list[Tidings] = field(default_factory=list)

    def look(self, *stand: Key, well: Iterable[Key] = (), for_ms: int = LOOK_MS) -> list[Tidings]:
        """Look again and again, finding the same each time; return what was told."""
        before = len(self.told)
        for _ in range(max(1, for_ms // LOOK_MS)):
            self.now += LOOK_MS
            found = {key: trouble(key) for key in stand} | dict.fromkeys(well)
            self.cases, tidings = judge(self.cases, found, self.now, settle_ms)
            self.told += [tidings] if tidings else []
        return self.told[before:]

    def restart(self) -> None:
        """Know only what the rows know."""
        self.cases = {
            key: Case(*key, c.since, c.told_at, c.told_at, over_at=c.over_at, calm_ms=c.calm_ms)
            for key, c in self.cases.items()
            if c.told_at is not None or c.over_at is not None
        }


def subjects(tidings: Tidings) -> tuple[list[str], list[str]]:
    return [t.subject for t, _ in tidings.begun], [c.subject for c in tidings.over]


def test_it_is_told_once_and_its_end_once() -> None:
    """A PBX out of sight for a day is told after five minutes and never again; its end after five good minutes."""
    it = Operator()
    assert it.look(PBX1, for_ms=5 * MINUTE_MS) == []
    (begun,) = it.look(PBX1, for_ms=DAY_MS // 24)
    assert subjects(begun) == (["pbx1"], [])
    assert begun.at - begun.begun[0][1] == 5 * MINUTE_MS

    assert it.look(well=[PBX1], for_ms=5 * MINUTE_MS) == []
    (over,) = it.look(well=[PBX1], for_ms=60 * MINUTE_MS)
    assert subjects(over) == ([], ["pbx1"])
    assert over.over[0].since == begun.begun[0][1]
    assert over.over[0].well_at == it.now - 65 * MINUTE_MS + LOOK_MS


def test_what_passes_soon_is_not_told() -> None:
    """A restart of the PBX, or of its network, is nobody's business."""
    it = Operator()
    for _ in range(100):
        assert it.look(PBX1, for_ms=5 * MINUTE_MS - LOOK_MS) == []
        assert it.look(well=[PBX1]) == []
    assert it.cases == {}


def test_its_own_beginning_is_told_and_its_settling_is_from_the_first_look() -> None:
    """A PBX that was gone before the agent started is told with when it went, but not before it had its time to come up."""
    it = Operator()
    long_ago = it.now - DAY_MS
    told = []
    while not told:
        it.now += LOOK_MS
        it.cases, tidings = judge(it.cases, {PBX1: trouble(PBX1, long_ago)}, it.now, settle_ms)
        told += [tidings] if tidings else []
    assert told[0].begun[0][1] == long_ago
    assert told[0].at == 1_000_000_000 + LOOK_MS + 5 * MINUTE_MS


def test_a_restart_neither_repeats_nor_forgets() -> None:
    """Told before it, a trouble is not told after it, and its end is."""
    it = Operator()
    it.look(PBX1, for_ms=10 * MINUTE_MS)
    for _ in range(20):
        it.restart()
        assert it.look(for_ms=MINUTE_MS) == []  # nothing is known yet
        assert it.look(PBX1, for_ms=10 * MINUTE_MS) == []
    it.restart()
    (over,) = it.look(well=[PBX1], for_ms=10 * MINUTE_MS)
    assert subjects(over) == ([], ["pbx1"])
    it.restart()
    assert it.look(well=[PBX1], for_ms=10 * MINUTE_MS) == []


def test_what_is_not_known_is_not_over() -> None:
    """A trouble that nobody can look at any more stays told; time that was not seen proves no calm."""
    it = Operator()
    it.look(PBX1, for_ms=6 * MINUTE_MS)
    assert it.look(for_ms=DAY_MS // 4) == []
    assert it.look(well=[PBX1], for_ms=4 * MINUTE_MS) == []
    assert it.look() == []
    assert it.look(well=[PBX1], for_ms=4 * MINUTE_MS) == []
    assert [subjects(each) for each in it.look(well=[PBX1], for_ms=2 * MINUTE_MS)] == [([], ["pbx1"])]


def test_several_at_once_are_one_letter() -> None:
    """What ripens within a minute is told together, and its end likewise."""
    it = Operator()
    it.look(PBX1, for_ms=50_000)
    (begun,) = it.look(PBX1, PBX2, for_ms=20 * MINUTE_MS)
    assert subjects(begun) == (["pbx1", "pbx2"], [])
    it.look(PBX1, well=[PBX2], for_ms=50_000)
    (over,) = it.look(well=[PBX1, PBX2], for_ms=20 * MINUTE_MS)
    assert subjects(over) == ([], ["pbx1", "pbx2"])


def test_a_letter_does_not_wait_for_ever() -> None:
    """However many ripen one after another, the first has waited for a minute at most."""
    it = Operator()
    keys = [(Kind.UNSEEN, f"pbx{n:02}") for n in range(20)]
    for n in range(20):
        it.look(*keys[: n + 1], for_ms=40_000)
    it.look(*keys, for_ms=10 * MINUTE_MS)
    late = [t.at - since - 5 * MINUTE_MS for t in it.told for _, since in t.begun]
    assert len(late) == 20
    assert max(late) <= GATHER_MS + LOOK_MS
    assert len(it.told) < 12


def test_one_that_comes_and_goes_is_damped() -> None:
    """Six bad minutes, six good ones, for two days: some mails, not hundreds, and the last of them is the truth."""
    it = Operator()
    for _ in range(2 * 24 * 5):
        it.look(PBX1, for_ms=6 * MINUTE_MS)
        it.look(well=[PBX1], for_ms=6 * MINUTE_MS)
    assert len(it.told) <= 4
    it.look(well=[PBX1], for_ms=5 * 60 * MINUTE_MS)
    assert standing(it.cases.values()) == []
    assert subjects(it.told[-1]) == ([], ["pbx1"])


def test_the_worst_that_can_come_and_go() -> None:
    """One that returns the moment its end was told makes two dozen letters on its first day, one dozen on the second."""
    it = Operator()
    counts = []
    for _ in range(2):
        before, midnight = len(it.told), it.now + DAY_MS
        while it.now < midnight:
            stands = not it.told or not it.told[-1].begun
            it.look(*([PBX1] if stands else []), well=[] if stands else [PBX1])
        counts.append(len(it.told) - before)
    assert counts[0] <= 24
    assert counts[1] <= 12


def test_after_a_day_it_is_forgotten() -> None:
    """A trouble that comes back long after it was over is a new one, as quick as the first; nothing is left behind."""
    it = Operator()
    it.look(PBX1, for_ms=6 * MINUTE_MS)
    it.look(well=[PBX1], for_ms=6 * MINUTE_MS)
    it.look(well=[PBX1], for_ms=DAY_MS)
    assert it.cases == {}
    it.look(PBX1, for_ms=6 * MINUTE_MS)
    assert [subjects(each) for each in it.look(well=[PBX1], for_ms=6 * MINUTE_MS)] == [([], ["pbx1"])]


Stretch = tuple[str, int, bool]
STRETCHES = st.lists(
    st.tuples(st.sampled_from(["stands", "well", "unknown"]), st.integers(1, 200), st.booleans()), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(STRETCHES)
def test_whatever_happens_beginnings_and_ends_take_turns(stretches: list[Stretch]) -> None:
    """Over any history with restarts in it: told after standing for its time, over after being well for as long, by turns."""
    it = Operator()
    history: list[str] = []
    settle = settle_ms(Kind.UNSEEN) // LOOK_MS
    told: list[str] = []
    for state, looks, restarts in stretches:
        for _ in range(looks):
            history.append(state)
            stand, well = ([PBX1] if state == "stands" else []), ([PBX1] if state == "well" else [])
            for tidings in it.look(*stand, well=well):
                begun = bool(tidings.begun)
                told.append("begun" if begun else "over")
                assert set(history[-settle - 1 :]) == {"stands" if begun else "well"}
        if restarts:
            it.restart()
            history.append("restart")

    assert told == (["begun", "over"] * len(told))[: len(told)]
    recent = history[-(settle + GATHER_MS // LOOK_MS + 2) :]
    if set(recent) == {"stands"} and len(recent) > settle + GATHER_MS // LOOK_MS:
        assert told
        assert told[-1] == "begun"
