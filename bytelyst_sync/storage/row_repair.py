"""Sets unsound rows of a store in a file aside while the store is in use."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import StorageError, SyncError
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.set_aside import UnsoundRowError, set_aside_row

__all__ = ["REPAIRABLE", "RepairTransaction", "RowRepair"]

T = TypeVar("T")
P = ParamSpec("P")

_SET_ASIDE_AT_ONCE: Final = 1000
_SEARCH_EVERY_S: Final = 60.0
REPAIRABLE: Final = (
    UnsoundRowError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    json.JSONDecodeError,
)
"""What a transaction may raise because of an unsound row. All but the first may have other causes.
"""
_CLOCK: Final = SystemClock()


class RepairTransaction(Transaction, Protocol):
    """A transaction in which rows are set aside."""

    def recount(self) -> None:
        """Counts all rows again, after a row with wrong counted columns was removed."""
        ...


class RowRepair:
    """Runs transactions, and sets the unsound rows aside that make them fail.

    ``write`` runs a write transaction, ``find`` returns the unsound rows, ``report`` gets a text
    for the user. Any thread may use it. ``_searching`` is held while rows are searched and set
    aside, so that a second thread that meets the same row waits and then runs again.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: Callable[[Callable[[RepairTransaction], None]], None],
        find: Callable[[], list[UnsoundRowError]],
        report: Callable[[str], None],
    ) -> None:
        self._path = path
        self._write = write
        self._find = find
        self._report = report
        self._searching = threading.Lock()
        self._searched_at_s: float | None = None
        self.number_set_aside = 0
        """How many rows were set aside so far."""

    def run(self, action: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Runs the action, and runs it again after setting an unsound row aside."""
        for _ in range(_SET_ASIDE_AT_ONCE):
            number = self.number_set_aside
            try:
                return action(*args, **options)
            except REPAIRABLE as error:
                self.repair(error, number)
        raise StorageError(
            f"more than {_SET_ASIDE_AT_ONCE} rows of {self._path} were altered or damaged and have"
            " been set aside; the next call continues. Restore a backup if there is one"
        )

    def repair(self, error: Exception, number: int) -> None:
        """Sets the row aside that made a transaction raise this error; raises the error again if
        there is no such row.

        ``number`` is ``number_set_aside`` before the transaction.
        """
        if isinstance(error, UnsoundRowError):
            self._set_aside([error])
        elif isinstance(error, SyncError) or not self._search_and_set_aside(number):
            raise error

    def _set_aside(self, unsound: list[UnsoundRowError]) -> bool:
        def work(tx: RepairTransaction) -> None:
            for each in unsound:
                set_aside_row(tx, each.table, each.row, each.reason)
            tx.recount()

        if unsound:
            self._write(work)
            self.number_set_aside += len(unsound)
            for each in unsound:
                self._report(str(each))
        return bool(unsound)

    def _search_and_set_aside(self, number: int) -> bool:
        """Whether rows were set aside, now or by another thread since there were ``number``."""
        with self._searching:
            return self.number_set_aside != number or self._set_aside(self._find_unsound_rows())

    def _find_unsound_rows(self) -> list[UnsoundRowError]:
        """Finds unsound rows, after an error that malformed JSON may have caused.

        It reads all rows, so it runs once a minute at most.
        """
        now = _CLOCK.monotonic()
        if self._searched_at_s is not None and now - self._searched_at_s < _SEARCH_EVERY_S:
            return []
        self._searched_at_s = now
        return self._find()
