"""Numbers in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.pages.fleet import read_fleets
from bytelyst_sync.dashboard.pages.workers import read_team
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.inspection.snapshot import Snapshot
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.rules.heartbeat import STATES

__all__ = ["show"]

_STATES = ("ready", "retrying", "blocked", "sending", "asking", "failed", "parked")
_TOTALS = ("pushed", "coalesced", "requests", "sent", "delivered", "retried", "failed", "pulled")
_FLEET_SUMS = {
    "queued": "Changes that wait on the devices of a fleet.",
    "failed": "Changes that failed on the devices of a fleet.",
    "conflicts": "Conflicts that wait for a decision on the devices of a fleet.",
}
Labels = dict[str, str]


def show(context: Context) -> Response:
    """The queue by entity and state; with the engine of this process also its work so far."""
    snapshot = context.source.snapshot()
    lines = [*_of_store(context, snapshot), *_of_workers(context), *_of_fleet(context)]
    if not context.source.beside:
        lines += _of_engine(context)
    return Response(
        body=("\n".join(lines) + "\n").encode(),
        content_type="text/plain; version=0.0.4; charset=utf-8",
    )


def _of_store(context: Context, snapshot: Snapshot) -> Iterator[str]:
    yield from _head("items", "gauge", "Changes in the store, by entity and state.")
    for entity, numbers in snapshot.entities.items():
        for state in _STATES:
            labels = {"entity": entity, "state": state}
            yield _line("items", getattr(numbers, state), labels)
    yield from _one("queue_length", "Changes that are queued and not delivered.",
                    snapshot.total.waiting)  # fmt: skip
    yield from _one("failed", "Changes that failed and are kept.", snapshot.total.failed)
    yield from _one("conflicts", "Conflicts that wait for a decision.", snapshot.conflicts)
    oldest = snapshot.oldest
    age = 0.0 if oldest is None else context.source.core.clock.wall() - oldest.timestamp()
    yield from _one("oldest_seconds", "Age of the oldest change that waits.", max(0.0, age))


def _of_workers(context: Context) -> Iterator[str]:
    team = read_team(context)
    yield from _one("lag_seconds", "How long the oldest change that may be sent now has waited.",
                    team.lag_s)  # fmt: skip
    if not context.source.is_shared:
        return
    yield from _head("workers", "gauge", "Workers of the store, by state.")
    for wanted in ("alive", "outdated", "silent"):
        number = sum(state == wanted for _, state in team.workers)
        yield _line("workers", number, {"state": wanted})


def _of_fleet(context: Context) -> Iterator[str]:
    fleets = read_fleets(context)
    if not fleets:
        return
    yield from _head("fleet_devices", "gauge", "Devices that report, by entity and state.")
    for fleet in fleets:
        counts = fleet.counts()
        for state in STATES:
            yield _line("fleet_devices", counts[state], {"entity": fleet.entity, "state": state})
    for name, text in _FLEET_SUMS.items():
        yield from _head(f"fleet_{name}", "gauge", text)
        for fleet in fleets:
            number = sum(getattr(device, name) for device, _ in fleet.devices)
            yield _line(f"fleet_{name}", number, {"entity": fleet.entity})


def _of_engine(context: Context) -> Iterator[str]:
    engine = context.source.engine
    info, stats = engine.status, engine.stats()
    yield from _one("online", "1 if the server was reached when it was last needed.",
                    int(info.online))  # fmt: skip
    yield from _head("status", "gauge", "1 for the engine's status.")
    for status in SyncStatus:
        yield _line("status", int(info.status is status), {"status": status.value})
    for name in _TOTALS:
        full = f"{name}_total"
        yield from _head(full, "counter", f"Operations: {name} since the engine was made."
                         if name != "requests" else "Requests with operations.")  # fmt: skip
        yield _line(full, getattr(stats, name))


def _one(name: str, text: str, number: float) -> Iterator[str]:
    yield from _head(name, "gauge", text)
    yield _line(name, number)


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP bytelyst_sync_{name} {text}"
    yield f"# TYPE bytelyst_sync_{name} {kind}"


def _line(name: str, number: float, labels: Labels | None = None) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in (labels or {}).items())
    shown = f"{number:.3f}" if isinstance(number, float) else str(number)
    return f"bytelyst_sync_{name}{f'{{{inner}}}' if inner else ''} {shown}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
