"""``capture_events``: records the events that an engine reports to its subscribers.

The engine's notifier calls in from its thread, one event after the other; the condition guards the
list of them and is notified with each. Predicates run outside of it, in the thread that waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bytelyst_sync.clock import SystemClock, clamp_timeout
from bytelyst_sync.model import RecordChange, SyncItem, SyncStatus, SyncStatusInfo

if TYPE_CHECKING:
    from bytelyst_sync.engine import SyncEngine

__all__ = ["Event", "Events", "capture_events"]

Event = SyncStatusInfo | RecordChange | SyncItem
"""A change of the status, a change of a record, or an item that was moved to failed."""

_CLOCK = SystemClock()


class Events:
    """The events so far, in order. Any thread may read them."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Events {self.all!r}>"

    @property
    def all(self) -> list[Event]:
        """Everything, oldest first: a snapshot."""
        with self._came:
            return list(self._events)

    @property
    def statuses(self) -> list[SyncStatus]:
        """The status after each change of it, oldest first."""
        return [event.status for event in self.all if isinstance(event, SyncStatusInfo)]

    @property
    def changes(self) -> list[RecordChange]:
        """The changes of records in the local view, oldest first."""
        return [event for event in self.all if isinstance(event, RecordChange)]

    @property
    def failures(self) -> list[SyncItem]:
        """The items that were moved to failed, oldest first."""
        return [event for event in self.all if isinstance(event, SyncItem)]

    def clear(self) -> None:
        """Forget the events so far."""
        with self._came:
            self._events.clear()

    def wait_for(self, predicate: Callable[[Event], object], timeout: float = 5.0) -> Event:
        """The first event, past or future, for which ``predicate`` holds. Waits at most ``timeout``
        seconds of real time; then it raises ``TimeoutError`` with the events.
        """
        deadline = _CLOCK.monotonic() + clamp_timeout(timeout)
        examined: list[Event] = []
        while True:
            events = self.all
            if events[: len(examined)] != examined:
                examined = []  # they were cleared meanwhile
            for event in events[len(examined) :]:
                if predicate(event):
                    return event
            examined = events
            with self._came:
                left_s = deadline - _CLOCK.monotonic()
                if self._events == examined and (left_s <= 0 or not self._came.wait(left_s)):
                    break
        listed = "".join(f"\n  {event!r}" for event in examined) or " nothing"
        raise TimeoutError(f"no event that fits came within {timeout:g} s; told was:{listed}")

    def _add(self, event: Event) -> None:
        with self._came:
            self._events.append(event)
            self._came.notify_all()


@contextmanager
def capture_events(engine: SyncEngine) -> Iterator[Events]:
    """Record changes of the status, changes of records and failures inside of the block.

    ``flush()``, ``pull()`` and ``close()`` wait for callbacks, so their events are recorded when
    they return. Wait for other events with ``Events.wait_for``. The events can still be read after
    the block. Raises ``EngineClosedError`` for a closed engine.
    """
    events = Events()
    with ExitStack() as stack:
        for subscribe in (engine.on_status_change, engine.on_change, engine.on_failure):
            stack.callback(subscribe(events._add))  # noqa: SLF001 - of this module
        yield events
