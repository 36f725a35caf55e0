"""Checks that a file contains only tables and indexes as this package creates them.

A file from somebody else may contain views in place of tables, triggers, generated columns or
constraints: SQL that runs when the tables are used. The package's own schema contains no expression
but ``IS NOT NULL`` in indexes, and nothing else is accepted.
"""

from __future__ import annotations

import re
import sqlite3

__all__ = ["plain_tables", "unexpected_objects"]

_WORD = r'"?\w+"?'
_COLUMN = (
    rf"{_WORD}(?: (?:INTEGER|TEXT) PRIMARY KEY)?(?: NOT NULL)?(?: DEFAULT -?\d+)?"
    rf"|PRIMARY KEY ?\({_WORD}(?:, ?{_WORD})*\)"
)
_TABLE = re.compile(
    rf"CREATE TABLE {_WORD} ?\((?:{_COLUMN})(?:, ?(?:{_COLUMN}))*\)(?: WITHOUT ROWID)?"
)
_INDEX = re.compile(
    rf"CREATE INDEX {_WORD} ON {_WORD} ?\({_WORD}(?:, ?{_WORD})*\)"
    rf"(?: WHERE {_WORD} IS NOT NULL(?: AND {_WORD} IS NOT NULL)*)?"
)
_PATTERNS = {"table": _TABLE, "index": _INDEX}
_LONGEST = 10_000


def unexpected_objects(connection: sqlite3.Connection) -> list[str]:
    """Kind and name of each object in the file that this package does not create."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return [f"{kind} {name}" for kind, name, sql in rows if not _is_plain(kind, name, sql)]


def plain_tables(connection: sqlite3.Connection) -> set[str]:
    """The names of the tables that can be read without running SQL from the file."""
    text = "SELECT type, name, sql FROM sqlite_master WHERE type='table'"
    rows = connection.execute(text).fetchall()
    return {name for kind, name, sql in rows if _is_plain(kind, name, sql)}


def _is_plain(kind: object, name: object, sql: object) -> bool:
    if isinstance(name, str) and name.startswith(("sqlite_stat", "sqlite_autoindex_")):
        return True  # created by ANALYZE, or for a primary key
    if not isinstance(sql, str) or len(sql) > _LONGEST:
        return False
    pattern = _PATTERNS.get(str(kind))
    return pattern is not None and pattern.fullmatch(sql) is not None
