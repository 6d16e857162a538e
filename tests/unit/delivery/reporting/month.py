"""A plausible month to render: 12 tenants of 3 partners, one of them below another. All of it is invented."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

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

START = 1_793_487_600_000  # 2026-11-01T00:00 in Amsterdam
END = 1_796_079_600_000  # 2026-12-01T00:00
DAY = 86_400_000
HOUR = 3_600_000
PEAK_AT = START + 11 * DAY + 10 * HOUR + 31 * 60_000 + 7_412  # Thursday 12 November
ZONE = "Europe/Amsterdam"
PACKAGES = (4, 8, 16, 24, 32, 48)
_PICTURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
    b'<circle cx="32" cy="32" r="30" fill="#0b7285"/><path d="M14 40 26 22l8 10 6-6 10 14z" fill="#fff"/></svg>'
)
LOGO = ("image/svg+xml", _PICTURE)
BRAND = Brand(
    name="Noorderlicht Telecom",
    colour="#0b7285",
    sender="verbruik@noorderlicht.example",
    reply_to="administratie@noorderlicht.example",
    footer="Noorderlicht Telecom B.V., Groningen\nadministratie@noorderlicht.example",
    logo=LOGO,
)


def tenant(
    name: str, ident: str, *, peak: int, capacity: int | None, seed: int, **fields: Any
) -> TenantUsage:
    """Make one tenant's month, quiet at weekends; `fields` replace what it would have."""
    chance = random.Random(seed)
    days = [
        max(0, round((0.25 if at % 7 in (0, 6) else 0.85) * peak * chance.uniform(0.55, 1)))
        for at in range(30)
    ]
    days[11] = peak
    over_ms = 0 if capacity is None or peak <= capacity else 102_000
    usage = TenantUsage(
        agent="ams-01" if seed % 2 else "gro-02",
        tenant=ident,
        name=name,
        state=State.FINAL,
        start=START,
        end=END,
        timezone=ZONE,
        as_of=END,
        partner="noorderlicht",
        customer=f"NL-{4000 + seed}",
        peak=Peak(peak, PEAK_AT + seed * 61_000, 8_120 + seed * 977, "seen", lower_bound=False),
        capacity=capacity,
        over=None
        if capacity is None
        else Over(3 if over_ms else 0, over_ms, ((PEAK_AT, PEAK_AT + 61_000, peak),) if over_ms else ()),
        packages=PACKAGES,
        package=next((size for size in PACKAGES if size >= peak), None),
        users=peak * 3 - 2,
        users_max=peak * 3,
        inbound=Traffic(peak * 301, peak * 47_765_000, peak * 47_902),
        outbound=Traffic(peak * 187, peak * 33_111_000, peak * 33_240),
        unknown=Traffic(0, 0, 0),
        expected_ms=END - START,
        observed_ms=END - START,
        daily_peaks=tuple((f"2026-11-{at + 1:02}", high) for at, high in enumerate(days)),
        synchronised=True,
        unclassified=0,
        proof=Proof(
            f"{ident}/2026-11/final/1",
            f"{random.Random(ident).getrandbits(256):064x}",
            1,
            "k3yTh0mbPr1ntOfTheAgentsKeyXq7vR2mW9sLfD4aBcE",
        ),
    )
    return dataclasses.replace(usage, **fields)


def tenants() -> tuple[TenantUsage, ...]:
    """Give the twelve: one missing, one open, one corrected, one over, one with gaps, one told by call records."""
    holes = (
        Unseen("pbx-leer", START + 4 * DAY + 13 * HOUR, START + 4 * DAY + 15 * HOUR + 320_000, "link_lost"),
        Unseen("pbx-leer", START + 16 * DAY, START + 17 * DAY + 9 * HOUR, "pbx_unreachable"),
        Unseen("pbx-leer", START + 22 * DAY, START + 22 * DAY + 41_000, "agent_down"),
        Unseen("pbx-leer", START + 25 * DAY, START + 25 * DAY + 12_000, "events_lost"),
    )
    unseen = sum(gap.end - gap.start for gap in holes)
    fall = tenant("Hotel De Vuurtoren", "vuurtoren", peak=17, capacity=16, seed=1)
    school = tenant("Scholengroep Leerwijk", "leerwijk", peak=22, capacity=24, seed=2)
    school = dataclasses.replace(
        school,
        peak=dataclasses.replace(school.peak, lower_bound=True),  # type: ignore[type-var]  # there is one
        gaps=holes,
        observed_ms=END - START - unseen,
        daily_peaks=tuple((day, None if day == "2026-11-17" else high) for day, high in school.daily_peaks),
    )
    until = START + 27 * DAY + 14 * HOUR
    garage = tenant("Garage Bakkeveen", "bakkeveen", peak=5, capacity=8, seed=5, partner="wadlijn")
    care = tenant("Zorggroep Eemsmond", "eemsmond", peak=41, capacity=48, seed=9, partner="beltoren")
    return (
        fall,
        school,
        tenant("Notariaat Van der Meulen & Dijk", "vdmeulen", peak=6, capacity=8, seed=3),
        tenant("Kwekerij Zonneveld", "zonneveld", peak=3, capacity=4, seed=4),
        dataclasses.replace(
            tenant("Drukkerij Inktpot", "inktpot", peak=9, capacity=16, seed=11),
            recorded_capacity=8,
            over=Over(0, 0),
        ),
        tenant("Beltoren Eigen Gebruik", "beltoren", peak=2, capacity=None, seed=6, partner="beltoren", over=None,
               packages=(), package=None, customer=None),
        dataclasses.replace(
            care,
            state=State.CORRECTED,
            proof=Proof("eemsmond/2026-11/correction/2", care.proof.sha256, 2, care.proof.kid),  # type: ignore[union-attr]  # it has one
        ),
        TenantUsage(
            agent="ein-07", tenant="rodekruin", name="Basisschool De Rode Kruin", state=State.MISSING,
            start=START, end=END, timezone=ZONE, partner="beltoren", customer="NL-4010", capacity=8, packages=PACKAGES,
        ),
        dataclasses.replace(
            tenant("Café 't Hoekje", "hoekje", peak=4, capacity=4, seed=12, partner="beltoren"),
            peak=Peak(4, PEAK_AT, 42_000, "sampled", lower_bound=True),
        ),
        dataclasses.replace(
            garage,
            state=State.OPEN,
            as_of=until,
            expected_ms=until - START,
            observed_ms=until - START,
            daily_peaks=garage.daily_peaks[:28],
            proof=dataclasses.replace(garage.proof, record="bakkeveen/2026-11/interim/662", revision=0),  # type: ignore[type-var]  # it has one
        ),
        dataclasses.replace(
            tenant("Makelaardij Waterkant", "waterkant", peak=7, capacity=8, seed=7, partner="wadlijn"),
            peak=Peak(7, PEAK_AT, 95_000, "call_log", lower_bound=False),
            users=None,
            users_max=None,
        ),
        tenant("Transport Lauwers", "lauwers", peak=12, capacity=16, seed=8, partner="wadlijn"),
    )  # fmt: skip


def heap(of: tuple[TenantUsage, ...]) -> Heap:
    """Take tenants as one; the upper bound of the peak is simply their sum here."""
    peaks = [one.peak.level for one in of if one.peak is not None]

    def traffic(name: str) -> Traffic:
        each = [getattr(one, name) for one in of if getattr(one, name) is not None]
        return Traffic(
            sum(t.legs for t in each), sum(t.answered_ms for t in each), sum(t.billable_s for t in each)
        )

    return Heap(
        tenants=len(of),
        missing=sum(one.state in (State.OPEN, State.MISSING) for one in of),
        users=sum(one.users or 0 for one in of),
        users_max=sum(one.users_max or 0 for one in of),
        users_unknown=sum(one.users is None for one in of),
        capacity=sum(one.capacity or 0 for one in of),
        peak=Bounds(max(peaks), max(*peaks, sum(peaks) * 5 // 6)) if peaks else None,
        peak_unknown=sum(one.peak is None for one in of),
        inbound=traffic("inbound"),
        outbound=traffic("outbound"),
        unknown=traffic("unknown"),
        capacity_unknown=sum(one.state is State.MISSING and one.capacity is None for one in of),
        peak_unsure=sum(one.peak is not None and (one.unsure or not one.final) for one in of),
        traffic_unsure=sum(not one.final or one.peak is None for one in of),
    )


def month(language: str = "nl", **fields: Any) -> Report:
    """Give the report of the three partners together."""
    everybody = tenants()
    names = {
        "noorderlicht": "Noorderlicht Telecom",
        "beltoren": "Beltoren IT",
        "wadlijn": "Wadlijn Communicatie",
    }
    two = tuple(dataclasses.replace(one, customer="NL-4002") for one in everybody[1:3])
    whole = (everybody[0], *two, *everybody[3:])
    report = Report(
        period="2026-11",
        start=START,
        end=END,
        timezone=ZONE,
        revision=2,
        made_at=END + 3 * DAY + 8 * HOUR,
        partner="noorderlicht",
        name="Noorderlicht Telecom",
        language=language,
        brand=BRAND,
        tenants=whole,
        partners=tuple(
            (key, name, heap(tuple(one for one in whole if one.partner == key)))
            for key, name in names.items()
        ),
        customers=(CustomerUsage("NL-4002", tuple((one.agent, one.tenant) for one in two), heap(two)),),
        heap=heap(whole),
        differences=(
            Difference("ams-01", "eemsmond", "state", "final", "corrected"),
            Difference("ams-01", "eemsmond", "peak.level", "39", "41"),
            Difference("ams-01", "eemsmond", "inbound.billable_s", "1958310", "1963982"),
            Difference("", "", "heap.peak.at_least", "39", "41"),
        ),
        compared=1,
    )
    return dataclasses.replace(report, **fields)
