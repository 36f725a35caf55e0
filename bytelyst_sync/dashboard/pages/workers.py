"""The workers of a shared store, or the process that delivers a local one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from bytelyst_sync.agent.presence import SILENT_AFTER_S, WorkerRow, read_workers
from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.parts import Badge, Column, Table, Tone
from bytelyst_sync.dashboard.components.text import moment, value
from bytelyst_sync.dashboard.http import Response
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.delivery.leadership import DELIVERER, parse_holder
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, META, Lane

__all__ = ["WorkerState", "Workers", "read_team", "show"]

WorkerState = Literal["silent", "outdated", "alive"]
_TONES: Mapping[WorkerState, Tone] = {"silent": "bad", "outdated": "info", "alive": "good"}
_ORDER: tuple[WorkerState, ...] = ("silent", "outdated", "alive")
_MOST_LEASES = 1000
_COLUMNS = (
    Column("Worker"),
    Column("State"),
    Column("Status", wide=True),
    Column("Last sign"),
    Column("Delivered", number=True),
    Column("Running since", wide=True),
    Column("Version", wide=True),
)


class Workers(NamedTuple):
    """The workers of a store with the states of each, and what they hold."""

    workers: list[tuple[WorkerRow, WorkerState]]
    sending: int
    """Items that are claimed."""
    lease_ends: float | None
    """When the first of their leases ends, where they have leases."""
    lag_s: float
    """How long the oldest item that may be sent now has waited."""
    deliverer: tuple[str, int] | None
    """Host and process of the worker with the right to deliver, where one has it."""

    def delivers(self, worker: WorkerRow) -> bool:
        """Whether this worker has the right to deliver."""
        return self.deliverer == (worker.host, worker.pid)


def read_team(context: Context) -> Workers:
    """The workers of the store, those that need attention first."""
    now = context.source.core.clock.wall()

    def read(tx: Reader) -> Workers:
        lanes = tx.counts(ITEMS)
        ready, sending = (
            [str(name) for lane, name in lanes if lane == wanted]
            for wanted in (Lane.READY, Lane.SENDING)
        )
        oldest = [
            item.time
            for name in ready
            for item in tx.scan(ITEMS, "lane", (Lane.READY, name), limit=1)
        ]
        claimed = [
            item
            for name in sending
            for item in tx.scan(ITEMS, "lane", (Lane.SENDING, name), limit=_MOST_LEASES)
        ]
        leases = [item.lease for item in claimed if item.lease is not None]
        holder = parse_holder(tx.get(META, DELIVERER))
        return Workers(
            workers=_with_states(read_workers(tx), now),
            sending=sum(number for (lane, _), number in lanes.items() if lane == Lane.SENDING),
            lease_ends=min(leases, default=None),
            lag_s=max(0.0, now - min(oldest, default=now)),
            deliverer=(holder.host, holder.pid) if holder is not None and holder.pid else None,
        )

    return context.source.read(read)


def _with_states(rows: list[WorkerRow], now: float) -> list[tuple[WorkerRow, WorkerState]]:
    newest = max(((row.schema_version, row.package) for row in rows), default=None)

    def state(row: WorkerRow) -> WorkerState:
        if now - row.seen > SILENT_AFTER_S:
            return "silent"
        return "alive" if (row.schema_version, row.package) == newest else "outdated"

    found = [(row, state(row)) for row in rows]
    return sorted(found, key=lambda pair: _ORDER.index(pair[1]))


def show(context: Context) -> Response:
    """Each worker with its heartbeat, its version, and what it delivers."""
    team = read_team(context)
    info, snapshot = context.source.info(), context.source.snapshot()
    own = info is not None and info.deliverer is None
    return context.page(
        "workers.html",
        "Workers",
        live=True,
        shared=context.source.is_shared,
        number=len(team.workers),
        silent=sum(state == "silent" for _, state in team.workers),
        table=Table("Workers", _COLUMNS, [_row(team, *each) for each in team.workers],
                    row_heading=0),
        sending=team.sending,
        lease_ends=None if team.lease_ends is None else as_datetime(team.lease_ends),
        lag_s=team.lag_s,
        waiting=snapshot.total.waiting,
        deliverer=snapshot.deliverer or (None if info is None else info.deliverer),
        own=own,
    )  # fmt: skip


def _row(team: Workers, worker: WorkerRow, state: WorkerState) -> tuple[str, list[object]]:
    badges = Badge(state, _TONES[state])
    if team.delivers(worker):
        badges += " " + Badge("delivers", "info")
    return f"worker-{worker.id}", [
        value(f"{worker.host}, process {worker.pid}"),
        badges,
        value(worker.status),
        moment(as_datetime(worker.seen)),
        f"{worker.delivered:,}",
        moment(as_datetime(worker.started)),
        value(f"{worker.package}, data {worker.schema_version}, Python {worker.python}"),
    ]
