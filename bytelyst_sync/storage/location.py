"""Opens the store that ``SyncConfig.storage`` names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bytelyst_sync.storage.base import Storage
from bytelyst_sync.storage.lmdb.store import LmdbStorage
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.sqlite.store import SQLiteStorage

__all__ = [
    "LMDB",
    "SQLITE",
    "account_in_path",
    "join_location",
    "open_file_store",
    "open_storage",
    "split_location",
    "store_kind",
    "store_path",
]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)
SQLITE, LMDB = "sqlite", "lmdb"
_KINDS: dict[str, Callable[[str | os.PathLike[str], str], Storage]] = {
    SQLITE: SQLiteStorage,
    LMDB: LmdbStorage,
}
_LONGEST, _KEPT = 120, 60


def open_storage(setting: Any, *, durability: str, account: str | None) -> Storage:
    """The store for ``SyncConfig.storage``. A path is resolved now; the file is opened at its first
    use.
    """
    if not isinstance(setting, (str, os.PathLike)):
        storage: Storage = setting
        return storage
    path = os.fspath(setting)
    if path == ":memory:":
        return MemoryStorage()
    if account is not None:
        path = path.replace("{account}", account_in_path(account))
    return open_file_store(*split_location(path), durability)


def open_file_store(kind: str, path: str | os.PathLike[str], durability: str) -> Storage:
    """A store of this kind in the file."""
    return _KINDS[kind](path, durability)


def split_location(text: str) -> tuple[str, str]:
    """The kind of store, ``SQLITE`` or ``LMDB``, and the path that the text names."""
    kind, colon, path = text.partition(":")
    if colon and kind == LMDB:
        return LMDB, path
    return SQLITE, text


def join_location(kind: str, path: str | os.PathLike[str]) -> str:
    """The text that names this kind of store in the file."""
    return os.fspath(path) if kind == SQLITE else f"{kind}:{os.fspath(path)}"


def store_kind(storage: Any) -> str:
    """The kind of an open store in a file; ``SQLITE`` for any other one."""
    kind: str = getattr(storage, "kind", SQLITE)
    return kind


def store_path(storage: Any) -> Path | None:
    """The file of an open store; ``None`` if it is no file."""
    path: Path | None = getattr(storage, "path", None)
    return path


def account_in_path(account: str) -> str:
    """An account's name, encoded as a part of a path.

    Different names give different parts, also on file systems that ignore case or Unicode normal
    forms: all characters but ``a-z``, ``0-9``, ``-`` and ``_`` are written as ``=`` and hexadecimal
    digits. A long name is cut and ends with a digest.
    """
    encoded = "".join(
        each if each in _PLAIN else "".join(f"={byte:02x}" for byte in each.encode("utf-8"))
        for each in account
    )
    if encoded in _DEVICES:
        encoded = f"={ord(encoded[0]):02x}{encoded[1:]}"  # device names on Windows
    if len(encoded) > _LONGEST:
        digest = hashlib.sha256(account.encode("utf-8")).hexdigest()[:32]
        encoded = f"{encoded[:_KEPT]}=={digest}"
    return encoded
