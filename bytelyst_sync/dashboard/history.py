"""Samples of the queue and of the engine's work, for the charts.

Who owns what: the background thread adds samples; any thread reads a copy of the list.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from itertools import islice

import attrs

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.engine_core import EngineCore

__all__ = ["SAMPLE_EVERY_S", "History", "Rate", "Sample"]

SAMPLE_EVERY_S = 5.0
_KEPT = 720
"""An hour of samples."""
_A_MINUTE = 12
_FEW = 4 * _A_MINUTE


@attrs.frozen
class Sample:
    """Numbers at one instant; the totals count from the engine's start."""

    time: datetime
    queued: int
    failed: int
    delivered: int
    retried: int


@attrs.frozen
class Rate:
    """The numbers between two samples, per minute."""

    time: datetime
    delivered: float
    retried: float


class History:
    """The samples of the last hour, while this process served the pages."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._samples: deque[Sample] = deque(maxlen=_KEPT)
        self.version = 0
        """Counts the samples."""

    def sample(self) -> None:
        """Takes a sample."""
        counts = self._core.running().counts()
        stats = self._core.recorder.stats(counts.queued, counts.failed, counts.conflicts)
        now = as_datetime(self._core.clock.wall())
        self._samples.append(
            Sample(now, counts.queued, counts.failed, stats.delivered, stats.retried)
        )
        self.version += 1

    @property
    def samples(self) -> list[Sample]:
        """The samples, oldest first."""
        return list(self._samples)

    def rates(self) -> list[Rate]:
        """The rates from sample to sample; from minute to minute if there are many samples."""
        found = self.samples
        found = found if len(found) <= _FEW else found[::-_A_MINUTE][::-1]
        rates = []
        for before, after in zip(found, islice(found, 1, None), strict=False):
            seconds = (after.time - before.time).total_seconds()
            if seconds > 0:
                delivered = max(0, after.delivered - before.delivered)
                retried = max(0, after.retried - before.retried)
                rates.append(Rate(after.time, delivered * 60 / seconds, retried * 60 / seconds))
        return rates
