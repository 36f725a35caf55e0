"""Whether any process delivers a queue that many machines share.

Each process that delivers stores a heartbeat every ten seconds, or four times in each lease if that
is more often. A process that only pushes reads it together with its status: if no process has
delivered for three leases, the status says so. That needs no thread and one query.
"""

from __future__ import annotations

from bytelyst_sync.clock import Clock
from bytelyst_sync.events.status import NoDeliverer
from bytelyst_sync.storage.base import Storage
from bytelyst_sync.storage.closable import ClosableSharedStorage

__all__ = ["LATE_LEASES", "DelivererHeartbeat", "no_deliverer"]

LATE_LEASES = 3
"""After this many leases without a heartbeat the status is an error."""
_INTERVAL_S = 10.0
_NOTES_PER_LEASE = 4
"""At least this many heartbeats are stored in each lease."""


class DelivererHeartbeat:
    """Stores that this process delivers. Owned by the worker's thread."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._shared = storage if isinstance(storage, ClosableSharedStorage) else None
        self._clock = clock
        self._due_at = clock.monotonic()

    def note(self) -> None:
        """Stores a heartbeat if one is due; does nothing in a store of one machine."""
        if self._shared is not None and self.wait_s == 0.0:
            self._shared.note_deliverer()
            every_s = min(_INTERVAL_S, self._shared.lease_s / _NOTES_PER_LEASE)
            self._due_at = self._clock.monotonic() + every_s

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next heartbeat is due; ``None`` in a store of one machine."""
        if self._shared is None:
            return None
        return max(0.0, self._due_at - self._clock.monotonic())


def no_deliverer(shared: ClosableSharedStorage, queued: int) -> NoDeliverer | None:
    """The error that no process delivers the queue.

    ``None`` if one does, or if nothing was ever queued and no process ever delivered.
    """
    seen_s, most_s = shared.deliverer_seen_s(), LATE_LEASES * shared.lease_s
    if seen_s is None:
        since = "was ever seen" if queued else None
    else:
        since = f"was seen for {seen_s:.0f} s" if seen_s > most_s else None
    if since is None:
        return None
    text = (
        f"{queued} queued, and no worker {since}: start a worker, in a Django project with"
        " `manage.py sync_worker`"
    )
    return NoDeliverer(text, None if seen_s is None else seen_s - most_s)
