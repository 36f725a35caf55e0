"""Translates LMDB's errors to the package's; each names the file and what to do next."""

from __future__ import annotations

import errno
from pathlib import Path

from bytelyst_sync.errors import StorageCorruptError, StorageError
from bytelyst_sync.storage.file_errors import cannot_grow, full_error
from bytelyst_sync.storage.lmdb.binding import load_lmdb

__all__ = ["DamagedError", "is_damage", "translate_error"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class DamagedError(Exception):
    """The file contradicts itself: it is damaged."""


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file is damaged."""
    lmdb = load_lmdb()
    kinds = (
        DamagedError,
        lmdb.CorruptedError,
        lmdb.PageNotFoundError,
        lmdb.InvalidError,
        lmdb.VersionMismatchError,
        lmdb.BadTxnError,
    )
    return isinstance(error, kinds)


def translate_error(error: BaseException, path: Path) -> StorageError:
    """A ``StorageError`` for LMDB's error; the caller sets ``__cause__``."""
    lmdb = load_lmdb()
    code = _code_of(error)
    if code in _FULL or (code == errno.EIO and cannot_grow(path)):
        return full_error(path, error)
    if is_damage(error):
        return StorageCorruptError(
            f"{path} is damaged and could not be set aside; move it away by hand"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StorageError(
            f"{path} is read by as many threads and processes as it allows; close some of them"
        )
    if code in _DENIED:
        return StorageError(
            f"{path} cannot be opened for writing ({error}): check the owner and the mode of the"
            f" file and of {path.parent}, where LMDB keeps a file beside it"
        )
    return StorageError(
        f"{path}: {error}; check the disk and the system's log. The change may be stored"
        " or not: look at queue() before you push it again"
    )


def _code_of(error: BaseException) -> int:
    return int(getattr(error, "code", 0))
