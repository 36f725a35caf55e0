"""The workers of a store that many machines share: each keeps a row that says that it is alive.

Owned by the agent's thread of its worker. Any process reads the rows.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from bytelyst_sync.agent.rows import write_value
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META
from bytelyst_sync.version import __version__

__all__ = ["SIGN_EVERY_S", "SILENT_AFTER_S", "Presence", "WorkerRow", "read_workers"]

SIGN_EVERY_S = 20.0
"""How often a worker writes its row."""
SILENT_AFTER_S = 3 * SIGN_EVERY_S
_FORGOTTEN_AFTER_S = 86_400.0
_PREFIX = "worker/"


class WorkerRow(NamedTuple):
    """A worker as it described itself. Times are seconds since the epoch, by the store's clock."""

    id: str
    host: str
    pid: int
    package: str
    python: str
    schema_version: int
    started: float
    seen: float
    status: str
    delivered: int


class Presence:
    """This worker's row. ``describe`` returns its status and how much it has delivered."""

    def __init__(
        self, state: StateStore, schema_version: int, describe: Callable[[], tuple[str, int]]
    ) -> None:
        self._state = state
        self._schema_version = schema_version
        self._describe = describe
        self._id = uuid.uuid4().hex
        self._started: float | None = None

    def sign(self) -> None:
        """Writes the row, and deletes the rows of workers that were killed long ago."""
        status, delivered = self._describe()

        def write(work: UnitOfWork) -> float:
            started = work.now if self._started is None else self._started
            row = WorkerRow(
                self._id,
                platform.node(),
                os.getpid(),
                __version__,
                platform.python_version(),
                self._schema_version,
                started,
                work.now,
                status,
                delivered,
            )
            write_value(work, _PREFIX + self._id, row._asdict())
            for old in read_workers(work.tx):
                if work.now - old.seen > _FORGOTTEN_AFTER_S:
                    self._remove(work, old.id)
            return started

        self._started = self._state.write(write)

    def leave(self) -> None:
        """Removes the row: this worker ends."""
        if self._started is not None:
            self._state.write(lambda work: self._remove(work, self._id))

    @staticmethod
    def _remove(work: UnitOfWork, worker_id: str) -> None:
        row = work.tx.get(META, _PREFIX + worker_id)
        if row is not None:
            work.tx.delete(META, row)


def read_workers(tx: Reader) -> list[WorkerRow]:
    """All workers of the store, the one that started first first."""
    found = []
    for row in tx.scan(META, None, (), after=(_PREFIX,), upto=(_PREFIX + "\x7f",)):
        values: dict[str, Any] = json.loads(row.value)
        if set(values) >= set(WorkerRow._fields):
            found.append(WorkerRow(**{name: values[name] for name in WorkerRow._fields}))
    return sorted(found, key=lambda each: (each.started, each.id))
