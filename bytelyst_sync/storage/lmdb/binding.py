"""Imports LMDB's Python binding, the package ``lmdb``, at the first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["load_lmdb"]


def load_lmdb() -> ModuleType:
    """The package ``lmdb``; ``ImportError`` that names the extra if it is missing or too old."""
    try:
        import lmdb  # noqa: PLC0415 - an optional extra
        import lmdb.verify  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            'LmdbStorage needs the extra "lmdb" (version 3 or newer of the package lmdb):'
            ' pip install "bytelyst-sync[lmdb]"'
        ) from error
    return lmdb
