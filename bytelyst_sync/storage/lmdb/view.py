"""A transaction of ``LmdbStorage``, used by the thread that runs its ``work``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from bytelyst_sync.storage.base import Table, Value
from bytelyst_sync.storage.lmdb.rows import LmdbRows
from bytelyst_sync.storage.ordered_tables import OrderedView, layout_of
from bytelyst_sync.storage.row_checks import sound_rows

__all__ = ["LmdbView"]

R = TypeVar("R", bound=Any)
V = TypeVar("V", bound=int | str)


class LmdbView(OrderedView):
    """The ``Reader`` and the ``Transaction`` of the port over ``LmdbRows``."""

    def __init__(self, rows: LmdbRows) -> None:
        super().__init__(rows)
        self.recount = rows.recount
        self._has = rows.has

    def present(
        self, table: Table[R], index: str | None, prefix: tuple[Value, ...], values: Iterable[V]
    ) -> set[V]:
        """See ``Reader``. No row is read."""
        table.scan_order(index, len(prefix) + 1)
        self._open()
        layout = layout_of(table)
        if None in prefix:
            return set()
        return {
            each
            for each in values
            if each is not None and self._has(layout, index, (*prefix, each))
        }

    def take(
        self,
        table: Table[R],
        index: str | None = None,
        prefix: tuple[Value, ...] = (),
        *,
        upto: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> Iterator[R]:
        """``scan``, since there is one writer at a time. Also parses JSON, which is to be sent."""
        return sound_rows(table, self.scan(table, index, prefix, upto=upto, limit=limit))
