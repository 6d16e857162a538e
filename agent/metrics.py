"""What the agent says of itself, as Prometheus reads it: the text format, version 0.0.4.

- What is not known has no sample: an absent level is not zero.
- Base units, `_total` for what only grows; what begins anew with each period is a gauge.
- Labels are ids of the configuration. No telephone number, no endpoint, nobody's name.

The format is some ten lines; the client library would cost 2.5 MB of memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meter.statement import instant

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float | int | None]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples; those without a value are left out.

    Attributes:
        name: Its name after `pbx_meter_`; one that begins with `process_` stays as it is.
        kind: `gauge` or `counter`.
        about: One sentence, without its full stop.
        samples: Its samples.
    """

    name: str
    kind: str
    about: str
    samples: tuple[Sample, ...]

    def lines(self) -> Iterable[str]:
        """Yield it as text; nothing at all where nothing is known."""
        name = self.name if self.name.startswith("process_") else f"pbx_meter_{self.name}"
        known = [(labels, value) for labels, value in self.samples if value is not None]
        if known:
            yield f"# HELP {name} {self.about}."
            yield f"# TYPE {name} {self.kind}"
        for labels, value in known:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{name}{{{inner}}} {value:.17g}" if inner else f"{name} {value:.17g}"


def text(
    found: dict[str, Any], unwell: int, *, synchronised: Callable[[], bool | None], state_dir: Path
) -> str:
    """Return all metrics.

    Args:
        found: What the agent says of itself (agent.status).
        unwell: How many reasons `/healthz` has to say no.
        synchronised: Asks whether the machine's clock is; None: it does not say.
        state_dir: Where the database is: the room on that disk is told.
    """
    families = (*_tenants(found["tenants"]), *_pbxs(found["pbxs"]), *_agent(found), *_machine(state_dir))
    own = (
        Family("unhealthy_reasons", "gauge", "Why the health check fails; 0 while it passes", (({}, unwell),)),
        Family("clock_synchronised", "gauge", "Whether the machine's clock is synchronised", (({}, _flag(synchronised())),)),
    )  # fmt: skip
    return "\n".join(line for family in (*families, *own) for line in family.lines()) + "\n"


def _tenants(tenants: Mapping[str, dict[str, Any]]) -> Iterable[Family]:
    levels = [
        ({"tenant": tenant, "level": level}, each)
        for tenant, said in tenants.items()
        for level, each in said["levels"].items()
    ]
    yield Family("level", "gauge", "How many are up now; absent while no PBX of the tenant is seen",
                 tuple((labels, each["now"]) for labels, each in levels))  # fmt: skip
    yield Family("period_peak", "gauge", "The highest level of the running period",
                 tuple((labels, each["peak"]) for labels, each in levels))  # fmt: skip
    yield Family("period_peak_timestamp_seconds", "gauge", "When the peak of the running period was first reached",
                 tuple((labels, _seconds(each["peak_at"])) for labels, each in levels))  # fmt: skip

    def each(name: str, about: str, value: Any) -> Family:
        return Family(
            name, "gauge", about, tuple(({"tenant": t}, value(said)) for t, said in tenants.items())
        )

    yield Family("tenant_info", "gauge", "The level that the tenant's contract bills", tuple(
        ({"tenant": t, "basis": said["basis"]}, 1) for t, said in tenants.items()))  # fmt: skip
    yield each("capacity", "How many lines the tenant bought", lambda s: s["capacity"])
    yield each(
        "billed_level", "The level that the contract bills, now", lambda s: s["levels"][s["basis"]]["now"]
    )
    yield each("observed", "Whether all PBXs of the tenant are observed now", lambda s: _flag(s["observed"]))
    yield each("users", "How many users the tenant has", lambda s: s["users"])
    yield each(
        "period_overruns", "How often the level was above the capacity in the running period", _over("count")
    )
    yield each("period_over_capacity_seconds", "How long the level was above the capacity in the running period",
               lambda s: _ms(_over("total_ms")(s)))  # fmt: skip
    yield each(
        "period_start_timestamp_seconds", "When the running period began", lambda s: _seconds(s["start"])
    )
    yield each("period_elapsed_seconds", "How long the running period has been going on",
               lambda s: _ms(s["coverage"]["expected_ms"]))  # fmt: skip
    yield each("period_observed_seconds", "How much of that was observed",
               lambda s: _ms(s["coverage"]["observed_ms"]))  # fmt: skip


def _over(field: str) -> Any:
    """Return what reads a figure of the overruns, which nobody counts without a capacity."""
    return lambda said: None if said["capacity"] is None else said["overruns"][field]


def _pbxs(pbxs: Mapping[str, dict[str, Any]]) -> Iterable[Family]:
    def each(name: str, about: str, value: Any, kind: str = "gauge") -> Family:
        return Family(
            f"pbx_{name}", kind, about, tuple(({"pbx": p}, value(said)) for p, said in pbxs.items())
        )

    yield Family("pbx_info", "gauge", "How the PBX is watched", tuple(
        ({"pbx": p, "method": said["method"]}, 1) for p, said in pbxs.items()))  # fmt: skip
    yield each("up", "Whether the link to the PBX works", lambda s: _flag(s["link"] == "up"))
    yield each("observed", "Whether the PBX is observed now", lambda s: _flag(s["observed"]))
    yield each(
        "last_heard_timestamp_seconds", "When the PBX was last heard", lambda s: _seconds(s["heard_at"])
    )
    yield each("day_observed_ratio", "How much of the last 24 hours the PBX was observed",
               lambda s: s["day"]["observed_ms"] / s["day"]["expected_ms"])  # fmt: skip
    yield each(
        "clock_ahead_seconds", "How far the PBX's clock is ahead of ours", lambda s: _ms(s["ahead_ms"])
    )
    yield each(
        "unclassified_legs",
        "Legs up now that no rule knows; they count for nobody",
        lambda s: s["unclassified"],
    )
    yield each("unassigned_legs", "Trunk legs up now that are no tenant's", lambda s: s["unassigned"])
    yield each("snapshots_total", "Snapshots taken since the start", lambda s: s["snapshots"], "counter")
    yield each(
        "missed_starts_total",
        "Legs that a snapshot showed and no event told of",
        lambda s: s["missed_starts"],
        "counter",
    )
    yield each(
        "missed_hangups_total",
        "Legs that ended and no event told of it",
        lambda s: s["missed_hangups"],
        "counter",
    )
    yield each("missed_polls_total", "Polls that failed", lambda s: s["missed_polls"], "counter")


def _agent(found: dict[str, Any]) -> Iterable[Family]:
    def one(name: str, about: str, value: int, kind: str = "gauge") -> Family:
        return Family(name, kind, about, (({}, value),))

    agent, box, sealed = found["agent"], found["outbox"], found["records"]
    labels = {"agent": agent["id"], "version": agent["version"]}
    yield Family("build_info", "gauge", "Which agent this is", ((labels, 1),))
    yield one("outbox_waiting", "Rows that wait to leave", box["waiting"])
    yield one("outbox_parked", "Rows that the other side refused for good", box["parked"])
    yield one("records_sealed_total", "Records sealed in the present chain", sealed["sealed"], "counter")
    yield one("records_receipted_total", "Records that have their receipt", sealed["receipted"], "counter")
    yield one("records_refused_total", "Records that the provider can't count", sealed["refused"], "counter")
    yield one("troubles", "What needs a hand: pbx-meter status says what", len(found["trouble"]))


def _machine(state_dir: Path) -> Iterable[Family]:
    disk = os.statvfs(state_dir)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    yield Family("state_directory_free_bytes", "gauge", "Room on the disk of the state directory",
                 (({}, disk.f_bavail * disk.f_frsize),))  # fmt: skip
    yield Family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes",
                 (({}, pages * os.sysconf("SC_PAGE_SIZE")),))  # fmt: skip
    yield Family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds",
                 (({}, time.process_time()),))  # fmt: skip


def _seconds(at: str | None) -> float | None:
    return None if at is None else instant(at) / 1000


def _ms(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
