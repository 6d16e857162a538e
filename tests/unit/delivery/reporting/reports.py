"""Any report at all: for properties that every rendering and the document have to keep."""

from __future__ import annotations

from hypothesis import strategies as st

from delivery.reporting.usage import (
    Bounds,
    Brand,
    CustomerUsage,
    Difference,
    Heap,
    Over,
    Peak,
    Proof,
    Report,
    State,
    TenantUsage,
    Traffic,
    Unseen,
)

NOVEMBER = (1_793_487_600_000, 1_796_079_600_000)  # in Amsterdam

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
ids = st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True)
numbers = st.integers(0, 10_000_000)
instants = st.integers(*NOVEMBER)
traffics = st.builds(Traffic, st.none() | numbers, st.none() | numbers, st.none() | numbers)
peaks = st.builds(
    Peak,
    level=st.integers(0, 400),
    at=st.none() | instants,
    ms=st.none() | numbers,
    source=st.none() | st.sampled_from(["seen", "proved", "sampled", "call_log"]),
    lower_bound=st.booleans(),
)
overs = st.builds(
    Over,
    st.none() | numbers,
    numbers,
    st.lists(st.tuples(instants, instants, numbers), max_size=2).map(tuple),
)
tenants = st.builds(
    TenantUsage,
    agent=ids,
    tenant=ids,
    name=names,
    state=st.sampled_from(State),
    start=st.just(NOVEMBER[0]),
    end=st.just(NOVEMBER[1]),
    timezone=st.sampled_from(["Europe/Amsterdam", "Europe/Rome", "UTC"]),
    as_of=st.none() | instants,
    partner=st.none() | ids,
    customer=st.none() | names,
    basis=st.sampled_from(["channels", "calls", "answered"]),
    peak=st.none() | peaks,
    capacity=st.none() | st.integers(0, 400),
    recorded_capacity=st.none() | st.integers(0, 400),
    over=st.none() | overs,
    packages=st.lists(st.integers(1, 400), max_size=3, unique=True).map(sorted).map(tuple),
    package=st.none() | st.integers(1, 400),
    users=st.none() | numbers,
    users_max=st.none() | numbers,
    inbound=st.none() | traffics,
    outbound=st.none() | traffics,
    unknown=st.none() | traffics,
    expected_ms=st.none() | numbers,
    observed_ms=st.none() | numbers,
    gaps=st.lists(
        st.builds(Unseen, ids, instants, instants, st.sampled_from(["agent_down", "link_lost"])), max_size=2
    ).map(tuple),
    daily_peaks=st.lists(
        st.tuples(st.integers(1, 30).map("2026-11-{:02d}".format), st.none() | st.integers(0, 400)),
        max_size=4,
        unique_by=lambda day: day[0],
    )
    .map(sorted)
    .map(tuple),
    level_ms=st.lists(st.tuples(st.integers(0, 400), numbers), max_size=3).map(tuple),
    synchronised=st.none() | st.booleans(),
    unclassified=st.none() | numbers,
    proof=st.none() | st.builds(Proof, ids, st.just("ab" * 32), st.integers(0, 9), st.just("k" * 43)),
)
bounds = st.tuples(numbers, numbers).map(lambda two: Bounds(min(two), max(two)))
heaps = st.builds(
    Heap,
    **dict.fromkeys(
        ("tenants", "missing", "users", "users_max", "users_unknown", "capacity", "peak_unknown"), numbers
    ),
    peak=st.none() | bounds,
    inbound=traffics,
    outbound=traffics,
    unknown=traffics,
)
brands = st.builds(
    Brand,
    name=names,
    colour=st.from_regex(r"#[0-9a-f]{6}", fullmatch=True),
    sender=st.none() | st.just("reports@partner.example"),
    reply_to=st.none() | st.just("help@partner.example"),
    footer=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20),
    logo=st.none() | st.tuples(st.just("image/png"), st.binary(max_size=8)),
)
reports = st.builds(
    Report,
    period=st.just("2026-11"),
    start=st.just(NOVEMBER[0]),
    end=st.just(NOVEMBER[1]),
    timezone=st.just("Europe/Amsterdam"),
    revision=st.integers(1, 9),
    made_at=instants,
    partner=st.none() | ids,
    name=names,
    language=st.sampled_from(["nl", "en", "it", "de"]),
    brand=brands,
    tenants=st.lists(tenants, max_size=3).map(tuple),
    partners=st.lists(st.tuples(ids, names, heaps), max_size=2).map(tuple),
    customers=st.lists(
        st.builds(CustomerUsage, names, st.lists(st.tuples(ids, ids), max_size=2).map(tuple), heaps),
        max_size=1,
    ).map(tuple),
    heap=heaps,
    differences=st.lists(
        st.builds(Difference, ids, ids, st.just("peak.level"), st.none() | names, st.none() | names),
        max_size=2,
    ).map(tuple),
)
