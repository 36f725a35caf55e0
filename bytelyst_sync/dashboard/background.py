"""The thread of the pages: it takes samples and carries out discards that were held.

It starts with the first request, so that a server that forks has one in each child, and ends with
the engine.
"""

from __future__ import annotations

from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import Clock
from bytelyst_sync.dashboard.history import SAMPLE_EVERY_S, History
from bytelyst_sync.dashboard.holds import Holds
from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Background"]

logger = SafeLogger("bytelyst_sync.dashboard")


class Background(BackgroundThread):
    """One thread for one engine."""

    def __init__(self, clock: Clock, history: History, holds: Holds | None) -> None:
        """Without ``holds`` it discards nothing (read-only)."""
        super().__init__("bytelyst-sync-ops")
        self._clock = clock
        self._history = history
        self._holds = holds

    def _run(self) -> None:
        next_sample = self._clock.monotonic()
        while not self.closing:
            self._clear()
            held_s: float | None = None
            try:
                if self._clock.monotonic() >= next_sample:
                    next_sample = self._clock.monotonic() + SAMPLE_EVERY_S
                    self._history.sample()
                held_s = None if self._holds is None else self._holds.finish_due()
            except EngineClosedError:
                self.closing = True  # no request starts it again
                return
            except Exception as error:  # noqa: BLE001 - the next round goes on, whatever happened
                logger.failure(error, "the operations pages could not read the store")
            wait_s = max(0.0, next_sample - self._clock.monotonic())
            self._wait(wait_s if held_s is None else min(wait_s, max(0.05, held_s)))
