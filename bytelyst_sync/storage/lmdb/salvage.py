"""Fills a new file with the rows of another one: of a damaged one, or of an older release.

The pages are read without LMDB: first the tree of the last commit. If a page of it cannot be read,
or it has not as many entries as it must have, the tree of the commit before follows, and then all
leaves among the pages that are in use. The first version of a row counts. A row that was found so
may have been deleted or changed by the last commits, so its item is frozen: the server may have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bytelyst_sync.storage.base import Table, Transaction
from bytelyst_sync.storage.current_file import Settings
from bytelyst_sync.storage.damaged_files import GAP, Replacement, report_of, salvage_mark
from bytelyst_sync.storage.files import Identity
from bytelyst_sync.storage.lmdb.environment import open_environment
from bytelyst_sync.storage.lmdb.format import (
    Layouts,
    current_format,
    read_format,
    write_format,
    write_former,
)
from bytelyst_sync.storage.lmdb.keys import FORMAT, SEQUENCE, complete, decode_values
from bytelyst_sync.storage.lmdb.mapped_file import LOCK_SUFFIX
from bytelyst_sync.storage.lmdb.pages import PageFile
from bytelyst_sync.storage.lmdb.rows import LmdbRows
from bytelyst_sync.storage.lmdb.view import LmdbView
from bytelyst_sync.storage.row_checks import LARGEST_INT, is_sound
from bytelyst_sync.storage.schema import (
    CONFLICTS,
    CURSOR_PREFIX,
    FORMER_COLUMNS,
    INDEX_ENTRIES,
    INDEXES,
    ITEMS,
    META,
    RECORDS,
    TABLES,
    Item,
    Lane,
)

__all__ = ["convert", "replacement"]

_BATCH = 1000


def replacement(settings: Settings) -> Replacement:
    """How a damaged file is replaced."""
    return Replacement(settings.path, (LOCK_SUFFIX,), _fill)


def convert(fresh: Path, former: Path) -> None:
    """Fills a new file with the rows of one of an older release, which is sound."""
    with closing(PageFile(former)) as pages:
        source = _Source(pages)
        _write(fresh, source)


def name_former(copy: Path, identity: Identity) -> None:
    """Says in a copy which file it continues, and syncs it."""
    with closing(open_environment(copy, synced=False)) as environment:
        with environment.begin(write=True) as transaction:
            write_former(transaction, identity)
        environment.sync(force=True)


class _Source:
    """The rows of a file; ``incomplete``: the tables of which some could not be read."""

    def __init__(self, pages: PageFile) -> None:
        self.incomplete: set[str] = set()
        self.carried: Counter[str] = Counter()
        self.number = 0
        """The largest number in the rows and of the sequence."""
        self.is_certain = True
        """Whether the rows so far are those of the last commit."""
        self._pages = pages
        self._spaces = self._tables_by_space(current_format()["tables"])

    @staticmethod
    def _tables_by_space(layouts: Layouts) -> dict[int, tuple[Table[Any], list[str]]]:
        known = {table.name: table for table in TABLES}
        return {
            each["space"]: (known[name], each["columns"])
            for name, each in layouts.items()
            if name in known
        }

    def rows(self) -> Iterator[tuple[Table[Any], Any]]:
        """All rows that are readable and sound."""
        for key, raw in self._entries():
            if key == FORMAT:
                stored = read_format(raw)
                if stored is not None:
                    self._spaces = self._tables_by_space(stored["tables"])
            elif key == SEQUENCE:
                self._count(decode_values(key, raw))
            elif key[:1] and key[0] in self._spaces:
                table, columns = self._spaces[key[0]]
                row = _row_of(table, columns, decode_values(key, raw))
                if row is None or not is_sound(table, row):
                    self.incomplete.add(table.name)
                    continue
                for place in _numbers(table):
                    self._count(row[place])
                yield table, row

    def _count(self, number: Any) -> None:
        if type(number) is int and self.number < number < LARGEST_INT:
            self.number = number

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        pages = self._pages
        if not pages.metas:
            self.incomplete.update(table.name for table in TABLES)
            return
        seen: set[int] = set()
        damaged: list[int] = []
        meta = pages.metas[0]
        number = 0
        for number, entry in enumerate(pages.entries(meta.root, seen, damaged), 1):  # noqa: B007
            yield entry
        both = len(pages.metas) > 1
        if both and not damaged and number == meta.entries:
            return
        self.incomplete.update(table.name for table in TABLES)
        self.is_certain = False
        for before in pages.metas[1:]:
            yield from pages.entries(before.root, seen, damaged)
        # without one of the meta pages, the last commit may be in pages that were free before it
        free = (both and pages.free_pages(meta)) or ()
        for number in range(2, pages.length // pages.page_bytes):
            if number not in seen and number not in free:
                yield from pages.leaf_entries(number, seen, damaged)


def _row_of(table: Table[Any], columns: list[str], values: Any) -> Any | None:
    """A row of this release, from the values that the file has in these columns."""
    if tuple(columns) == table.columns:
        whole = complete(table, values)
        return None if whole is None else table.row(*whole)
    if type(values) is not list or len(values) > len(columns):
        return None
    former = FORMER_COLUMNS.get(table.name, {})
    named = dict(zip((former.get(each, each) for each in columns), values, strict=False))
    try:
        return table.row(**{name: named[name] for name in table.columns if name in named})
    except TypeError:
        return None


def _numbers(table: Table[Any]) -> list[int]:
    """The places of the columns with numbers of the sequence."""
    hints = get_type_hints(table.row)
    kinds = [{hints[column], *get_args(hints[column])} for column in table.columns]
    return [place for place, each in enumerate(kinds) if int in each and str not in each]


def _write(fresh: Path, source: _Source, report: Any = None) -> None:
    """Writes all rows, the sequence, and what ``report`` returns as the last row."""
    with closing(open_environment(fresh, synced=False)) as environment:
        rows = source.rows()
        with environment.begin(write=True) as transaction:
            write_format(transaction)
        while batch := list(islice(rows, _BATCH)):
            with environment.begin(write=True) as transaction:
                primitives = LmdbRows(transaction)
                view = LmdbView(primitives)
                for table, row in batch:
                    _carry(view, table, row, source)
                primitives.settle()
        with environment.begin(write=True) as transaction:
            primitives = LmdbRows(transaction)
            view = LmdbView(primitives)
            primitives.set_last_number(source.number + (GAP if report is not None else 0))
            if report is not None:
                _repair(view, source)
                mark = report()
                view.delete(META, *filter(None, [view.get(META, mark.name)]))
                view.insert(META, mark)
            primitives.settle()
        environment.sync(force=True)


def _carry(tx: Transaction, table: Table[Any], row: Any, source: _Source) -> None:
    if tx.get(table, *(getattr(row, column) for column in table.key)) is not None:
        return
    if table is ITEMS and (row.lane == Lane.SENDING or not source.is_certain):
        row = row._replace(frozen=1)
    tx.insert(table, row)
    source.carried[table.name] += 1


def _fill(fresh: Path, aside: Path) -> str:
    """Fills the new file with the readable rows and a report."""
    with closing(PageFile(aside)) as pages:
        source = _Source(pages)
        text = ""

        def report() -> Any:
            nonlocal text
            incomplete = [each.name for each in TABLES if each.name in source.incomplete]
            carried = {table.name: source.carried[table.name] for table in TABLES}
            text = report_of(aside, carried, incomplete)
            return salvage_mark(text, aside=aside.name, incomplete=incomplete)

        _write(fresh, source, report)
    Path(f"{fresh}{LOCK_SUFFIX}").unlink(missing_ok=True)
    return text


def _repair(tx: Transaction, source: _Source) -> None:
    """Repairs what depends on lost rows.

    An item whose blocker is lost waits for the previous item of its record, or for none. An item
    whose conflict is lost has failed, and needs a decision. An index without some entries hides
    records, so it is built again. Cursors past missing records are deleted: all is pulled again.
    """
    for item in list(tx.scan(ITEMS, "blocker")):
        if tx.get(ITEMS, item.blocker) is None:
            before = _previous(tx, item)
            lane = Lane.READY if before is None and item.lane == Lane.BLOCKED else item.lane
            tx.replace(ITEMS, item, item._replace(blocker=before, lane=int(lane)))
    for item in [each for lane in (Lane.PARKED, Lane.ASKING) for each in _of_lane(tx, lane)]:
        conflict = None if item.conflict is None else tx.get(CONFLICTS, item.conflict)
        if conflict is None or conflict.open is None:
            failed = item._replace(
                lane=int(Lane.FAILED),
                conflict=None,
                error="its conflict was lost in a damaged file",
            )
            tx.replace(ITEMS, item, failed)
    if source.incomplete & {INDEX_ENTRIES.name, META.name}:
        while entries := list(tx.scan(INDEX_ENTRIES, limit=_BATCH)):
            tx.delete(INDEX_ENTRIES, *entries)
        tx.delete(META, *filter(None, [tx.get(META, INDEXES)]))
    if RECORDS.name in source.incomplete:
        cursors = [row for row in tx.scan(META) if row.name.startswith(CURSOR_PREFIX)]
        tx.delete(META, *cursors)


def _previous(tx: Transaction, item: Item) -> int | None:
    record = (item.entity, item.record)
    before = tx.scan(ITEMS, "record", record, after=(item.seq,), limit=1, reverse=True)
    return next((each.seq for each in before), None)


def _of_lane(tx: Transaction, lane: Lane) -> list[Item]:
    return list(tx.scan(ITEMS, "lane", (int(lane),)))
