"""Weather: which request meets which fault. Drawn from a seed, in the order requests come.

Any thread may ask; the lock guards the draw.
"""

import threading

from tests.torture.faults import elsewhere, of_every_kind

__all__ = ["Only", "Storm"]

_LOOP = 7
"""More redirects than anybody follows."""


class Storm:
    """Every kind of fault, for a share ``rate`` of the requests; ``rate`` may change at any time.

    A share ``loops`` of the faults begins a redirect that leads to itself until the client gives
    up.
    """

    def __init__(self, rng, rate, *, stall_s, lates=True, loops=0.002):
        self._lock = threading.Lock()
        self._rng = rng
        self.rate = rate
        self._stall_s = stall_s
        self._lates = lates
        self._loops = loops
        self._looping = {}
        self.begun_loops = 0

    def stop(self):
        """Nothing happens any more."""
        with self._lock:
            self.rate = 0.0
            self._looping.clear()

    def draw(self, seen):
        """The fault of this request, or none."""
        with self._lock:
            place = (seen.method, seen.path, seen.headers.get("idempotency-key"))
            left = self._looping.get(place, 0)
            if left:
                self._looping[place] = left - 1
                return elsewhere("{path}", 307)
            if self._rng.random() >= self.rate:
                return None
            if seen.method != "GET" and self._rng.random() < self._loops:
                self._looping[place] = _LOOP - 1
                self.begun_loops += 1
                return elsewhere("{path}", 307)
            return of_every_kind(self._rng, self._stall_s, lates=self._lates)


class Only:
    """One kind of fault for every request while it is ``on``; ``make`` gives a fault."""

    def __init__(self, make):
        self._make = make
        self.on = True

    def stop(self):
        """Nothing happens any more."""
        self.on = False

    def draw(self, seen):
        """The fault, or none any more."""
        return self._make() if self.on else None
