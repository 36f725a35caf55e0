"""The time that a request may take, as monotonic deadlines.

There are two bounds. A *transfer* (sending a body, receiving an answer) has its timeout and one
more second for every 8 KiB, so a large body has enough time, and one that arrives byte by byte
ends. The whole *request*, from the call of ``send``, ``auth`` included, to the last byte, has
``request_deadline`` seconds.

The request's bound is a context variable. The transport sets it, and the connection, which
``requests`` and urllib3 call on the same thread, checks it.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from types import TracebackType

from bytelyst_sync.clock import SystemClock

__all__ = ["SLOWEST_BYTES_PER_S", "RequestDeadline", "TransferDeadline", "request_left_s"]

SLOWEST_BYTES_PER_S = 8 * 1024
"""A transfer that is slower than this runs out of time."""

# a method of an object, because tools that freeze time in tests replace functions in globals: the
# deadlines must work in such tests too
_clock = SystemClock()
_request_ends = ContextVar("request_ends", default=math.inf)


class RequestDeadline:
    """Bounds the total time of the request that is sent within the block."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token = _request_ends.set(_clock.monotonic() + self._seconds)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _place: TracebackType | None
    ) -> None:
        _request_ends.reset(self._token)


def request_left_s() -> float:
    """The seconds that are left for the request, zero or less if there are none."""
    return _request_ends.get() - _clock.monotonic()


class TransferDeadline:
    """The time one transfer may take: ``timeout_s`` seconds and one more for every 8 KiB.

    It starts when the object is made, and never lasts longer than the request. Used by one thread.
    """

    def __init__(self, timeout_s: float) -> None:
        self._ends = _clock.monotonic() + timeout_s
        self._request_ends = _request_ends.get()

    def extend(self, count: int) -> None:
        """Grants the time for ``count`` more bytes."""
        self._ends += count / SLOWEST_BYTES_PER_S

    def left_s(self) -> float:
        """The seconds that are left, zero or less if there are none."""
        return min(self._ends, self._request_ends) - _clock.monotonic()
