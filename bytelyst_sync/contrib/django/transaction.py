"""The ``Transaction`` of the port, in SQL: a reader that also changes rows.

Its transaction holds the lock of the queue, so it is the only one that changes the queue's tables
but for the inbox. The counts and the sequence are kept in the queue's row and written once, before
the commit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError

from bytelyst_sync.contrib.django.reader import DjangoReader, QueueState, batches
from bytelyst_sync.contrib.django.row_codec import codec_of
from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.derived import DerivedTransaction, picker

__all__ = ["DjangoTransaction"]

R = TypeVar("R", bound=NamedTuple)
_ROWS_AT_ONCE = 100
_KEYS_SHOWN = 3


class DjangoTransaction(DjangoReader, DerivedTransaction):
    """Changes rows. ``state`` is the queue's row, which is locked."""

    def __init__(self, connection: Any, queue: str, state: QueueState) -> None:
        super().__init__(connection, queue)
        self._state = state
        self._number = state.number
        self._changed = False

    def insert(self, table: Table[R], *rows: R) -> None:
        """Adds rows; ``ValueError`` if a key is there already."""
        if not rows:
            return
        sql, codec = self._sql(table), codec_of(table)
        given = zip(table.columns, zip(*rows, strict=True), strict=True)
        columns = [name for name, values in given if any(each is not None for each in values)]
        pick = picker(table.columns, tuple(columns))
        names = ", ".join([f"{self._quote}queue{self._quote}", *[sql.quoted[c] for c in columns]])
        one = f"({', '.join(['%s'] * (len(columns) + 1))})"
        try:
            for first in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[first : first + _ROWS_AT_ONCE]
                parameters: list[Value] = []
                for row in some:
                    parameters += [self._queue, *codec.values(columns, pick(row))]
                text = f"INSERT INTO {sql.name} ({names}) VALUES {', '.join([one] * len(some))}"  # noqa: S608
                with self.cursor() as cursor:
                    cursor.execute(text, parameters)
        except IntegrityError as error:
            raise ValueError(f"{table.name} already has one of {_keys(table, rows)}") from error
        self._empty[table.name] = False
        if table.numbered:
            place = table.columns.index(table.key[0])
            self._number = max(self._number, *[row[place] for row in rows])
        self._count(table, rows, 1)

    def replace(self, table: Table[R], old: R, new: R) -> None:
        """Changes a row; ``LookupError`` if it is not there, ``ValueError`` if its new key is."""
        self.replace_all(table, ((old, new),))

    def replace_all(self, table: Table[R], pairs: Iterable[tuple[R, R]]) -> None:
        """Changes rows; one statement for many that change in the same columns."""
        alike: dict[tuple[str, ...], dict[tuple[Value, ...], tuple[R, R]]] = {}
        for old, new in pairs:
            key, changed = _key(table, old), _differing(table, old, new)
            some = alike.setdefault(changed, {})
            if key in some or not set(table.key).isdisjoint(changed):
                # the order of these changes matters
                self._change_all(table, alike)
                alike = {changed: {key: (old, new)}}
            else:
                some[key] = old, new
        self._change_all(table, alike)

    def _change_all(
        self,
        table: Table[R],
        alike: dict[tuple[str, ...], dict[tuple[Value, ...], tuple[R, R]]],
    ) -> None:
        for changed, some in alike.items():
            if changed and some:
                self._change(table, changed, list(some.values()))

    def _change(self, table: Table[R], changed: tuple[str, ...], pairs: list[tuple[R, R]]) -> None:
        old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        try:
            done = self._update(table, changed, old, new)
        except IntegrityError as error:
            raise ValueError(f"{table.name} already has one of {_keys(table, new)}") from error
        if done != len(pairs):
            raise LookupError(f"{table.name} has no {_keys(table, old)}")
        if not set(table.counted).isdisjoint(changed):
            self._count(table, old, -1)
            self._count(table, new, 1)
        self._changed = True

    def _update(
        self, table: Table[R], changed: tuple[str, ...], old: Sequence[R], new: Sequence[R]
    ) -> int:
        """Sets these columns of the old rows to those of the new ones; returns how many it found.

        A value that is the same in all rows is given once, others by the last column of the key.
        """
        sql, done = self._sql(table), 0
        groups: dict[tuple[Value, ...], list[tuple[R, R]]] = {}
        for pair in zip(old, new, strict=True):
            groups.setdefault(_key(table, pair[0])[:-1], []).append(pair)
        for pairs in groups.values():
            for first in range(0, len(pairs), _ROWS_AT_ONCE):
                some = pairs[first : first + _ROWS_AT_ONCE]
                sets, values = self._sets(table, changed, some)
                start = f"UPDATE {sql.name} SET {sets} WHERE {sql.where_queue}"  # noqa: S608
                done += self._by_keys(table, start, values, [each for each, _ in some])
        return done

    def _sets(
        self, table: Table[R], changed: tuple[str, ...], pairs: Sequence[tuple[R, R]]
    ) -> tuple[str, list[Value]]:
        """The new values of columns, and their parameters."""
        sql, codec, last = self._sql(table), codec_of(table), table.key[-1]
        keys = [codec.value(last, getattr(old, last)) for old, _ in pairs]
        sets: list[str] = []
        parameters: list[Value] = []
        for column in changed:
            values = [codec.value(column, getattr(new, column)) for _, new in pairs]
            text = "%s"
            if len(set(values)) == 1:
                parameters.append(values[0])
            else:
                text = f"CASE {sql.quoted[last]}{' WHEN %s THEN %s' * len(pairs)} END"
                parameters += chain.from_iterable(zip(keys, values, strict=True))
            sets.append(f"{sql.quoted[column]} = {text}")
        return ", ".join(sets), parameters

    def _update_alike(
        self, table: Table[R], changed: tuple[str, ...], values: list[Value], rows: Sequence[R]
    ) -> int:
        sql, codec = self._sql(table), codec_of(table)
        sets = ", ".join(f"{sql.quoted[column]} = %s" for column in changed)
        start = f"UPDATE {sql.name} SET {sets} WHERE {sql.where_queue}"  # noqa: S608
        return self._by_keys(table, start, codec.values(changed, values), rows)

    def _by_keys(self, table: Table[R], start: str, values: list[Value], rows: Sequence[R]) -> int:
        """Runs a statement for the rows' keys; returns how many rows it changed."""
        sql, codec, done = self._sql(table), codec_of(table), 0
        *before, last = table.key
        groups: dict[tuple[Value, ...], list[Any]] = {}
        for row in rows:
            key = _key(table, row)
            groups.setdefault(key[:-1], []).append(key[-1])
        where = "".join(f" AND {sql.quoted[column]} = %s" for column in before)
        with self.cursor() as cursor:
            for prefix, keys in groups.items():
                for some in batches(keys):
                    text = f"{start}{where} AND {sql.quoted[last]} IN "
                    text += f"({', '.join(['%s'] * len(some))})"
                    given = [*values, self._queue, *codec.values(before, prefix)]
                    cursor.execute(text, given + [codec.value(last, each) for each in some])
                    done += cursor.rowcount
        return done

    def update_many(self, table: Table[R], rows: Sequence[R], **values: Value) -> list[R]:
        """Sets the same columns in all of these rows, and returns the new rows."""
        if not rows:
            return []
        new: list[R] = [row._replace(**values) for row in rows]
        if self._update_alike(table, tuple(values), list(values.values()), rows) != len(rows):
            raise LookupError(f"{table.name} has no {_keys(table, rows)}")
        if not set(table.counted).isdisjoint(values):
            self._count(table, rows, -1)
            self._count(table, new, 1)
        self._changed = True
        return new

    def delete(self, table: Table[R], *rows: R) -> None:
        """Removes rows; ``LookupError`` if one is not there."""
        if not rows:
            return
        sql = self._sql(table)
        start = f"DELETE FROM {sql.name} WHERE {sql.where_queue}"  # noqa: S608
        if self._by_keys(table, start, [], rows) != len(rows):
            raise LookupError(f"{table.name} has no {_keys(table, rows)}")
        self._count(table, rows, -1)

    def update_by(
        self, table: Table[Any], index: str, keys: Iterable[Any], **values: Value
    ) -> None:
        """Sets columns of the rows that have one of these keys in an index's first column."""
        sql, codec, column = self._sql(table), codec_of(table), table.indexes[index][0]
        sets = ", ".join(f"{sql.quoted[each]} = %s" for each in values)
        start = f"UPDATE {sql.name} SET {sets} WHERE {sql.where_queue}"  # noqa: S608
        given = [*codec.values(tuple(values), tuple(values.values())), self._queue]
        with self.cursor() as cursor:
            for some in batches(keys):
                text = f"{start} AND {sql.quoted[column]} IN ({', '.join(['%s'] * len(some))})"
                cursor.execute(text, given + [codec.value(column, each) for each in some])
        self._changed = True

    def last_number(self) -> int:
        """The number last given out."""
        return self._number

    def next_number(self) -> int:
        """The next number of the sequence."""
        self.cursor().close()
        self._number += 1
        return self._number

    def _count(self, table: Table[R], rows: Sequence[R], by: int) -> None:
        self._changed = True
        if table.counted:
            kept = self._kept().setdefault(table.name, {})
            places = [table.columns.index(column) for column in table.counted]
            found = Counter(tuple([_plain(row[place]) for place in places]) for row in rows)
            for values, number in found.items():
                kept[values] = kept.get(values, 0) + by * number

    def finish(self) -> None:
        """Writes the queue's row, right before the commit."""
        before = self.state()
        if not self._changed and self._number == before.number:
            return
        counts = before.counts
        if self._counts is not None:
            counts = json.dumps(
                {
                    name: [[*values, number] for values, number in kept.items() if number]
                    for name, kept in self._counts.items()
                }
            )
        quote = self._quote
        with self.cursor() as cursor:
            cursor.execute(
                f"UPDATE {quote}bytelyst_sync_queues{quote}"  # noqa: S608
                " SET version = %s, number = %s, counts = %s WHERE name = %s",
                [before.version + 1, self._number, counts, self._queue],
            )

    def counts(self, table: Table[R]) -> dict[tuple[Value, ...], int]:
        """The rows per combination of the counted columns that has any, as changed here."""
        return {values: number for values, number in super().counts(table).items() if number}


def _plain(value: Value) -> Value:
    return int(value) if isinstance(value, int) else value


def _key(table: Table[Any], row: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple([row[table.columns.index(column)] for column in table.key])


def _differing(
    table: Table[Any], old: tuple[Value, ...], new: tuple[Value, ...]
) -> tuple[str, ...]:
    """The columns in which two rows differ."""
    return tuple(
        [
            column
            for column, before, after in zip(table.columns, old, new, strict=True)
            if before != after or type(before) is not type(after)
        ]
    )


def _keys(table: Table[Any], rows: Sequence[tuple[Value, ...]]) -> str:
    """The keys of the first rows, for an error."""
    return ", ".join(str(_key(table, row)) for row in rows[:_KEYS_SHOWN])
