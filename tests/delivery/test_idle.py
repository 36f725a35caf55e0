"""An engine with nothing to do: it costs next to nothing, and still sees what comes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.testing import Reply, SyncServer


class Counting(MemoryStorage):
    """A store that counts what it is asked."""

    reads = looks = 0

    def read(self, work: Callable[..., object]) -> Any:
        self.reads += 1
        return super().read(work)

    def changes(self) -> Any:
        self.looks += 1
        return super().changes()


@pytest.fixture
def storage() -> Counting:
    return Counting()


def asked_within(storage: Counting, seconds: float) -> tuple[int, int]:
    reads, looks = storage.reads, storage.looks
    time.sleep(seconds)
    return storage.reads - reads, storage.looks - looks


@pytest.mark.parametrize("probe", [None, lambda: True])
def test_an_idle_engine_only_looks_whether_another_process_was_there(
    make: Callable[..., SyncEngine], storage: Counting, probe: Callable[..., object] | None
) -> None:
    engine = make(probe=probe, workers=4)
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=10).success
    time.sleep(1.0)  # the flush's own commits are looked at once more
    reads, looks = asked_within(storage, 1.5)
    assert reads == 0
    assert 1 <= looks <= 5


def test_what_another_engine_pushes_is_seen_within_a_second(
    make: Callable[..., SyncEngine], server: SyncServer, tmp_path: Path
) -> None:
    path = tmp_path / "shared.db"
    idle, other = make(storage=path), make(storage=path, auto_flush=False)
    idle.push("notes", {"id": "1"})
    assert idle.flush(timeout=10).success
    time.sleep(1.0)
    began = time.monotonic()
    other.push("notes", {"id": "2"})
    assert server.wait_for(lambda: "2" in server.records("notes"))
    assert time.monotonic() - began < 1.0


def test_an_item_that_is_delayed_is_no_rest(
    make: Callable[..., SyncEngine], server: SyncServer, storage: Counting
) -> None:
    """A clock that jumps makes it due at another time: that is looked for."""
    engine = make(retry_delay=30.0, max_retry_delay=30.0)
    server.always(Reply(500))
    engine.push("notes", {"id": "1"})
    # the worker may have tried it before the flush came: then that tries it once more
    assert engine.flush(timeout=10).remaining == 1
    time.sleep(0.5)
    reads, _ = asked_within(storage, 1.2)
    assert reads > 0
