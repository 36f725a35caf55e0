"""An engine that a program drops without close() warns, flushes once and stops."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import RecordChange, SyncConfig, SyncEngine, SyncStatusInfo
from bytelyst_sync.testing import SyncServer

OPEN_FILES = Path("/proc/self/fd")
TIMEOUT_S = 10.0


def make(server: SyncServer, path: Path, **settings: Any) -> SyncEngine:
    config = SyncConfig(
        base_url=server.url, entities={"notes": "/notes"}, storage=path, probe=None, **settings
    )
    return SyncEngine(config)


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("bytelyst-sync")}


def descriptors(path: Path) -> list[str]:
    """The open files at this path and beside it (log, locks)."""
    opened = map(os.path.realpath, OPEN_FILES.iterdir())
    return [each for each in opened if each.startswith(os.path.realpath(path))]


def assert_ends(condition: Callable[..., bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="lists descriptors by /proc")
def test_it_warns_delivers_and_ends_its_threads_and_descriptors(
    server: SyncServer, path: Path
) -> None:
    before = threads()
    engines = [make(server, path)]
    engines[0].push("notes", {"id": "a"})
    assert descriptors(path)
    with pytest.warns(ResourceWarning, match="dropped without close"):
        engines.clear()
    assert_ends(lambda: threads() <= before)
    assert_ends(lambda: descriptors(path) == [])
    assert [effect.id for effect in server.journal] == ["a"]


@pytest.mark.parametrize("subscribe", ["on_change", "on_status_change", "on_failure"])
def test_a_callback_that_refers_to_the_engine_does_not_keep_it(
    server: SyncServer, path: Path, subscribe: str
) -> None:
    before = threads()
    engines = [make(server, path, exit_timeout=0)]

    def callback(_event: RecordChange | SyncStatusInfo, engine: SyncEngine = engines[0]) -> int:
        return engine.queue_length

    unsubscribe = getattr(engines[0], subscribe)(callback)
    engines[0].push("notes", {"id": "a"})
    assert engines[0].flush(timeout=TIMEOUT_S).success
    del callback, unsubscribe
    kept = weakref.ref(engines[0])

    def drop() -> None:
        engines.clear()
        assert_ends(lambda: gc.collect() >= 0 and kept() is None)

    with pytest.warns(ResourceWarning, match="dropped without close"):
        drop()
    assert_ends(lambda: threads() <= before)


def test_without_a_flush_at_exit_it_only_stops(server: SyncServer, path: Path) -> None:
    before = threads()
    engines = [make(server, path, exit_timeout=0, auto_flush=False)]
    engines[0].push("notes", {"id": "a"})
    with pytest.warns(ResourceWarning, match="dropped without close"):
        engines.clear()
    assert_ends(lambda: threads() <= before)
    assert list(server.journal) == []


@pytest.mark.parametrize("use", [lambda engine: None, SyncEngine.close], ids=["unused", "closed"])
def test_one_without_open_files_is_dropped_silently(
    server: SyncServer, path: Path, use: Callable[..., object]
) -> None:
    engine = make(server, path)
    use(engine)
    del engine
    gc.collect()
