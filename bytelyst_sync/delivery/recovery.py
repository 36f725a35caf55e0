"""Takes over what processes that died were sending. Owned by the worker's thread."""

from __future__ import annotations

from collections.abc import Callable

from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.delivery.right import DeliveryRight
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader

__all__ = ["Recovery"]

logger = SafeLogger("bytelyst_sync.deliverer")


class Recovery:
    """Finds and recovers the items that are not being sent any more.

    ``pending_decisions`` are the conflicts that callbacks of this engine decide.
    """

    def __init__(
        self,
        context: DeliveryContext,
        state: StateStore,
        right: DeliveryRight,
        pending_decisions: Callable[[], frozenset[int]],
    ) -> None:
        self._state = state
        self._queue = context.queue
        self._claims = context.claims
        self._clock = context.clock
        self._throttle = context.conditions.throttle
        self._right = right
        self._pending_decisions = pending_decisions

    def is_needed(self, tx: Reader) -> bool:
        """Whether there is something to recover, if it is time to look."""
        if not self._right.recovery_due:
            return False
        now = self._clock.wall()
        wait_s = self._claims.orphaned_in(tx, now, self._pending_decisions())
        self._right.look_again_in(wait_s)
        return wait_s == 0.0

    def run_if_due(self) -> None:
        """Recovers claims whose leases have ended by now."""
        if self._right.recovery_due and self._queue.read(self.is_needed):
            self.run()

    def run(self) -> None:
        """Recovers what is there to recover, and takes over pauses and outages that other processes
        have stored. Raises ``ReplacedError``.
        """
        pending = self._pending_decisions()

        def recover(work: UnitOfWork) -> int:
            self._right.check(work.tx)
            self._throttle.load(work.tx)
            return self._claims.recover(work, pending)

        recovered = self._state.write(recover)
        if recovered:
            logger.info(
                "%d queued item(s) were being sent when their sender ended; they are sent again",
                recovered,
            )
