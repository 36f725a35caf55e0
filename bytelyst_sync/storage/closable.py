"""A store as one engine uses it: for one account, and until the engine is closed.

A store opens itself at its first use. After the engine is closed, a pull that is still running or
an iterator must not open it again. An engine must also stop using a store that was wiped or that
got another account meanwhile: every transaction checks this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple, TypeVar, cast

from bytelyst_sync.errors import AccountMismatchError, EngineClosedError, StorageError
from bytelyst_sync.storage.account import check_account, take_account, wipe
from bytelyst_sync.storage.base import (
    Closes,
    DeliveryLock,
    PullRight,
    Reader,
    SharedStorage,
    Storage,
    Transaction,
)
from bytelyst_sync.storage.schema import META, OWNER, SEALED, Meta

__all__ = ["ClosableSharedStorage", "ClosableStorage"]

T = TypeVar("T")


class ClosableStorage:
    """A ``Storage`` for one account. Every call after ``close`` raises ``EngineClosedError``.

    A call that runs during ``close`` may open the store once more; it closes the store at its end.
    Raises ``AccountMismatchError`` if the store belongs to another account.
    """

    def __init__(self, storage: Storage, account: str | None = None) -> None:
        self._storage = storage
        self._account = account
        self._owner: Meta | None = None
        """The account's row when the store was opened here."""
        self._closed = False
        self._ready = False
        """Whether the store was checked: readable, and of this account."""

    def _check(self) -> None:
        if self._closed:
            raise EngineClosedError("the engine is closed; make a new one")
        if not self._ready:
            if not getattr(self._storage, "seals", False):
                self._storage.read(_refuse_if_sealed)
            if not self._may_take_account():
                self._storage.read(lambda tx: check_account(tx, self._account))
                return
            if self._account is None:
                self._owner = self._storage.read(lambda tx: check_account(tx, None))
            else:
                self._owner = self._storage.write(lambda tx: take_account(tx, self._account))
            self._ready = True

    def _may_take_account(self) -> bool:
        """Whether the store may be assigned to the account now."""
        return True

    def _refuse_other_owner(self, tx: Reader) -> None:
        check_account(tx, self._account)
        raise AccountMismatchError(
            "the store was wiped or assigned to another account after this engine opened it:"
            " make a new engine"
        )

    def write(self, work: Callable[[Transaction], T], then: Callable[[T], None] | None = None) -> T:
        """See ``Storage``."""
        if self._closed or not self._ready:
            self._check()

        def owned(tx: Transaction) -> T:
            row, known = tx.get(META, OWNER), self._owner
            if row != known:
                if row is not None or known is None:
                    self._refuse_other_owner(tx)
                else:
                    tx.insert(META, known)  # the file was deleted: this is a new, empty one
            return work(tx)

        try:
            return self._storage.write(owned, then)
        finally:
            if self._closed:
                self._close_again()

    def read(self, work: Callable[[Reader], T]) -> T:
        """See ``Storage``."""
        if self._closed or not self._ready:
            self._check()

        def owned(tx: Reader) -> T:
            row = tx.get(META, OWNER)
            if self._ready and row is not None and row != self._owner:
                self._refuse_other_owner(tx)
            return work(tx)

        try:
            return self._storage.read(owned)
        finally:
            if self._closed:
                self._close_again()

    def wipe(self, unless: Callable[[Reader], None]) -> None:
        """Deletes all data of the store, also from free pages, logs and copies.

        ``unless`` may raise an exception to prevent it. Afterwards the store has no account, and
        engines that opened it before cannot use it any longer.
        """

        def work(tx: Transaction) -> None:
            unless(tx)
            wipe(tx)

        self.write(work)
        purge = getattr(self._storage, "purge", None)
        if purge is not None:
            purge()

    def _close_again(self) -> None:
        with suppress(StorageError):  # the transaction has succeeded or raised already
            self._storage.close()

    def changes(self) -> object:
        """See ``Storage``."""
        self._check()
        return self._storage.changes()

    def delivery_right(self) -> DeliveryLock:
        """See ``Storage``."""
        self._check()
        return self._storage.delivery_right()

    @property
    def notice(self) -> str | None:
        """See ``Storage``."""
        return self._storage.notice

    def after_fork(self) -> None:
        """See ``Storage``."""
        self._storage.after_fork()

    def close(self) -> None:
        """Closes the store; it cannot be used through this object any longer."""
        self._closed = True
        self._storage.close()


class ClosableSharedStorage(ClosableStorage):
    """The same for a ``SharedStorage``."""

    @property
    def _shared(self) -> SharedStorage:
        return cast("SharedStorage", self._storage)

    def _may_take_account(self) -> bool:
        return not self._shared.joined

    def append(
        self, rows: Sequence[NamedTuple], committed: Callable[[], None] | None = None
    ) -> None:
        """See ``SharedStorage``."""
        if self._closed or not self._ready:
            self._check()
        self._shared.append(rows, committed)

    def waiting(self, most: int) -> int:
        """See ``SharedStorage``."""
        return self._shared.waiting(most)

    @property
    def joined(self) -> bool:
        """See ``SharedStorage``."""
        return self._shared.joined

    @property
    def lease_s(self) -> float:
        """See ``SharedStorage``."""
        return self._shared.lease_s

    @property
    def poll_s(self) -> float:
        """See ``SharedStorage``."""
        return self._shared.poll_s

    def notify(self) -> None:
        """See ``SharedStorage``."""
        if not self._closed:
            self._shared.notify()

    def listen(self, wake: Callable[[], None]) -> Closes | None:
        """See ``SharedStorage``."""
        return self._shared.listen(wake)

    def pull_right(self) -> PullRight:
        """See ``SharedStorage``."""
        return self._shared.pull_right()

    @property
    def listen_problem(self) -> str | None:
        """See ``SharedStorage``."""
        return self._shared.listen_problem

    def note_deliverer(self) -> None:
        """See ``SharedStorage``."""
        self._shared.note_deliverer()

    def deliverer_seen_s(self) -> float | None:
        """See ``SharedStorage``."""
        return self._shared.deliverer_seen_s()

    @property
    def longest_id(self) -> int:
        """See ``SharedStorage``."""
        return self._shared.longest_id

    def atomic(self) -> AbstractContextManager[None]:
        """See ``SharedStorage``."""
        return self._shared.atomic()

    def lending(self) -> AbstractContextManager[bool]:
        """See ``SharedStorage``."""
        return self._shared.lending()


def _refuse_if_sealed(tx: Reader) -> None:
    if tx.get(META, SEALED) is not None:
        raise StorageError(
            "the store is encrypted; open it as storage=EncryptedStorage(path, key=...)"
        )
