"""Fills a new database with the readable rows of a damaged one; see ``damaged_files.py``."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.current_file import Settings
from bytelyst_sync.storage.damaged_files import GAP, Replacement, report_of, salvage_mark
from bytelyst_sync.storage.files import sibling
from bytelyst_sync.storage.schema import (
    CONFLICTS,
    CURSOR_PREFIX,
    INDEX_ENTRIES,
    INDEXES,
    ITEMS,
    META,
    RECORDS,
    TABLES,
    Item,
    Lane,
)
from bytelyst_sync.storage.sqlite.connections import PAGE_BYTES, connect
from bytelyst_sync.storage.sqlite.errors import is_damage, translate_error
from bytelyst_sync.storage.sqlite.migrations import bring_up_to_date
from bytelyst_sync.storage.sqlite.salvage_rows import TableRecovery, sound_text
from bytelyst_sync.storage.sqlite.schema_checks import plain_tables
from bytelyst_sync.storage.sqlite.statements import SEQUENCE
from bytelyst_sync.storage.sqlite.writes import recount

__all__ = ["has_damage", "replacement"]

_BATCH = 1000
_CURSORS = (len(CURSOR_PREFIX), CURSOR_PREFIX)


def has_damage(settings: Settings) -> bool:
    """Whether a new connection finds damage too."""
    try:
        with closing(connect(settings.path, "ro", settings.busy_timeout_s)) as connection:
            report = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if is_damage(error):
            return True
        raise
    return bool(report[0] != "ok")


def replacement(settings: Settings) -> Replacement:
    """How a damaged database is replaced."""

    def fill(fresh: Path, aside: Path) -> str:
        try:
            return _fill(fresh, aside)
        except sqlite3.Error as error:
            raise translate_error(error, fresh, settings.busy_timeout_s) from error

    return Replacement(settings.path, ("-wal", "-shm"), fill)


def _fill(fresh: Path, aside: Path) -> str:
    """Fills the new database with the readable rows, new counters and a report."""
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
            readable = plain_tables(source)
            for table in TABLES:
                recovery = TableRecovery(source, table)
                if table.name in readable:
                    carried[table.name] = _carry(target, table, recovery.rows())
                if not recovery.complete or table.name not in readable:
                    incomplete.append(table.name)
            number = _last_number(source, target)
        _repair_items(target)
        recount(target.execute, number + GAP)
        if INDEX_ENTRIES.name in incomplete or META.name in incomplete:
            # an index without some entries hides records: build all of them again
            target.execute("DELETE FROM index_entries")
            target.execute("DELETE FROM meta WHERE name = ?", (INDEXES,))
        if RECORDS.name in incomplete:
            # the cursors are past records that are missing: pull everything again
            target.execute("DELETE FROM meta WHERE substr(name, 1, ?) = ?", _CURSORS)
        text = report_of(aside, carried, incomplete)
        mark = salvage_mark(text, aside=aside.name, incomplete=incomplete)
        target.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", mark)
        target.execute("COMMIT")
    return text


@contextmanager
def _readable(aside: Path, template: bytes) -> Iterator[sqlite3.Connection]:
    """Opens the damaged file for reading; if its first page is unreadable, a repaired copy."""
    copy = sibling(aside, ".repair")
    try:
        connection = _connect_if_readable(aside)
        if connection is None and aside.stat().st_size > PAGE_BYTES:
            _copy_with_first_page(aside, copy, template)
            connection = _connect_if_readable(copy)
        with closing(connection or sqlite3.connect(":memory:")) as source:
            source.text_factory = sound_text
            yield source
    finally:
        for suffix in ("", "-wal", "-shm"):
            sibling(copy, suffix).unlink(missing_ok=True)


def _connect_if_readable(path: Path) -> sqlite3.Connection | None:
    """A connection, or ``None`` if the file's list of tables cannot be read."""
    connection = connect(path, "ro", 0.0)
    try:
        if ITEMS.name in plain_tables(connection):
            return connection
    except sqlite3.Error:
        pass
    connection.close()
    return None


def _copy_with_first_page(aside: Path, copy: Path, template: bytes) -> None:
    """Copies the file with the first page of a new one.

    Tables are always created in the same order. So the first page, which says where each of them
    begins, is the same in every file of this version.
    """
    copy.touch(0o600)
    shutil.copyfile(aside, copy)
    wal = sibling(aside, "-wal")
    if wal.exists():
        sibling(copy, "-wal").touch(0o600)
        shutil.copyfile(wal, sibling(copy, "-wal"))
    page = bytearray(template)
    page[18:20] = b"\x02\x02"  # written in WAL mode
    page[28:32] = (aside.stat().st_size // PAGE_BYTES).to_bytes(4, "big")
    page[32:40] = bytes(8)  # no free pages: the copy is only read
    page[92:96] = page[24:28]  # the size above counts
    with copy.open("r+b") as file:
        file.write(page)


def _carry(target: sqlite3.Connection, table: Table[Any], rows: Iterator[Any]) -> int:
    """Copies rows, each key once; returns how many."""
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


def _repair_items(target: sqlite3.Connection) -> None:
    """Repairs items that depend on lost rows.

    An item whose blocker is lost waits for the previous item of its record, or for none. An item
    whose conflict is lost has failed, and needs a decision.
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
    """The largest number in the rows and the old sequence."""
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
