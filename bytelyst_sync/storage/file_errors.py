"""Errors that all stores in a file raise; each names the file and what to do next."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from bytelyst_sync.errors import StorageError, StorageFullError, StorageVersionError
from bytelyst_sync.storage.files import length_of

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["cannot_grow", "full_error", "newer_schema_error", "storage_errors"]

_LEAST_FREE_BYTES = 1024 * 1024
_PROBE_BYTES = 64 * 1024


def full_error(path: Path, error: object) -> StorageFullError:
    """The error for a file that cannot grow."""
    return StorageFullError(
        f"{path} cannot grow ({error}): the disk is full, or a quota or a limit on file sizes"
        " is reached. Nothing was changed: free some space and try again"
    )


def cannot_grow(path: Path, *others: Path) -> bool:
    """Whether the disk is full, or this process may not write larger files than these."""
    try:
        if shutil.disk_usage(path.parent).free < _LEAST_FREE_BYTES or _is_at_limit(path, *others):
            return True
        with TemporaryFile(dir=path.parent) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as failure:
        return failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return False


def _is_at_limit(*files: Path) -> bool:
    """Whether one of the files is about to exceed this process's limit on file sizes."""
    if resource is None:
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    return max(map(length_of, files)) + _PROBE_BYTES > limit


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raises an ``OSError`` as a ``StorageError`` with a remedy."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kind = StorageFullError if full else StorageError
        raise kind(
            f"{error.filename or path} cannot be used ({error.strerror or error}):"
            + (" free some space" if full else " check the owner of it and its directory")
            + "; nothing was lost, and the next call tries again"
        ) from error


def newer_schema_error(path: Path, stored: int, known: int) -> StorageVersionError:
    """The error for a file whose schema is of a later release."""
    return StorageVersionError(
        f"{path} was written by a newer release (schema {stored}, this one supports {known}) and is"
        " untouched: upgrade bytelyst-sync"
    )
