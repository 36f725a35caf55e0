"""Converts the elements of a page to rows: id, version, and record or tombstone."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs

from bytelyst_sync.errors import SyncError
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import mapping_mismatch
from bytelyst_sync.protocol.json_stream import Unreadable
from bytelyst_sync.rules.ids import problem_of
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.rules.paths import MISSING, at, describe

__all__ = ["Row", "RowReader", "SkippedRow"]

Json = dict[str, Any]


@attrs.frozen(slots=False)
class Row:
    """One record of a page; ``record=None``: it is deleted."""

    key: str
    record: Json | None
    version: str | int | None

    @cached_property
    def text(self) -> str | None:
        """The record as it is stored. Encoding a large one takes milliseconds, so it is read first
        where no lock is held.
        """
        return None if self.record is None else dumps(self.record)


@attrs.frozen
class SkippedRow:
    """An element of a page that cannot be used, and the reason.

    ``mismatch``: it does not fit the dialect. If that is so for all rows, the dialect is wrong.
    """

    reason: str
    mismatch: bool = False


class RowReader:
    """Reads the rows of one entity. Immutable; any thread may use it."""

    def __init__(self, codec: EntityCodec) -> None:
        self._codec = codec
        self._records = codec.records
        self._dialect = codec.dialect
        self._id_field = codec.entity.id_field

    def row(self, element: Any) -> Row | SkippedRow | None:
        """The row of one element; ``None`` if the dialect leaves it out."""
        value = at(element, self._dialect.item)
        try:
            record = self._codec.steps.decode(value)
        except SyncError as error:
            return SkippedRow(str(error), mismatch=True)
        if record is None and value is not None:
            return None
        if not isinstance(record, dict) and self._records.is_tombstone(element):
            record = element  # a tombstone's mark may be outside of the record's path
        skipped = self._skipped(element, record)
        if skipped is not None:
            return skipped
        key = str(record[self._id_field])
        if self._dialect.skip_ids and key.startswith(self._dialect.skip_ids):
            return None
        deleted = self._records.is_tombstone(record) or (
            element is not record and self._records.is_tombstone(element)
        )
        if deleted:
            return Row(key, None, self._records.tombstone_version(record))
        return Row(key, record, self._records.version_of(record))

    def value(self, element: Any, path: str) -> Any:
        """The value at a path of the record, else of the element."""
        try:
            value = at(self._codec.steps.decode(at(element, self._dialect.item)), path)
        except SyncError:
            return MISSING
        return at(element, path) if value is MISSING else value

    def _skipped(self, element: Any, record: Any) -> SkippedRow | None:
        for each in (element, record):
            if isinstance(each, Unreadable):
                return SkippedRow(each.reason)
        if not isinstance(record, dict) or self._id_field not in record:
            expected = f"a record with the field `{self._id_field}` (`id_field`)"
            actual = record if isinstance(record, dict) else element
            reason = mapping_mismatch("item", self._dialect.item, expected, actual)
            return SkippedRow(reason, mismatch=True)
        value = record[self._id_field]
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return SkippedRow(f"its id is {describe(value)}; a text or a whole number was expected")
        problem = problem_of(str(value))
        return None if problem is None else SkippedRow(f"its id {problem}")
