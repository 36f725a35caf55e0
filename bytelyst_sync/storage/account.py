"""The account that a store belongs to, and the epoch of that ownership.

One row of ``META`` holds both. The epoch grows whenever the store is wiped or gets another account,
so that an engine opened before notices it at its next transaction. A store that never had an
account has no such row.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from bytelyst_sync.errors import AccountMismatchError
from bytelyst_sync.storage.base import Reader, Table, Transaction
from bytelyst_sync.storage.schema import META, OWNER, TABLES, Meta

__all__ = ["check_account", "take_account", "wipe"]

_ROWS_AT_ONCE = 500


def check_account(tx: Reader, account: str | None) -> Meta | None:
    """The account's row; ``AccountMismatchError`` if the store belongs to another account."""
    row = tx.get(META, OWNER)
    owner = None if row is None else _read(row)[0]
    if owner is not None and owner != account:
        opened = "without an account" if account is None else f"with account={account!r}"
        raise AccountMismatchError(
            f"the store belongs to account {owner!r} and was opened {opened}: open it with"
            f" account={owner!r}, keep a store for each account (storage='app-{{account}}.db'), or"
            " have that account sign out first (sign_out)"
        )
    return row


def take_account(tx: Transaction, account: str | None) -> Meta | None:
    """Same as ``check_account``, and assigns a store without an account to this one."""
    row = check_account(tx, account)
    if account is None or (row is not None and _read(row)[0] == account):
        return row
    return _write(tx, row, account)


def wipe(tx: Transaction) -> None:
    """Deletes every row. The store then has no account, and its epoch is one higher."""
    row = tx.get(META, OWNER)
    for table in TABLES:
        _delete_all(tx, table)
    _write(tx, row, None, is_there=False)


def _delete_all(tx: Transaction, table: Table[Any]) -> None:
    while rows := list(islice(tx.scan(table, limit=_ROWS_AT_ONCE), _ROWS_AT_ONCE)):
        tx.delete(table, *rows)


def _write(
    tx: Transaction, row: Meta | None, account: str | None, *, is_there: bool = True
) -> Meta:
    epoch = 0 if row is None else _read(row)[1]
    new = Meta(OWNER, json.dumps({"account": account, "epoch": epoch + 1}))
    if row is None or not is_there:
        tx.insert(META, new)
    else:
        tx.replace(META, row, new)
    return new


def _read(row: Meta) -> tuple[str | None, int]:
    value = json.loads(row.value)
    return value["account"], value["epoch"]
