"""What was promised to whom: the pushes that returned, against what the server applied.

Every push brings a field named after its own number, so that it is found at the server whatever
it was merged with. Numbers count up within a record.
"""

import fcntl
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.testing import Effect
from tests.torture.harness import check

__all__ = ["applied_once", "examined", "fields_of"]


def fields_of(data: dict[str, object] | None) -> list[int]:
    """The numbers of the pushes that went into it."""
    names = [name for name in data or {} if name[0] == "f" and name[1:].isdigit()]
    return [int(name[1:]) for name in names]


def applied_once(journal: Iterable[Effect], acknowledged: Iterable[int]) -> int:
    """Checks that every acknowledged push was applied, none twice, and each record's in order.

    Returns how many were applied: also pushes that were killed before they returned.
    """
    arrived: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for effect in journal:
        if effect.by == "http":
            # those of one edit came together: their order is that of the pushes
            arrived[effect.collection, effect.id] += fields_of(effect.data)
    fields = [field for each in arrived.values() for field in each]
    lost = set(acknowledged) - set(fields)
    check(not lost, f"no acknowledged push is lost: {len(lost)} are, such as {sorted(lost)[:5]}")
    check(len(fields) == len(set(fields)), "no push is applied twice")
    for record, each in arrived.items():
        check(each == sorted(each), f"the pushes of a record arrive in order: {record} has {each}")
    return len(fields)


def examined(path: Path, scratch: Path) -> dict[str, int]:
    """Checks the database as it lies there, on a copy: looking at it would mend it.

    Counts what is being sent, and the bytes of its log. Others may be at work on it: its lock is
    held for the copy.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    copy = scratch / path.name
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            return {"wal": 0, "sending": 0}
        for suffix in ("", "-wal"):
            if (beside := path.with_name(path.name + suffix)).exists():
                shutil.copy(beside, copy.with_name(copy.name + suffix))
    finally:
        os.close(lock)
    log = copy.with_name(copy.name + "-wal")
    found = {"wal": log.stat().st_size if log.exists() else 0, "sending": 0}
    connection = sqlite3.connect(copy)
    try:
        message = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    finally:
        connection.close()
    check(message == ["ok"], f"the database is sound after a kill: {message[:5]}")
    if tables:
        storage = SQLiteStorage(copy)
        found["sending"] = storage.read(lambda tx: tx.count(ITEMS, Lane.SENDING))
        check(storage.notice is None, f"nothing had to be repaired: {storage.notice}")
        storage.close()
    return found
