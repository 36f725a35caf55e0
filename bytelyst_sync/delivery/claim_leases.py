"""The right to deliver of a store that many machines share: every process has it, and each claim is
a lease.

A lease lasts longer than a request may take. Nothing is sent with less of it left than that, so the
request has ended when another process takes the item over. A lease that has not ended can be
renewed, for a further request of the same attempt; one that has ended never is. The time alone
decides nothing: the claim's number does, which is compared when it is settled (see
``queue/claims.py``).

Each process looks for leases that have ended when the first of them does, and at least three times
in the length of a lease, because others claim meanwhile.

Who owns what: the worker's thread owns ``_look_at``; ``_local`` holds what a sender thread is
sending.
"""

from __future__ import annotations

import threading

from bytelyst_sync.clock import Clock
from bytelyst_sync.delivery.right import SendGroup
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.errors import ConfigError, SyncError
from bytelyst_sync.http.guarded import GuardedTransport
from bytelyst_sync.http.transport import Transport
from bytelyst_sync.protocol.responses import UNSENT
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.queue.outcome import ClaimGroup, Outcome
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.closable import ClosableSharedStorage

__all__ = ["ClaimLeases"]

logger = SafeLogger("bytelyst_sync.deliverer")

_LOOKS = 3


class _Sending(threading.local):
    """What this thread is sending, and until when, on the monotonic and on the wall clock."""

    group: ClaimGroup = ()
    until = 0.0
    lease = 0.0


class ClaimLeases:
    """One engine's leases. ``request_deadline_s`` is the longest that a request may take."""

    is_shared = True
    deliverer: str | None = None
    stale = False

    def __init__(
        self,
        storage: ClosableSharedStorage,
        claims: Claims,
        clock: Clock,
        throttle: Throttle,
        *,
        lease_s: float,
        request_deadline_s: float,
    ) -> None:
        if lease_s <= request_deadline_s:
            raise ConfigError(
                f"the store's lease is {lease_s:g} s; allowed: more than request_deadline"
                f" ({request_deadline_s:g} s), so that a request ends before its lease",
                field="lease_s",
                value=lease_s,
            )
        self._storage = storage
        self._claims = claims
        self._clock = clock
        self._throttle = throttle
        self._lease_s = lease_s
        self._request_deadline_s = request_deadline_s
        self._held = False
        self._look_at = clock.monotonic()
        self._local = _Sending()

    # --- the worker's thread

    @property
    def held(self) -> bool:
        """True from the first ``acquire`` on."""
        return self._held

    def acquire(self) -> bool:
        """Always succeeds."""
        self._held = True
        return True

    @property
    def recovery_due(self) -> bool:
        """Whether some lease may have ended."""
        return self._clock.monotonic() >= self._look_at

    def look_again_in(self, wait_s: float | None) -> None:
        """The first lease that is known ends in so many seconds."""
        longest_s = self._lease_s / _LOOKS
        self._look_at = self._clock.monotonic() + min(
            longest_s, longest_s if wait_s is None else wait_s
        )

    @property
    def recovery_wait_s(self) -> float:
        """Seconds until ``recovery_due``."""
        return max(0.0, self._look_at - self._clock.monotonic())

    def check(self, tx: Reader) -> bool:
        """Takes over pauses and outages that other processes have stored."""
        return not self._throttle.load(tx)

    def wake_others(self) -> None:
        """Wakes the workers of other processes, as a push does."""
        self._storage.notify()

    def lose(self) -> None:
        """Does nothing: a process can lose single claims, but not the right."""

    def release(self) -> None:
        """Nothing to release: claims are given back one by one."""

    def close(self) -> None:
        """Nothing to release."""

    # --- sender threads

    def send(self, group: ClaimGroup, send: SendGroup) -> Outcome:
        """Sends, if enough of the lease is left for a request, or it can be renewed."""
        local = self._local
        local.group = group
        local.until = min(claim.until or 0.0 for claim in group)
        local.lease = min(claim.item.lease or 0.0 for claim in group)
        try:
            if self._has_time():
                return send(group)
        finally:
            local.group = ()
        item = group[0].item
        logger.info(
            "%s/%s and %d other item(s) were not sent: the leases of their claims end too soon;"
            " they stay queued",
            item.entity,
            item.record,
            len(group) - 1,
        )
        return Outcome([(claim, UNSENT) for claim in group])

    def guarded(self, transport: Transport) -> Transport:
        """Checks the time before every request of an attempt."""
        refusal = "not sent: too little was left of the claim's lease"
        return GuardedTransport(transport, self._may_request, refusal)

    def _may_request(self) -> bool:
        """Whether this thread may send another request. One that sends no claims always may."""
        return not self._local.group or self._has_time()

    def _has_time(self) -> bool:
        return self._is_long_enough() or (self._renew() and self._is_long_enough())

    def _is_long_enough(self) -> bool:
        """By both clocks: the monotonic one stands still while a machine is suspended, the other
        one may be set.
        """
        left_s = self._local.until - self._clock.monotonic()
        wall_left_s = self._local.lease - self._clock.wall()
        return min(left_s, wall_left_s) >= self._request_deadline_s

    def _renew(self) -> bool:
        began, local = self._clock.monotonic(), self._local

        def renew(tx: Transaction) -> float | None:
            now = self._clock.wall()
            return now if self._claims.renew(tx, local.group, now) else None

        try:
            now = self._storage.write(renew)
        except SyncError:
            return False
        if now is None:
            return False
        local.until, local.lease = began + self._lease_s, now + self._lease_s
        return True
