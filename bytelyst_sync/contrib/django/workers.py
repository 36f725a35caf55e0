"""When a worker was last alive: the time that each process which delivers a queue writes."""

from __future__ import annotations

from typing import Any, Protocol

from bytelyst_sync.contrib.django.database import Vendor
from bytelyst_sync.storage.base import Value

__all__ = ["last_seen", "note_worker"]


class _Database(Protocol):
    """The methods of the store that are called here."""

    def execute(self, text: str, *values: Value) -> int:
        """Runs a statement on its own; the number of rows that it changed."""
        ...

    def query(self, text: str, *values: Value) -> list[tuple[Any, ...]]:
        """Runs a query on its own; its rows."""
        ...


def note_worker(database: _Database, vendor: Vendor, queue: str) -> None:
    """Stores that a worker of this queue is alive."""
    text = f"UPDATE bytelyst_sync_leases SET seen = {vendor.now} WHERE queue = %s"  # noqa: S608
    if not database.execute(text, queue):
        database.execute(vendor.add_lease, queue)
        database.execute(text, queue)


def last_seen(database: _Database, vendor: Vendor, queue: str) -> float | None:
    """Seconds since a worker of this queue was alive; ``None``: there never was one."""
    found = database.query(
        f"SELECT {vendor.now} - seen FROM bytelyst_sync_leases WHERE queue = %s",  # noqa: S608
        queue,
    )
    return None if not found or found[0][0] is None else max(0.0, float(found[0][0]))
