"""What a 3CX writes of a call is understood as that call was, or refused; never as another one."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.threecx import cdr
from connectors.threecx.cdr import COLUMNS, Layout, Unreadable
from meter.model import Direction
from meter.periods import instant
from meter.tenancy import Claims

USUAL = Layout((), UTC)

#: A real line of June 2024, its numbers changed. 10016 is an extension, 10020 the trunk.
REAL = (
    "Call 288831,4cc2c72490010000_26808,00:00:25,2024/06/17 05:59:49,2024/06/17 05:59:58,2024/06/17 06:00:23,"
    "TerminatedBySrc,Ext.10016,+46555014082,10016,10020,+46555014082,,+46555014082,10020,default,1,0.43,default,"
    "Chain: Ext.10016;+46555014082;,Extension,Line,Line,Backup no2,+46555014082,+46555014082,\r"
)
#: A real line of September 2023 whose fields end with the chain: a caller in a queue, then an agent.
QUEUED = (
    "Call 612504,00000C21DE5C2470_6531,00:05:36,2023/09/19 13:33:54,2023/09/19 13:33:54,2023/09/19 13:39:31,"
    "TerminatedBySrc,+353550177749,Ext.960,10021,960,960,QFwdToDNA,Ext.504,504,,,,,"
    "Chain: +353550177749;Ext.960;Ext.963;Ext.509;Ext.504;"
)

VALUES = {
    "historyid": "7", "callid": "00000C21_1", "duration": "00:00:25", "time-start": "2026/11/12 09:00:00",
    "time-answered": "2026/11/12 09:00:09", "time-end": "2026/11/12 09:00:34", "reason-terminated": "TerminatedBySrc",
    "from-no": "+15550100111", "to-no": "Ext.100", "from-dn": "10000", "to-dn": "100", "dial-no": "100",
    "reason-changed": "", "final-number": "Ext.100", "final-dn": "100", "bill-code": "", "bill-rate": "",
    "bill-cost": "", "bill-name": "", "chain": "Chain: +15550100111;Ext.100;", "from-type": "Line",
    "to-type": "Extension", "final-type": "Extension", "from-dispname": "A caller", "to-dispname": "Jane Doe",
    "final-dispname": "Jane Doe", "missed-queue-calls": "",
}  # fmt: skip
OUT = {
    "from-no": "Ext.100", "from-dn": "100", "to-dn": "10001", "final-dn": "10001", "from-type": "Extension",
    "to-type": "Line", "final-type": "Line", "chain": "Chain: Ext.100;+15550100144;",
}  # fmt: skip
FORWARDED = {"final-dn": "10001", "final-type": "Line", "chain": "Chain: +15550100111;Ext.100;+15550100144;"}


def line(changes=None, columns=COLUMNS, **more):
    values = VALUES | (changes or {}) | {name.replace("_", "-"): value for name, value in more.items()}
    return ",".join(("Call " if name == "historyid" else "") + values[name] for name in columns)


def at(text, tz=UTC):
    return instant(datetime.fromisoformat(text).replace(tzinfo=tz))


def legs(text, layout=USUAL, departments_of=cdr.nobodys):
    return cdr.legs_of(cdr.record(text, layout), departments_of)


def test_the_real_line():
    """The real line is one answered outbound leg on the trunk that its types name, though the extension has five digits too."""
    (leg,) = legs(REAL)

    assert (leg.leg, leg.call, leg.endpoint, leg.direction) == (
        "288831:to",
        "288831",
        "3CX/10020",
        Direction.OUT,
    )
    assert (leg.start, leg.answer, leg.end) == (
        at("2024-06-17 05:59:49"), at("2024-06-17 05:59:58"), at("2024-06-17 06:00:23"),
    )  # fmt: skip
    assert leg.claims == Claims("3CX/10020")
    assert leg.asked_by == ()


def test_numbers_and_names_are_dropped():
    """Nothing of what is kept of a line holds a number or a name."""
    found = repr(cdr.record(REAL, USUAL)) + repr(legs(REAL))

    assert "46555" not in found
    assert "Backup" not in found


def test_an_inbound_call():
    """A trunk that called is one inbound leg; unanswered without a time of answer, or with .NET's zero."""
    (leg,) = legs(line())
    assert (leg.leg, leg.endpoint, leg.direction) == ("7:from", "3CX/10000", Direction.IN)
    assert leg.answer == at("2026-11-12 09:00:09")

    for never in ("", "0001/01/01 00:00:00"):
        (leg,) = legs(line(time_answered=never))
        assert leg.answer is None


def test_forwarded_out_is_two_legs():
    """In on one trunk and out on another is two legs of one call, each of which knows the other."""
    into, out = legs(line(FORWARDED))

    assert [(leg.endpoint, leg.direction, leg.call) for leg in (into, out)] == [
        ("3CX/10000", Direction.IN, "7"),
        ("3CX/10001", Direction.OUT, "7"),
    ]
    assert into.asked_by == (out.claims,)
    assert out.asked_by == (into.claims,)
    assert into.channel != out.channel


def test_trunk_to_trunk_on_one_trunk_is_two_legs():
    """A call that comes and goes over the same trunk holds two of its lines."""
    found = legs(
        line(to_type="Line", to_dn="10000", final_type="Line", final_dn="10000", chain="Chain: +1555010;")
    )
    assert [leg.leg for leg in found] == ["7:from", "7:to"]


def test_an_internal_call_is_nothing():
    """A call between extensions has no trunk leg."""
    assert legs(line(from_type="Extension", from_dn="10016")) == ()


def test_the_trunk_it_ended_on():
    """Of a call that tried one trunk and ended on another, the second; one without a final DN, the first."""
    (leg,) = legs(line(OUT, final_dn="10002"))
    assert leg.endpoint == "3CX/10002"
    (leg,) = legs(line(OUT, final_dn=""))
    assert leg.endpoint == "3CX/10001"
    (leg,) = legs(line(OUT, final_dn="", final_type=""))
    assert leg.endpoint == "3CX/10001"


def test_a_call_that_the_pbx_began_has_no_caller():
    """A call without any caller, as one that was made through the API, has its outbound leg."""
    (leg,) = legs(line(OUT, from_type="", from_dn="", from_no="MakeCall"))
    assert (leg.endpoint, leg.direction) == ("3CX/10001", Direction.OUT)


@pytest.mark.parametrize("word", ["Line", "line", "ExternalLine", "external_line"])
def test_a_trunk_by_any_of_its_names(word):
    """A trunk is one in any case, and by the name that 3CX's other interfaces give it."""
    assert len(legs(line(from_type=word))) == 1


def test_what_the_chain_knows_beyond():
    """Outside parties in the chain that have no leg are counted, and made none; each once."""
    by_mobile = "Chain: +15550100111;Ext.100;+15550100144;+15550100144;Ext.101;"
    assert cdr.record(line(chain=by_mobile), USUAL).untold == 1
    assert len(legs(line(chain=by_mobile))) == 1
    assert cdr.record(line(FORWARDED), USUAL).untold == 0
    assert cdr.record(line(chain=""), USUAL).untold == 0
    assert cdr.record(REAL, USUAL).untold == 0


def test_departments_are_those_inside_first():
    """A leg may belong to the departments of whom it was for, then of whom it ended with, then of its trunk; a caller inside comes first."""
    departments = {
        "800": ("Sales", "GRP1"),
        "100": ("Support",),
        "10000": ("Sales", "Trunks"),
        "10001": ("Out",),
    }

    def of(dn):
        return departments.get(dn, ())

    (leg,) = legs(line(to_dn="800", to_type="Queue"), departments_of=of)
    assert leg.claims.departments == ("Sales", "GRP1", "Support", "Trunks")
    (leg,) = legs(line(OUT), departments_of=of)
    assert leg.claims.departments == ("Support", "Out")
    into, out = legs(line(FORWARDED), departments_of=of)
    assert into.claims.departments == ("Support", "Sales", "Trunks")
    assert out.claims.departments == ("Support", "Out")


# --- times -----------------------------------------------------------------------------------


def test_times_are_of_the_zone_that_is_said():
    """Times that are not UTC are of the zone that is given: an hour earlier in Amsterdam's winter."""
    (leg,) = legs(line(), Layout((), ZoneInfo("Europe/Amsterdam")))
    assert leg.start == at("2026-11-12 08:00:00")


def test_without_a_zone_they_are_the_machines(monkeypatch):
    """Without a zone times are the machine's own."""
    monkeypatch.setenv("TZ", "Europe/Amsterdam")
    import time  # noqa: PLC0415 -- only here

    time.tzset()
    try:
        (leg,) = legs(line(), Layout((), None))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert leg.start == at("2026-11-12 08:00:00")


def test_parts_of_a_second_are_cut_off():
    """A newer 3CX may write parts of a second: every instant is a whole second."""
    (leg,) = legs(line(time_start="2026-11-12 09:00:00.9876543", time_end="2026-11-12T09:00:34.1"))
    assert (leg.start, leg.end) == (at("2026-11-12 09:00:00"), at("2026-11-12 09:00:34"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time-start": ""}, "columns are not those"),
        ({"time-start": "2026/13/45 09:00:00"}, "times can't be read"),
        ({"time-end": "12-11-2026 09:00"}, "columns are not those"),
        ({"time-end": "2026/11/12 08:59:59"}, "ends before it starts"),
        ({"time-answered": "2026/11/12 09:00:35"}, "ends before it starts"),
        ({"time-answered": "2026/11/12 08:59:59"}, "ends before it starts"),
        ({"time-answered": "yes"}, "columns are not those"),
        ({"from-type": ""}, "which of its sides"),
        ({"from-dn": ""}, "which of its sides"),
        (OUT | {"to-dn": "", "final-dn": ""}, "which of its sides"),
        ({"final-dn": "", "final-type": "Line"}, "which of its sides"),
        ({"from-dn": "10000 ACME (+15550100111)"}, "columns are not those"),
        ({"historyid": ""}, "columns are not those"),
    ],
)
def test_what_is_no_call_is_refused(changes, words):
    """A line without times, sides or trunk is refused, and the sentence quotes nothing of it."""
    with pytest.raises(Unreadable, match=words) as refusal:
        cdr.record(line(changes), USUAL)
    assert "15550" not in str(refusal.value)


# --- layout ----------------------------------------------------------------------------------


def test_another_order_of_columns():
    """The columns come in the order that the Admin Console was given, few or all, `_` or `-` in their names."""
    chosen = (
        *("time-start", "time_end", "Time-Answered", "final-type", "to-type", "from-type"),
        *("from-dn", "to-dn", "final-dn", "historyid"),
    )
    names = [name.lower().replace("_", "-") for name in chosen]
    assert legs(line(columns=names), Layout(chosen, UTC)) == legs(line())
    assert legs(REAL, Layout(COLUMNS, UTC)) == legs(REAL)


def test_columns_that_are_needed():
    """Columns that don't tell which side is a trunk can't be read with; the one that is missing is named."""
    fields = COLUMNS[:20]  # QUEUED's
    assert cdr.missing(fields) == ("from-type", "to-type", "final-type")
    assert cdr.missing(()) == ()
    assert cdr.missing([name for name in COLUMNS if name != "chain"]) == ()
    with pytest.raises(Unreadable, match="lack from-type, to-type, final-type"):
        Layout(fields, UTC)
    with pytest.raises(Unreadable, match="20 columns where 27"):
        cdr.record(QUEUED, USUAL)


# --- commas in names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"from-dispname": "Doe, Jane"},
        {"to-dispname": "Doe, Jane", "final-dispname": "Doe, Jane"},
        {"to-dispname": "Line,Line,Line"},
        {"final-dispname": '"Doe, Jane"'},
        {"missed-queue-calls": "101,102,103"},
        {"bill-name": "rates, new"},
        {"bill-name": "Chain: x, y", "from-dispname": "Line, Extension"},
        {"from-dispname": ",,,,,,,,"},
        {"from-dispname": "Smith, Jones, Brown, Green & Sons, Ltd, Delft"},
    ],
)
@pytest.mark.parametrize("base", [{}, OUT, FORWARDED])
def test_commas_in_names_change_nothing(names, base):
    """A line whose names hold commas is the call that it is without them."""
    assert legs(line(base | names)) == legs(line(base))


def test_commas_in_names_before_the_types():
    """Where names come before the types, these are found from the end."""
    columns = (*COLUMNS[:20], *COLUMNS[23:26], *COLUMNS[20:23])
    layout = Layout(columns, UTC)
    names = {"from-dispname": "Line, Line", "to-dispname": "Extension,Line,Extension"}
    assert legs(line(names, columns=columns), layout) == legs(line())


def test_two_ways_to_read_are_none():
    """A line that can be read in two ways is refused."""
    columns = (
        *("historyid", "time-start", "time-answered", "time-end", "from-dn", "to-dn", "final-dn"),
        *("from-dispname", "from-type", "to-type", "final-type", "to-dispname"),
    )
    layout = Layout(columns, UTC)
    clear = {"from-dispname": "Doe, J. R.", "to-dispname": "100 x"}
    assert legs(line(clear, columns=columns), layout) == legs(line())
    with pytest.raises(Unreadable, match="several ways"):
        cdr.record(line({"from-dispname": "Doe", "to-dispname": "Extension,x"}, columns=columns), layout)


@pytest.mark.parametrize("count", [9, 10_000])
def test_too_many_commas_are_no_name(count):
    """A line with far too many columns is refused without being tried."""
    with pytest.raises(Unreadable, match="columns where 27"):
        cdr.record(line(to_dispname="," * count), USUAL)


def test_every_column_in_quotes():
    """Quotes around columns are no part of them."""
    quoted = ",".join(f'"{piece}"' for piece in line().split(","))
    assert legs(quoted) == legs(line())


names = st.text(
    alphabet=st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), max_size=30
)


@given(st.dictionaries(st.sampled_from(COLUMNS[23:]), names), st.sampled_from([{}, OUT, FORWARDED]))
def test_whatever_names_are_the_call_is_the_same_or_refused(given_names, base):
    """Whatever stands in names, a line is the call that it is, or refused; never another call."""
    try:
        found = legs(line(base | given_names))
    except Unreadable as refusal:
        assert "columns" in str(refusal) or "several ways" in str(refusal)  # noqa: PT017 -- either way is right
    else:
        assert found == legs(line(base))


@given(st.text() | st.lists(st.sampled_from([*VALUES.values(), "", ",", '"']), max_size=40).map(",".join))
def test_anything_is_a_call_or_refused(text):
    """Any text is a call or Unreadable, no other error."""
    try:
        found = cdr.record(text, USUAL)
    except Unreadable as refusal:
        assert str(refusal)  # noqa: PT017 -- either way is right
    else:
        assert found.start <= found.end


@given(st.permutations(COLUMNS), st.sampled_from([{}, OUT, FORWARDED]))
def test_any_order_tells_the_same(columns, base):
    """In whatever order the columns come, a call is the same."""
    assert legs(line(base, columns=columns), Layout(tuple(columns), UTC)) == legs(line(base))


# --- a whole file ----------------------------------------------------------------------------


def test_a_whole_file():
    """A file's lines are its calls, in the order in which they began, a line told twice once; its span is theirs."""
    later = line(OUT, historyid="8", time_start="2026/11/12 09:00:20", time_answered="")
    text = f"{later}\r\n\r\n{line()}\r\n{line()}\r\n"

    found = cdr.read(text, UTC)

    assert cdr.span(found) == (at("2026-11-12 09:00:00"), at("2026-11-12 09:00:34"))
    assert [leg.leg for leg in cdr.legs(found)] == ["7:from", "8:to"]
    assert cdr.span([]) is None


def test_lines_that_cannot_be_read_are_told():
    """Each line that can't be read is told with its number; without anybody to tell, the first is an error."""
    text = "\n".join([line(), "garbage", line(historyid="8"), QUEUED])
    refused = []

    assert len(cdr.read(text, UTC, refused=refused.append)) == 2
    assert [str(each).partition(":")[0] for each in refused] == ["line 2", "line 4"]
    with pytest.raises(Unreadable, match="line 2"):
        cdr.read(text, UTC)


def test_a_file_of_something_else_is_refused():
    """A file of which no line can be read is an error even if somebody is told; an empty one is none."""
    with pytest.raises(Unreadable, match="line 1"):
        cdr.read("a,b,c\nd,e,f\n", UTC, refused=lambda _: None)
    assert cdr.read("", UTC) == []


def test_ids_that_come_again_years_later_stay_two_calls():
    """A 3CX installed anew counts from one again: two calls with one id are not joined."""
    old = line(time_start="2024/01/01 00:00:00", time_answered="", time_end="2024/01/01 00:01:00")
    assert len(cdr.legs(cdr.read(f"{old}\n{line()}", UTC))) == 2
