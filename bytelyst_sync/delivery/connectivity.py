"""Whether the network is there: known from the answers to requests, and from a probe otherwise.

Owned by the worker's thread; other threads only read ``online``. Times are monotonic seconds. Only
an answer to a real request resets the backoff, a successful probe does not: some networks let the
probe through and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from bytelyst_sync.clock import Clock

__all__ = ["Connectivity", "Step"]

_FIRST_PROBE_S = 0.5
_MAX_JITTER_S = 0.5


class Step(Enum):
    """What to do next while offline."""

    WAIT = "stay offline"
    TRY = "send one real request"
    GO = "online again"


class Connectivity:
    """Keeps ``online``, and says when to probe next."""

    def __init__(
        self,
        probe: Callable[[], bool] | None,
        *,
        clock: Clock,
        random: Callable[[], float],
        probe_interval: float,
        max_retry_delay: float,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._random = random
        self._interval = probe_interval
        self._trial_interval = max_retry_delay
        self._failures = 0
        self._next_probe = clock.monotonic() + probe_interval
        self._next_trial = 0.0
        self.online = True
        self.resume_at = 0.0
        """When delivery may go on after a reconnect."""

    def lost(self) -> None:
        """A request found no network."""
        now = self._clock.monotonic()
        self._failures += 1
        self.online = False
        self._next_probe = now + self._offline_delay()
        self._next_trial = now + self._trial_interval

    def postpone(self) -> None:
        """No item could be sent as a trial: delays the next one."""
        now = self._clock.monotonic()
        self._next_trial = now + self._trial_interval
        if self._probe is None:
            self._next_probe = now + self._interval

    def reached(self) -> None:
        """A request was answered."""
        self.online = True
        self._failures = 0
        self.resume_at = 0.0
        self._next_probe = self._clock.monotonic() + self._interval

    def step(self, *, forced: bool) -> Step:
        """While offline: probes if it is time or ``forced``, and returns what to do next."""
        now = self._clock.monotonic()
        if self._probe is None:
            if forced or now >= min(self._next_probe, self._next_trial):
                return Step.TRY
            return Step.WAIT
        if forced or now >= self._next_probe:
            if self._probe():
                self.online = True
                jitter = 0.0 if forced else self._random() * _MAX_JITTER_S
                self.resume_at = self._clock.monotonic() + jitter
                return Step.GO
            self._failures += 1
            self._next_probe = self._clock.monotonic() + self._offline_delay()
        return Step.TRY if self._clock.monotonic() >= self._next_trial else Step.WAIT

    def idle_probe(self) -> bool:
        """Online and idle: probes if it is time; false if that found no network."""
        if self._probe is None or self._clock.monotonic() < self._next_probe:
            return True
        online = self._probe()
        self._next_probe = self._clock.monotonic() + self._interval
        return online

    def wait_s(self) -> float | None:
        """Seconds until the next probe or trial; ``None``: there is none to come."""
        now = self._clock.monotonic()
        if self.online:
            return None if self._probe is None else max(0.0, self._next_probe - now)
        return max(0.0, min(self._next_probe, self._next_trial) - now)

    def _offline_delay(self) -> float:
        span = min(self._interval, _FIRST_PROBE_S * 2.0 ** min(self._failures - 1, 30))
        return span * (0.5 + self._random() / 2)
