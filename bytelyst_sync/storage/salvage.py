"""Sets a damaged file aside under a new name and carries over what can be read of it.

All of it happens under the write guard, so that one process does it while no other writes or
opens; the others notice that the path names another file, and run what they just did again on it.

The steps are such that a kill between any two loses nothing: an empty ``….salvage`` file announces
the intent; the database is renamed (from then on nothing is acknowledged against it), then its WAL;
the announced file is filled and renamed into place. Whoever finds the path missing and such a file
beside it takes up where the other stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bytelyst_sync.errors import StorageCorruptError
from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.files import beside
from bytelyst_sync.storage.migrations import bring_up_to_date
from bytelyst_sync.storage.salvage_rows import Excavation, sound_text
from bytelyst_sync.storage.schema import (
    CONFLICTS,
    CURSOR_PREFIX,
    ITEMS,
    META,
    RECORDS,
    TABLES,
    Item,
    Lane,
    Meta,
)
from bytelyst_sync.storage.sqlite_errors import is_damage, told
from bytelyst_sync.storage.sqlite_file import (
    PAGE_BYTES,
    Database,
    Settings,
    connect,
)
from bytelyst_sync.storage.sqlite_sql import SEQUENCE, statements
from bytelyst_sync.storage.sqlite_view import counter_name
from bytelyst_sync.storage.wal import MARK

__all__ = ["GAP", "has_damage", "interrupted", "recent_notice", "resume", "set_aside"]

GAP = 1_000_000
"""How far beyond every known number the sequence goes on, so that none is given twice."""

_NOTICE_S = 86_400.0
_BATCH = 1000


_CURSORS = (len(CURSOR_PREFIX), CURSOR_PREFIX)


def has_damage(settings: Settings) -> bool:
    """Whether a fresh connection finds the file damaged too."""
    try:
        with closing(connect(settings.path, "ro", settings.busy_timeout_s)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            return True
        raise
    return bool(found[0] != "ok")


def set_aside(settings: Settings) -> str:
    """Puts a fresh file in the place of the damaged one; returns what there is to say about it.

    ``StorageCorruptError`` if the file cannot be renamed.
    """
    path = settings.path
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    aside = beside(path, f".damaged-{stamp}")
    number = 1
    while aside.exists() or beside(aside, ".salvage").exists():
        number += 1
        aside = beside(path, f".damaged-{stamp}-{number}")
    announced = beside(aside, ".salvage")
    try:
        announced.touch(0o600, exist_ok=False)
        path.rename(aside)
    except OSError as error:
        announced.unlink(missing_ok=True)
        raise StorageCorruptError(
            f"{path} is damaged and cannot be set aside ({error.strerror or error}): close the"
            " programs that use it, check who owns its directory, or move it away by hand"
        ) from error
    return _replace(settings, aside, announced)


def interrupted(path: Path) -> Path | None:
    """The announcement of a salvage that did not come to its end, if the path is missing."""
    if path.exists():
        return None
    announced = sorted(path.parent.glob(f"{escape(path.name)}.damaged-*.salvage"))
    return announced[-1] if announced else None


def resume(settings: Settings, announced: Path) -> str | None:
    """Carries on from the renamed database; returns what there is to say about it."""
    aside = announced.with_name(announced.name.removesuffix(".salvage"))
    if not aside.exists():
        announced.unlink(missing_ok=True)
        return None
    return _replace(settings, aside, announced)


def _replace(settings: Settings, aside: Path, announced: Path) -> str:
    path = settings.path
    for suffix in ("-wal", "-shm"):
        left = beside(path, suffix)
        if left.exists():
            left.rename(beside(aside, suffix))
    announced.unlink(missing_ok=True)
    announced.touch(0o600, exist_ok=False)
    try:
        text = _fill(announced, aside)
    except sqlite3.Error as error:
        raise told(error, announced, settings.busy_timeout_s) from error
    _sync(announced)
    announced.rename(path)
    if os.name == "posix":
        _sync(path.parent)
    return text


def recent_notice(database: Database) -> str | None:
    """What a salvage of the last day, by whichever process, has to say."""
    connection = database.borrow()
    try:
        row = connection.execute(statements(META).get, (MARK,)).fetchone()
    finally:
        database.give_back(connection)
    if row is None:
        return None
    try:
        mark = json.loads(row[1])
        return str(mark["text"]) if abs(time.time() - mark["at"]) < _NOTICE_S else None
    except (ValueError, TypeError, KeyError):
        return None


def _fill(fresh: Path, aside: Path) -> str:
    """Makes the new database: the readable rows, counted anew, and a mark of what happened."""
    with closing(connect(fresh, "rw", 0.0)) as target:
        target.execute(f"PRAGMA page_size={PAGE_BYTES}")
        target.execute("PRAGMA journal_mode=MEMORY").fetchone()
        target.execute("PRAGMA synchronous=OFF")
        bring_up_to_date(target)
        template = fresh.read_bytes()[:PAGE_BYTES]
        target.execute("BEGIN IMMEDIATE")
        carried: dict[str, int] = {}
        incomplete: list[str] = []
        number = 0
        with _readable(aside, template) as source:
            for table in TABLES:
                excavation = Excavation(source, table)
                carried[table.name] = _carry(target, table, excavation.rows())
                if not excavation.complete:
                    incomplete.append(table.name)
            number = _last_number(source, target)
        _mend_items(target)
        _recount(target, number + GAP)
        if RECORDS.name in incomplete:
            # records are missing that the cursors are already past: all is pulled anew
            target.execute("DELETE FROM meta WHERE substr(name, 1, ?) = ?", _CURSORS)
        text = _said(aside, carried, incomplete)
        mark = {"text": text, "at": time.time(), "aside": aside.name, "incomplete": incomplete}
        target.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", Meta(MARK, json.dumps(mark)))
        target.execute("COMMIT")
    return text


def _said(aside: Path, carried: dict[str, int], incomplete: list[str]) -> str:
    rows = ", ".join(f"{number} {name}" for name, number in carried.items() if number)
    text = f"a damaged database was set aside as {aside}; carried over: {rows or 'nothing'}"
    if incomplete:
        text += f"; some could not be read of: {', '.join(incomplete)}"
    return text


@contextmanager
def _readable(aside: Path, template: bytes) -> Iterator[sqlite3.Connection]:
    """The damaged file opened for reading, if need be as a copy with a first page that is sound."""
    copy = beside(aside, ".repair")
    try:
        connection = _opened(aside)
        if connection is None and aside.stat().st_size > PAGE_BYTES:
            _copy_with_first_page(aside, copy, template)
            connection = _opened(copy)
        with closing(connection or sqlite3.connect(":memory:")) as source:
            source.text_factory = sound_text
            yield source
    finally:
        for suffix in ("", "-wal", "-shm"):
            beside(copy, suffix).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection | None:
    """A connection to a file whose list of tables can be read, or ``None``."""
    connection = connect(path, "ro", 0.0)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master").fetchall()
        if ITEMS.name in {row[0] for row in rows}:
            return connection
    except sqlite3.Error:
        pass
    connection.close()
    return None


def _copy_with_first_page(aside: Path, copy: Path, template: bytes) -> None:
    """Copies the file under the first page of a new one: tables are always made in one order.

    So the first page, which says where each begins, is the same in every file of this version.
    """
    copy.touch(0o600)
    shutil.copyfile(aside, copy)
    wal = beside(aside, "-wal")
    if wal.exists():
        beside(copy, "-wal").touch(0o600)
        shutil.copyfile(wal, beside(copy, "-wal"))
    page = bytearray(template)
    page[18:20] = b"\x02\x02"  # written in WAL mode
    page[28:32] = (aside.stat().st_size // PAGE_BYTES).to_bytes(4, "big")
    page[32:40] = bytes(8)  # no free pages: it is only read
    page[92:96] = page[24:28]  # the size above counts
    with copy.open("r+b") as file:
        file.write(page)


def _carry(target: sqlite3.Connection, table: Table[Any], rows: Iterator[Any]) -> int:
    """Copies rows; returns how many. A row that comes a second time is left out."""
    marks = ",".join("?" * len(table.columns))
    text = f"INSERT OR IGNORE INTO {table.name} VALUES ({marks})"  # noqa: S608
    if table is ITEMS:
        rows = map(_frozen_if_sent, rows)
    before = target.total_changes
    while batch := list(islice(rows, _BATCH)):
        target.executemany(text, batch)
    return target.total_changes - before


def _frozen_if_sent(item: Item) -> Item:
    return item._replace(frozen=1) if item.lane == Lane.SENDING else item


def _mend_items(target: sqlite3.Connection) -> None:
    """Lets nothing wait for what was lost.

    A blocked item whose blocker is gone waits for the one before it of its record, or for none.
    A parked one whose conflict is gone has failed, so that somebody decides.
    """
    lost = target.execute(
        "SELECT seq, entity, record FROM items"
        " WHERE blocker IS NOT NULL AND blocker NOT IN (SELECT seq FROM items)"
    ).fetchall()
    for seq, entity, record in lost:
        before = target.execute(
            "SELECT max(seq) FROM items WHERE entity=? AND record=? AND seq<?",
            (entity, record, seq),
        ).fetchone()[0]
        target.execute("UPDATE items SET blocker=? WHERE seq=?", (before, seq))
    target.execute(
        "UPDATE items SET lane=? WHERE lane=? AND blocker IS NULL", (Lane.READY, Lane.BLOCKED)
    )
    target.execute(
        f"UPDATE items SET lane=?, conflict=NULL, error=? WHERE lane IN (?,?) AND conflict NOT IN"  # noqa: S608
        f" (SELECT number FROM {CONFLICTS.name} WHERE open IS NOT NULL)",
        (Lane.FAILED, "its conflict was lost in a damaged file", Lane.PARKED, Lane.ASKING),
    )


def _last_number(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    """The largest number that the rows, or the old sequence, tell of."""
    largest = 0
    for table in TABLES:
        hints = get_type_hints(table.row)
        for column in table.columns:
            kinds = {hints[column], *get_args(hints[column])}
            if int in kinds and str not in kinds:
                text = f"SELECT max({column}) FROM {table.name}"  # noqa: S608
                largest = max(largest, target.execute(text).fetchone()[0] or 0)
    try:
        row = source.execute("SELECT value FROM counters WHERE name=?", (SEQUENCE,)).fetchone()
    except sqlite3.Error:
        row = None
    known = row is not None and type(row[0]) is int and row[0] < 2**53
    return max(largest, row[0]) if known else largest


def _recount(target: sqlite3.Connection, number: int) -> None:
    target.execute("DELETE FROM counters")
    target.execute("INSERT INTO counters VALUES (?,?)", (SEQUENCE, number))
    for table in TABLES:
        if table.counted:
            by = ",".join(table.counted)
            text = f"SELECT {by}, count(*) FROM {table.name} GROUP BY {by}"  # noqa: S608
            for *values, rows in target.execute(text).fetchall():
                name = counter_name(table.name, tuple(values))
                target.execute("INSERT INTO counters VALUES (?,?)", (name, rows))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
