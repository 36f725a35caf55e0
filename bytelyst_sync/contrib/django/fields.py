"""Columns and indexes that all supported databases compare and sort alike: by code point, with
case and trailing spaces.
"""

from __future__ import annotations

from typing import Any

from django.db import models

__all__ = ["ExactTextField", "KeyField", "SparseIndex"]

_MYSQL_COLLATION = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"


def _exact(connection: Any, mysql: str) -> str:
    """The type of a text column: ``mysql`` is its type there, ``text`` elsewhere."""
    if connection.vendor == "postgresql":
        return 'text COLLATE "C"'
    if connection.vendor == "mysql":
        return f"{mysql} {_MYSQL_COLLATION}"
    return "text"


class ExactTextField(models.TextField):
    """Text of any length, not indexed."""

    def db_type(self, connection: Any) -> str:
        """The column's type."""
        return _exact(connection, "longtext")


class KeyField(models.CharField):
    """Text that an index can hold: ``max_length`` characters, which the store checks."""

    def db_type(self, connection: Any) -> str:
        """The column's type."""
        return _exact(connection, f"varchar({self.max_length})")


class SparseIndex(models.Index):
    """An index without the rows that have NULL in one of ``sparse``, where a database has such."""

    def __init__(self, *expressions: Any, sparse: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(*expressions, **options)
        self.sparse = tuple(sparse)

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        """The CREATE INDEX statement."""
        if not (self.sparse and schema_editor.connection.features.supports_partial_indexes):
            return super().create_sql(model, schema_editor, using, **options)
        # not ``condition``: a database without partial indexes would then get no index at all
        partial = models.Index(
            fields=self.fields,
            name=self.name,
            condition=models.Q(**{f"{name}__isnull": False for name in self.sparse}),
        )
        return partial.create_sql(model, schema_editor, using, **options)

    def deconstruct(self) -> Any:
        """As a migration writes it."""
        path, arguments, options = super().deconstruct()
        if self.sparse:
            options["sparse"] = self.sparse
        return path, arguments, options
