"""Online or offline: learnt from traffic, and from a probe while there is no traffic (SPEC §7).

Owned by the worker's thread; other threads only read ``online``. Times are monotonic seconds.
A probe that says "online" does not forget how often going online failed, only traffic does: so a
network that lets the probe through and nothing else is not hammered.
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
    """Keeps ``online`` and says when to look again."""

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
        """Traffic found no network."""
        now = self._clock.monotonic()
        self._failures += 1
        self.online = False
        self._next_probe = now + self._offline_delay()
        self._next_trial = now + self._trial_interval

    def postpone(self) -> None:
        """There was nothing to try with."""
        now = self._clock.monotonic()
        self._next_trial = now + self._trial_interval
        if self._probe is None:
            self._next_probe = now + self._interval

    def reached(self) -> None:
        """Traffic got an answer."""
        self.online = True
        self._failures = 0
        self.resume_at = 0.0
        self._next_probe = self._clock.monotonic() + self._interval

    def step(self, *, now_please: bool) -> Step:
        """While offline: probes if it is time (or somebody asks for it), and says what follows."""
        now = self._clock.monotonic()
        if self._probe is None:
            if now_please or now >= min(self._next_probe, self._next_trial):
                return Step.TRY
            return Step.WAIT
        if now_please or now >= self._next_probe:
            if self._probe():
                self.online = True
                jitter = 0.0 if now_please else self._random() * _MAX_JITTER_S
                self.resume_at = self._clock.monotonic() + jitter
                return Step.GO
            self._failures += 1
            self._next_probe = self._clock.monotonic() + self._offline_delay()
        return Step.TRY if self._clock.monotonic() >= self._next_trial else Step.WAIT

    def idle_probe(self) -> bool:
        """Online and idle: probes if it is time; false if that found no network."""
        if self._probe is None or self._clock.monotonic() < self._next_probe:
            return True
        found = self._probe()
        self._next_probe = self._clock.monotonic() + self._interval
        return found

    def wait_s(self) -> float | None:
        """Seconds until there is something to do here; ``None``: never by itself."""
        now = self._clock.monotonic()
        if self.online:
            return None if self._probe is None else max(0.0, self._next_probe - now)
        return max(0.0, min(self._next_probe, self._next_trial) - now)

    def _offline_delay(self) -> float:
        span = min(self._interval, _FIRST_PROBE_S * 2.0 ** min(self._failures - 1, 30))
        return span * (0.5 + self._random() / 2)
