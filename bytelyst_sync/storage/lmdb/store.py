"""The memory-mapped store: one LMDB file, which is a plain ordered map of keys and values.

``file_store.py`` says who owns what. The holder of the write lock has the only write transaction,
which LMDB binds to its thread. Readers have a snapshot each and wait for nobody, except while the
map grows; see ``environment.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.commit import Group
from bytelyst_sync.storage.current_file import FileKind, FileReplaced
from bytelyst_sync.storage.file_store import FileStorage
from bytelyst_sync.storage.files import sibling
from bytelyst_sync.storage.lmdb.binding import load_lmdb
from bytelyst_sync.storage.lmdb.format import UNSYNCED, is_unsynced, mark_unsynced
from bytelyst_sync.storage.lmdb.group import run_group
from bytelyst_sync.storage.lmdb.kind import MappedKind
from bytelyst_sync.storage.lmdb.mapped_file import MappedFile
from bytelyst_sync.storage.lmdb.opening import put_in_place
from bytelyst_sync.storage.lmdb.rows import LmdbRows
from bytelyst_sync.storage.lmdb.salvage import name_former
from bytelyst_sync.storage.lmdb.view import LmdbView
from bytelyst_sync.storage.schema import TABLES
from bytelyst_sync.storage.set_aside import UnsoundRowError

if TYPE_CHECKING:
    import lmdb

__all__ = ["LmdbStorage"]

T = TypeVar("T")

_SHOWN_PER_TABLE = 100
_LEAST_MAP_BYTES = 64 * 1024


class LmdbStorage(FileStorage[MappedFile]):
    """A queue and a local view in one LMDB file, shared by any number of threads and processes.

    Needs the extra ``lmdb``. ``durability="full"`` syncs every commit: it survives a loss of power.
    With ``"normal"`` nothing is synced before ``close()``: a commit survives a crash of the
    program. After a loss of power the file is then verified, and a damaged one is set aside.
    ``busy_timeout_s`` is how long a write waits for others, in seconds. ``map_bytes`` is the size
    of the map at first; it doubles whenever it is full.

    The path is resolved when the object is created (``~``, relative paths, symbolic links). The
    file, and those beside it (``-lock``, ``.lock``, ``.deliver``), are readable by their owner
    only. A file with another mode, or that is no store, is refused and not changed. No file is
    opened before the first use. Every method may be called from any thread.
    """

    kind = "lmdb"

    def __init__(
        self,
        path: str | os.PathLike[str],
        durability: str = "full",
        busy_timeout_s: float = 30.0,
        *,
        map_bytes: int | None = None,
    ) -> None:
        self._lmdb = load_lmdb()
        self._map_bytes = None if map_bytes is None else max(map_bytes, _LEAST_MAP_BYTES)
        super().__init__(path, durability, busy_timeout_s)

    def _kind(self) -> FileKind[MappedFile]:
        self._file_kind = MappedKind(self._settings, self._map_bytes)
        return self._file_kind

    # -- transactions ----------------------------------------------------------------------------

    def _read(self, file: MappedFile, work: Callable[[Reader], T]) -> T:
        transaction = file.begin()
        view = LmdbView(LmdbRows(transaction))
        try:
            return work(view)
        except self._lmdb.Error as error:
            if file.is_closed:
                raise FileReplaced from error  # the read took longer than closing waits
            raise
        finally:
            view.end()
            file.finish(transaction)

    def _commit(self, file: MappedFile, group: Group) -> int:
        while True:
            last = self._commit_once(file, group)
            if last is not None:
                return last

    def _commit_once(self, file: MappedFile, group: Group) -> int | None:
        """Runs the group; ``None`` if it must run again, on a larger map or in a marked file."""
        if self._settings.full:
            file.preallocate()
        transaction, known = file.begin(write=True), file.known
        known.start(transaction.id())
        known.is_marked = known.is_marked or is_unsynced(transaction.get(UNSYNCED))
        is_marked = self._settings.full or known.is_marked
        try:
            if is_marked:
                return self._run_group(file, transaction, group)
        except self._lmdb.MapFullError:
            pass
        except self._lmdb.PanicError as error:
            raise FileReplaced from error  # a write failed half-way: LMDB wants a new start
        finally:
            file.finish(transaction)
        if is_marked:
            file.make_room()
        else:
            self._mark_unsynced(file)
        return None

    def _run_group(
        self, file: MappedFile, transaction: lmdb.Transaction[bytes], group: Group
    ) -> int:
        try:
            group.final, last = run_group(file, transaction, group, self._file_kind.errors)
            if group.final:
                number = transaction.id()
                transaction.commit()
                file.known.keep(number)
                file.has_unsynced = not self._settings.full
        except BaseException as error:
            if isinstance(error, self._file_kind.errors) or _is_open(transaction):
                group.final = False
            raise
        return last

    def _mark_unsynced(self, file: MappedFile) -> None:
        """Says in the file that the commits that follow are not synced."""
        transaction = file.begin(write=True)
        try:
            mark_unsynced(transaction)
            transaction.commit()
            file.sync()
        finally:
            file.finish(transaction)

    def _change_token(self, file: MappedFile) -> object:
        file.require_current()
        return file.identity, file.last_commit()

    def _unsound_rows(self, file: MappedFile) -> list[UnsoundRowError]:
        transaction = file.begin()
        try:
            rows = LmdbRows(transaction)
            return [
                UnsoundRowError(table, row, "is malformed or out of range")
                for table in TABLES
                for row in islice(rows.unsound_rows(table), _SHOWN_PER_TABLE)
            ]
        finally:
            file.finish(transaction)

    def _remove_deleted_data(self, file: MappedFile) -> None:
        copy = sibling(self.path, ".compact")
        copy.unlink(missing_ok=True)
        file.copy_compactly(copy)
        copy.chmod(0o600)
        name_former(copy, file.identity)
        put_in_place(copy, self.path)


def _is_open(transaction: lmdb.Transaction[bytes]) -> bool:
    """Whether the transaction was neither committed nor aborted."""
    try:
        transaction.id()
    except load_lmdb().Error:
        return False
    return True
