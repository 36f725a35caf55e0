"""The start of a worker, which waits until the databases of its queues are there.

Who owns what: the thread of ``WorkerStart`` starts the engines, so that a connection which takes
long keeps no signal waiting. ``_lock`` guards ``_engines`` and ``_ended``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from django.db import Error, connections

from bytelyst_sync.contrib.django.engines import QueueSettings, new_engine
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import StorageError

__all__ = ["WorkerStart"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


class WorkerStart:
    """Starts an engine for each queue, on a thread of its own.

    ``started`` and ``waits`` are called in that thread: with the queue whose engine runs, or with
    the queue, the reason and the seconds until the next try. ``wait=False``: a database that cannot
    be reached is an error. ``finished`` is called when all run, or one cannot be started.
    """

    def __init__(
        self,
        queues: Sequence[QueueSettings],
        *,
        wait: bool,
        started: Callable[[QueueSettings], None],
        waits: Callable[[QueueSettings, str, float], None],
        finished: Callable[[], None],
    ) -> None:
        self._queues = queues
        self._wait = wait
        self._started = started
        self._waits = waits
        self._finished = finished
        self._lock = threading.Lock()
        self._engines: list[SyncEngine] = []
        self._ended = threading.Event()
        self.error: Exception | None = None
        """Why an engine could not be started."""
        self._thread = threading.Thread(target=self._run, name="bytelyst-sync-start", daemon=True)
        self._thread.start()

    def end(self) -> list[SyncEngine]:
        """Starts no more engines; returns those that run, without waiting."""
        with self._lock:
            self._ended.set()
            return list(self._engines)

    def _run(self) -> None:
        try:
            for queue in self._queues:
                self._start(queue)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self.error = error
        finally:
            connections.close_all()  # the engines have their own
            self._finished()

    def _start(self, queue: QueueSettings) -> None:
        pause_s, answered = _FIRST_PAUSE_S, False
        while not self._ended.is_set():
            engine = new_engine(queue)
            try:
                engine.start()
            except StorageError:
                engine.close(0.0)
                if not self._wait:
                    raise
                reason = _unreachable(queue.using)
                if reason is None:
                    if answered:
                        raise
                    answered = True  # it may have come back since this try
                    continue
                answered = False
                self._waits(queue, reason, pause_s)
                self._ended.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
                continue
            with self._lock:
                if not self._ended.is_set():
                    self._engines.append(engine)
                    self._started(queue)
                    return
            engine.close(0.0)


def _unreachable(alias: str) -> str | None:
    """Why no statement can be run in the database; ``None`` if one can."""
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return " ".join(str(error).split())
    finally:
        connection.close()
    return None
