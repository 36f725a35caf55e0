"""The right to deliver a queue, which every process has, and the right to pull, which one has."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Protocol

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.contrib.django.database import Vendor
from bytelyst_sync.errors import SyncError
from bytelyst_sync.storage.base import Value

__all__ = ["PullLease", "SharedDeliveryLock"]

_CLOCK = SystemClock()
_KEPT_OFTEN = 3


class SharedDeliveryLock:
    """The lock of one object, which everybody may hold: claims are leases."""

    exclusive = False

    def __init__(self) -> None:
        self.held = False

    def acquire(self) -> bool:
        """Always succeeds."""
        self.held = True
        return True

    def release(self) -> None:
        """See ``DeliveryLock``."""
        self.held = False


class _Database(Protocol):
    """The methods of the store that a lease calls."""

    @property
    def vendor(self) -> Vendor:
        """The database's statements."""
        ...

    def execute(self, text: str, *values: Value) -> int:
        """Runs a statement on its own; the number of rows that it changed."""
        ...


class PullLease:
    """A row with an owner and a time, by the database's clock: the right to pull in the background.

    It only saves requests: a page is committed only if it was fetched with the stored cursor.
    """

    def __init__(self, database: _Database, queue: str, lease_s: float) -> None:
        self._database = database
        self._queue = queue
        self._lease_s = lease_s
        self._owner = uuid.uuid4().hex
        self._held = False
        self._taken_at = 0.0
        """When it was taken or prolonged last, on the monotonic clock."""

    def take(self, span_s: float) -> bool:
        """Takes the lease if it is free, has ended, or belongs to this object; for its length, and
        ``span_s`` more.
        """
        now = _CLOCK.monotonic()
        self._held = self._try(span_s)
        if not self._held and self._database.execute(self._database.vendor.add_lease, self._queue):
            self._held = self._try(span_s)
        self._taken_at = now
        return self._held

    def _try(self, span_s: float) -> bool:
        clock = self._database.vendor.now
        until, mine = f"{clock} + %s", self._owner
        taken = self._database.execute(
            "UPDATE bytelyst_sync_leases SET"  # noqa: S608
            f" until = CASE WHEN owner = %s AND until > {until} THEN until ELSE {until} END,"
            f" owner = %s WHERE queue = %s AND (owner IN ('', %s) OR until < {clock})",
            *(mine, self._lease_s + span_s, self._lease_s + span_s, mine, self._queue, mine),
        )
        return bool(taken)

    def keep(self) -> bool:
        """Renews the lease, several times in its length."""
        if not self._held or _CLOCK.monotonic() - self._taken_at < self._lease_s / _KEPT_OFTEN:
            return True
        return self.take(0.0)

    def release(self) -> None:
        """Gives the lease back."""
        if self._held:
            self._held = False
            with suppress(SyncError):  # it ends by itself
                self._database.execute(
                    "UPDATE bytelyst_sync_leases SET owner = '', until = 0"
                    " WHERE queue = %s AND owner = %s",
                    *(self._queue, self._owner),
                )
