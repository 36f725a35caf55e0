"""A schedule of faults: which request meets which fault.

Drawn from a seed, in the order of the requests.

Any thread may ask; the lock guards the draw.
"""

import random
import threading
from collections.abc import Callable

from bytelyst_sync.testing.raw import RecordedRequest
from tests.torture.faults import Fault, elsewhere, of_every_kind

__all__ = ["Only", "Storm"]

_LOOP = 7
"""More redirects than anybody follows."""


class Storm:
    """Every kind of fault, for a share ``rate`` of the requests; ``rate`` may change at any time.

    A share ``loops`` of the faults begins a redirect that leads to itself until the client gives
    up.
    """

    def __init__(
        self,
        rng: random.Random,
        rate: float,
        *,
        stall_s: float,
        lates: bool = True,
        loops: float = 0.002,
    ) -> None:
        self._lock = threading.Lock()
        self._rng = rng
        self.rate = rate
        self._stall_s = stall_s
        self._lates = lates
        self._loops = loops
        self._looping: dict[tuple[str, str, str | None], int] = {}
        self.begun_loops = 0

    def stop(self) -> None:
        """Nothing happens any more."""
        with self._lock:
            self.rate = 0.0
            self._looping.clear()

    def draw(self, seen: RecordedRequest) -> Fault | None:
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

    def __init__(self, make: Callable[[], Fault]) -> None:
        self._make = make
        self.on = True

    def stop(self) -> None:
        """Nothing happens any more."""
        self.on = False

    def draw(self, seen: RecordedRequest) -> Fault | None:
        """The fault, or none any more."""
        return self._make() if self.on else None
