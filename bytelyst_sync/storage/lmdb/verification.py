"""Verifies a whole file: its pages, rows, indexes and counters.

It runs after a loss of power that may have damaged the file, if LMDB reports damage, and for
``bytelyst-sync doctor``. The caller holds the write lock, or accepts that a commit meanwhile looks
like damage.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.lmdb.keys import (
    COUNTERS,
    SEQUENCE,
    complete,
    decode_values,
    encode,
    space_of,
    stored_key,
)
from bytelyst_sync.storage.lmdb.pages import PageFile
from bytelyst_sync.storage.ordered import Key
from bytelyst_sync.storage.ordered_tables import layout_of
from bytelyst_sync.storage.schema import TABLES

__all__ = ["find_damage"]

_VERIFIER = "lmdb.verify"


def find_damage(path: Path) -> str | None:
    """What is damaged in the file, or ``None``."""
    verifier: Any = import_module(_VERIFIER)
    try:
        problems = verifier.verify(path, subdir=False)
    except verifier.VerifyError as error:
        return str(error)
    if problems:
        return str(problems[0])
    with closing(PageFile(path)) as pages:
        return _Contents().problem(pages)


class _Contents:
    """The rows, index entries and counters of a file.

    The entries of an index are compared with those that its rows must have by their numbers and by
    the sums of their hashes.
    """

    def __init__(self) -> None:
        self._spaces = {
            space_of(table, index): (table, index)
            for table in TABLES
            for index in (None, *table.indexes)
        }
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[tuple[str, str]] = Counter()
        self._counted: Counter[tuple[bytes, Key]] = Counter()
        self._counters: dict[tuple[bytes, Key], int] = {}

    def problem(self, pages: PageFile) -> str | None:
        """The first contradiction, or ``None``."""
        for key, raw in pages.entries(pages.metas[0].root, set(), []):
            table, index = self._spaces.get(key[:1], (None, None))
            if table is None:
                problem = self._check_counter(key, raw)
            elif index is None:
                problem = self._check_row(table, key, raw)
            else:
                problem = None
                self._add(table, index, key, raw, 1)
            if problem is not None:
                return problem
        for table in TABLES:
            for index in table.indexes:
                if self._numbers[table.name, index] or self._sums[table.name, index]:
                    return f"the index {index} of {table.name} does not fit its rows"
        return None if self._counters == self._counted else "the counters do not fit the rows"

    def _add(self, table: Table[Any], index: str, key: bytes, row_key: bytes, by: int) -> None:
        self._numbers[table.name, index] += by
        self._sums[table.name, index] += by * hash((key, row_key))

    def _check_counter(self, key: bytes, raw: bytes) -> str | None:
        if key[:1] != COUNTERS:
            return None
        values = decode_values(key, raw)
        if key == SEQUENCE:
            return None if type(values) is int else "the sequence is damaged"
        if type(values) is not list or not values:
            return "a counter is damaged"
        self._counters[key, tuple(values[:-1])] = values[-1]
        return None

    def _check_row(self, table: Table[Any], key: bytes, raw: bytes) -> str | None:
        columns = complete(table, decode_values(key, raw))
        if columns is None:
            return f"a row of {table.name} has a wrong checksum"
        row, layout = table.row(*columns), layout_of(table)
        if stored_key(encode(space_of(table, None), layout.key(row))) != key:
            return f"a row of {table.name} is under another row's key"
        for index, entry_of in layout.entries.items():
            entry = entry_of(row)
            if entry is not None:
                stored = stored_key(encode(space_of(table, index), entry))
                self._add(table, index, stored, key, -1)
        if layout.counted is not None:
            values = layout.counted(row)
            self._counted[stored_key(encode(COUNTERS, (table.name, *values))), values] += 1
        return None
