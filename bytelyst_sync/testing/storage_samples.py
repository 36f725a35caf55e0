"""Sample rows for tests of a store, and the expected results of scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from bytelyst_sync.storage.base import Storage, Table, Transaction
from bytelyst_sync.storage.schema import (
    ALIASES,
    CONFLICTS,
    EXPERIMENT_ROWS,
    INDEX_ENTRIES,
    ITEMS,
    KEYS,
    LINKS,
    META,
    OPEN,
    RECORDS,
    SET_ASIDE,
    SETTLED,
    Alias,
    ConflictRow,
    ExperimentRow,
    IndexEntry,
    Item,
    KeyRow,
    Lane,
    Link,
    Meta,
    Record,
    SetAside,
)

__all__ = [
    "SAMPLES",
    "RefusedError",
    "all_rows",
    "expected_rows",
    "fill",
    "inserting",
    "make_item",
    "scan_arguments",
]


def make_item(seq: int, record: str = "r1", entity: str = "notes", **changes: Any) -> Item:
    """An item with values in all required columns."""
    values: dict[str, Any] = {
        "id": f"id-{seq}",
        "operation": "create",
        "data": '{"title":"on a plane"}',
        "time": 1_700_000_000.25,
        "position": seq,
    }
    return Item(seq, entity=entity, record=record, **{**values, **changes})


def expected_rows(
    rows: list[Any],
    table: Table[Any],
    index: str | None = None,
    prefix: tuple[Any, ...] = (),
    *,
    after: tuple[Any, ...] | None = None,
    upto: tuple[Any, ...] | None = None,
    limit: int | None = None,
    reverse: bool = False,
) -> list[Any]:
    """The result of a scan, computed from all rows of the table."""
    order = table.order(index)
    sparse = () if index is None else table.indexes[index]
    rows_in_scan = []
    for row in rows:
        values = tuple(getattr(row, column) for column in order)
        rest = values[len(prefix) :]
        if values[: len(prefix)] != prefix or None in (getattr(row, name) for name in sparse):
            continue
        if after is not None:
            start = rest[: len(after)]
            if not (start < after if reverse else start > after):
                continue
        if upto is not None:
            end = rest[: len(upto)]
            if not (end >= upto if reverse else end <= upto):
                continue
        rows_in_scan.append((values, row))
    rows_in_scan.sort(key=lambda pair: pair[0], reverse=reverse)
    return [row for _, row in rows_in_scan][:limit]


SAMPLES: dict[str, list[Any]] = {
    ITEMS.name: [
        make_item(
            seq,
            record=("r1", "r2", "é", "\uffff", "\U0001f600")[seq % 5],
            entity=("notes", "tasks")[seq % 2],
            lane=(Lane.READY, Lane.DELAYED, Lane.BLOCKED)[seq % 3],
            position=(7 * seq) % 11,
            due=(None, 10.5, float(seq))[seq % 3],
            blocker=None if seq % 4 else seq - 1,
            digest=None if seq % 3 else ("aa", "bb")[seq % 2],
        )
        for seq in range(1, 13)
    ],
    LINKS.name: [
        Link(seq, field, "projects", record)
        for seq, field, record in product((1, 2, 30), ("a", "b"), ("p1", "p2"))
    ],
    RECORDS.name: [
        Record(
            entity,
            record,
            None if number % 3 == 0 else "{}",
            "v1",
            number,
            number,
            needs_refresh=1 if number % 2 else None,
            folded=None if number % 3 else record.upper(),
        )
        for number, (entity, record) in enumerate(product(("notes", "tasks"), "abcd"))
    ],
    ALIASES.name: [
        Alias("notes", "l1", "s1", '"s1"'),
        Alias("notes", "l2", "7", "7"),
        Alias("a", "l1", "s", '"s"'),
    ],
    CONFLICTS.name: [
        ConflictRow(
            number,
            "notes",
            "r1",
            "update",
            "{}",
            None,
            None,
            None,
            1.5,
            None,
            "[]",
            open=number if number % 2 else None,
            stage=OPEN if number % 2 else SETTLED,
            closed=None if number % 2 else 100 - number,
        )
        for number in range(1, 8)
    ],
    INDEX_ENTRIES.name: [
        IndexEntry(number, value, record, source)
        for number, value, record in product((1, 20), ("", "nf", "té"), ("a", "b"))
        for source in (0, 30, 4)
    ],
    KEYS.name: [
        KeyRow(key, n, "notes", "r1", "c", 1.5, None if n % 2 else 100.0 - n)
        for n, key in enumerate("dbca")
    ],
    META.name: [Meta("b", "2"), Meta("a", "1"), Meta("", "empty")],
    EXPERIMENT_ROWS.name: [
        ExperimentRow(kind, scope, name, "{}")
        for kind, scope, name in product(("sums", "event"), ("", "a|0"), ("", "u1", "ü2"))
    ],
    SET_ASIDE.name: [SetAside(n, "items", "{}", "was altered", 1.5) for n in (1, 3, 2)],
}
"""Rows of every table, with few different values in each column."""


class RefusedError(Exception):
    """Raised by the work of a test."""


def fill(storage: Storage, table: Table[Any], rows: list[Any]) -> None:
    """Inserts the rows in one transaction."""

    def work(tx: Transaction) -> None:
        for row in rows:
            tx.insert(table, row)

    storage.write(work)


def all_rows(storage: Storage, table: Table[Any]) -> list[Any]:
    """The rows of a table in the order of its key."""
    return storage.read(lambda reader: list(reader.scan(table)))


def inserting(*rows: Item) -> Callable[[Transaction], None]:
    """Work that inserts these items."""

    def work(tx: Transaction) -> None:
        for row in rows:
            tx.insert(ITEMS, row)

    return work


def scan_arguments(
    rows: list[Any], table: Table[Any], index: str | None
) -> Iterator[dict[str, Any]]:
    """Arguments of scans for these rows."""
    order = table.order(index)
    tuples = [tuple(getattr(row, column) for column in order) for row in rows]
    tuples = [values for values in tuples if None not in values][:5]
    yield {}
    for limit in (0, 1, 3, 17, 1000):
        yield {"limit": limit}
    for values in tuples:
        for width in range(len(order) + 1):
            prefix, rest = values[:width], values[width:]
            yield {"prefix": prefix}
            yield {"prefix": prefix, "limit": 2}
            for length in range(1, len(rest) + 1):
                bound = rest[:length]
                yield {"prefix": prefix, "after": bound}
                yield {"prefix": prefix, "upto": bound}
                yield {"prefix": prefix, "after": bound, "limit": 2}
                for other in tuples[::2]:
                    shorter = other[width : width + max(1, length - 1)]
                    yield {"prefix": prefix, "after": bound, "upto": shorter}
                    yield {"prefix": prefix, "after": shorter, "upto": bound, "limit": 1}
