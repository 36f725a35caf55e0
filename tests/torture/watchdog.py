"""A watchdog over engines: nothing that could be sent may be left with no attempt to come.

Something queued and sendable, online, not paused, ``auto_flush`` on, means that a
next attempt is scheduled. Seen from outside: on a network that can be reached, an engine with
something to send either has a request under way, or made one a moment ago, or says when it will
(``next_attempt`` of an item, ``next_retry`` of the status) and that is no later than its longest
backoff. An engine that believes to be offline looks for the network just so. Else it is stranded.

Who owns what: one thread looks at all engines, again and again; the lock guards the table of them
and what was found.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from bytelyst_sync import EngineClosedError, SyncEngine
from tests.torture.harness import check

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Pulse", "Watchdog"]

LOOK_EVERY_S = 0.1
LOOK_AT_ITEMS = 300


@attrs.frozen
class Pulse:
    """What is seen of an engine on the wire: a monotonic time, and requests under way."""

    last: float
    in_flight: int


@attrs.define
class Watched:
    """One engine. ``longest_s`` is the longest wait that it, or a server, may choose."""

    name: str
    engine: SyncEngine
    pulse: Callable[[], Pulse]
    reachable: Callable[[], bool]
    longest_s: float
    quiet_since: float
    longest_quiet_s: float = 0.0


class Watchdog:
    """Looks after engines until it is closed; a context manager, whose end fails the trial.

    ``grace_s`` is what an attempt may be late on a machine that has other things to do.
    """

    def __init__(self, grace_s: float = 3.0) -> None:
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._watched: dict[str, Watched] = {}
        self._found: list[str] = []
        self._ended = threading.Event()
        self.looks = 0
        self.looks_at_queued = 0
        self.worst_quiet_s = 0.0
        self._thread = threading.Thread(target=self._run, name="torture-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        if kind is None:
            self.check()

    def watch(
        self,
        name: str,
        engine: SyncEngine,
        pulse: Callable[[], Pulse],
        *,
        reachable: Callable[[], bool],
        longest_s: float,
    ) -> None:
        """Begins to look after an engine. ``reachable()`` says whether the network is up."""
        with self._lock:
            now = time.monotonic()
            self._watched[name] = Watched(name, engine, pulse, reachable, longest_s, now)

    def forget(self, name: str) -> None:
        """Looks after it no more."""
        with self._lock:
            self._watched.pop(name, None)

    def check(self) -> None:
        """``BrokenPromise`` if an engine was found stranded."""
        with self._lock:
            found = list(self._found)
        check(not found, "; ".join(found[:3]))

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            with self._lock:
                watched = list(self._watched.values())
            for each in watched:
                reason = None
                with suppress(EngineClosedError):
                    reason = self._look(each)
                self.looks += 1
                if reason is not None:
                    with self._lock:
                        self._found.append(f"{each.name} is stranded: {reason}")
                        self._watched.pop(each.name, None)

    def _look(self, each: Watched) -> str | None:
        """Why it is stranded; ``None``: it is not."""
        now = time.monotonic()
        pulse = each.pulse()
        status = each.engine.status
        if not status.queue_length or status.paused or not each.reachable():
            each.quiet_since = now
            return None
        self.looks_at_queued += 1
        due, waits = self._to_send(each.engine)
        if not due and not waits:
            each.quiet_since = now
            return None
        if status.online:
            beyond = [wait for wait in waits if wait > each.longest_s + self._grace_s]
            if beyond and not due:
                return (
                    f"its next attempt is {beyond[0]:.1f} s off, and {each.longest_s:.1f} s is most"
                )
        ahead = _seconds_until(status.next_retry)
        scheduled = status.online and 0 < ahead <= each.longest_s + self._grace_s
        # what is due already does not wait for the schedule of others
        paused_by_server = scheduled and all(abs(ahead - wait) > 0.05 for wait in waits)
        if pulse.in_flight or (scheduled and (not due or paused_by_server)):
            each.quiet_since = now
            return None
        each.quiet_since = max(each.quiet_since, pulse.last)
        quiet = now - each.quiet_since
        self.worst_quiet_s = max(self.worst_quiet_s, quiet)
        patience = self._grace_s + (0.0 if status.online else each.longest_s)
        if quiet <= patience:
            return None
        return (
            f"{status.queue_length} queued, {due} due, {len(waits)} waiting, {status!r}, "
            f"and nothing on the wire for {quiet:.1f} s"
        )

    def _to_send(self, engine: SyncEngine) -> tuple[int, list[float]]:
        """How many items could be sent now, and the waits of those that have one."""
        now = datetime.now(timezone.utc)
        blocked = {(item.entity, item.record_id) for item in engine.failed()}
        blocked |= {(each.entity, each.record_id) for each in engine.conflicts()}
        due, waits = 0, []
        seen = set()
        for item in islice(engine.queue(), LOOK_AT_ITEMS):
            record = (item.entity, item.record_id)
            if record in blocked or record in seen:
                continue
            seen.add(record)
            wait = 0.0 if item.next_attempt is None else (item.next_attempt - now).total_seconds()
            if wait > 0:
                waits.append(wait)
            else:
                due += 1
        return due, waits


def _seconds_until(moment: datetime | None) -> float:
    return -1.0 if moment is None else (moment - datetime.now(timezone.utc)).total_seconds()
