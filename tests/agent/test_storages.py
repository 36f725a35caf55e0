"""Heartbeats and remote commands on every kind of store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bytelyst_sync import EncryptedStorage, LmdbStorage, MemoryStorage, SQLiteStorage, SyncEngine
from bytelyst_sync.fleet import check_heartbeat, device_id, sign_command
from bytelyst_sync.model import Json
from bytelyst_sync.storage import generate_key
from bytelyst_sync.testing import ManualClock
from tests.agent.conftest import MASTER, Server
from tests.conftest import PATIENCE_S
from tests.typed import Eventually

STORAGES: Json = {
    "sqlite": SQLiteStorage,
    "encrypted": lambda path: EncryptedStorage(path, key=generate_key()),
    "lmdb": lambda path: LmdbStorage(path.with_suffix(".mdb")),
    "memory": lambda path: MemoryStorage(),
}


@pytest.mark.parametrize("kind", STORAGES)
def test_a_device_with_this_store(
    kind: str,
    new_device: Callable[..., SyncEngine],
    wire: Server,
    clock: ManualClock,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    storage = STORAGES[kind](tmp_path / "app.db")
    engine = new_device(commands=True, storage=storage, account="sam")
    wire.answers["notes"] = (422, {})
    engine.push("notes", {"id": "1"})
    engine.flush(PATIENCE_S)
    wire.answers.clear()
    record = sign_command(MASTER, device_id(engine), "retry", now=clock.now)
    wire.put("commands", record)
    engine.pull()
    eventually(lambda: "acknowledged" in wire.store.records("commands")[record["id"]])
    assert list(engine.failed()) == []
    report = eventually(lambda: wire.store.records("fleet").get(device_id(engine)))
    check_heartbeat(report, principal="sam", master=MASTER)
    wire.put("commands", {**record, "again": True})
    engine.pull()
    assert engine.flush(PATIENCE_S).pushed == 1
