"""A table model of an entity's records, live.

All of it runs on the thread of the user interface. A refresh reads the query anew from the local
view and changes only the rows that differ, so that selections and scroll positions stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bytelyst_sync.contrib.qt.binding import QtCore
from bytelyst_sync.contrib.qt.signals import EngineSignals
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.model import RecordView

__all__ = ["RecordsModel"]

_Role = QtCore.Qt.ItemDataRole
_MANY = 500
"""If more rows than this come, go or move at once, the whole table is announced as new."""


class RecordsModel(QtCore.QAbstractTableModel):  # type: ignore[misc]  # chosen at run time
    """The records of ``engine.records(entity, where, order_by, limit)``, kept up to date.

    ``columns`` are fields, or a dict of fields to headings. ``RecordRole`` gives the whole record,
    ``StateRole`` its state (``synced``, ``pending``, ``sending``, ``failed``, ``conflict``). With
    ``editable=True`` an edited cell is pushed as an update of that field.
    """

    RecordRole = int(_Role.UserRole)
    StateRole = RecordRole + 1

    # eight arguments: those of ``engine.records``, and the parent of every Qt object
    def __init__(
        self,
        engine: SyncEngine,
        entity: str,
        columns: Sequence[str] | Mapping[str, str],
        where: Any = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        *,
        editable: bool = False,
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.engine, self.entity = engine, entity
        self.fields = list(columns)
        self.headings = list(columns.values()) if isinstance(columns, Mapping) else self.fields
        self._where, self._order_by, self._limit = where, order_by, limit
        self._editable = editable
        self._id_field = engine.config.entities[entity].id_field
        self._rows = self._read()
        self._signals = EngineSignals(engine, entity, parent=self)
        self._signals.refreshed.connect(self.refresh)

    # --- the query

    def set_query(
        self,
        where: Any = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        """Shows another query of the entity."""
        self._where, self._order_by, self._limit = where, order_by, limit
        self.refresh()

    def refresh(self) -> None:
        """Reads the query anew and announces what differs."""
        try:
            new = self._read()
        except EngineClosedError:
            return  # the last rows stay
        before = {self._id(view): view for view in self._rows}
        ids = list(map(self._id, new))
        if not self._step_to(ids, new):
            self.beginResetModel()
            self._rows = new
            self.endResetModel()
            return
        self._rows = new
        last = max(0, len(self.fields) - 1)
        for row, (id_, view) in enumerate(zip(ids, new, strict=True)):
            if before.get(id_, view) != view:
                self.dataChanged.emit(self.index(row, 0), self.index(row, last))

    def _read(self) -> list[RecordView]:
        return list(self.engine.record_views(self.entity, self._where, self._order_by, self._limit))

    def _step_to(self, ids: list[str], new: list[RecordView]) -> bool:
        """Removes, inserts and moves rows until they are those; false if it takes too many steps.

        A row that went down is removed above and inserted below.
        """
        rows = self._rows = list(self._rows)
        here = list(map(self._id, rows))
        gone = set(here) - set(ids)
        if len(gone) > _MANY:
            return False
        for row in reversed([row for row, id_ in enumerate(here) if id_ in gone]):
            self._remove(row, here)
        steps = 0
        for row, id_ in enumerate(ids):
            if row < len(here) and here[row] == id_:
                continue
            steps += 1
            if steps > _MANY:
                return False
            if here[row + 1 : row + 2] == [id_]:
                self._remove(row, here)
            elif id_ in here:
                self._move(here.index(id_), row, here)
            else:
                self.beginInsertRows(QtCore.QModelIndex(), row, row)
                rows.insert(row, new[row])
                here.insert(row, id_)
                self.endInsertRows()
        return True

    def _remove(self, row: int, here: list[str]) -> None:
        self.beginRemoveRows(QtCore.QModelIndex(), row, row)
        del self._rows[row], here[row]
        self.endRemoveRows()

    def _move(self, source: int, row: int, here: list[str]) -> None:
        root = QtCore.QModelIndex()
        self.beginMoveRows(root, source, source, root, row)
        self._rows.insert(row, self._rows.pop(source))
        here.insert(row, here.pop(source))
        self.endMoveRows()

    def _id(self, view: RecordView) -> str:
        return str(view.data[self._id_field])

    # --- what views and delegates ask

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802 - Qt's name
        """How many records there are."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802 - Qt's name
        """How many fields are shown."""
        return 0 if parent is not None and parent.isValid() else len(self.fields)

    def data(self, index: Any, role: int = _Role.DisplayRole) -> Any:
        """A cell; a missing or null field is an empty text."""
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        view = self._rows[index.row()]
        if role == self.RecordRole:
            return view.data
        if role == self.StateRole:
            return view.state
        if role not in (_Role.DisplayRole, _Role.EditRole):
            return None
        value = view.data.get(self.fields[index.column()])
        if role == _Role.EditRole:
            return value
        return (
            "" if value is None else value if isinstance(value, (bool, int, float)) else str(value)
        )

    def headerData(self, section: int, orientation: Any, role: int = _Role.DisplayRole) -> Any:  # noqa: N802 - Qt's name
        """The headings of the columns."""
        if orientation != QtCore.Qt.Orientation.Horizontal or role != _Role.DisplayRole:
            return None
        return self.headings[section] if section < len(self.headings) else None

    def flags(self, index: Any) -> Any:
        """Cells can be edited if the model is editable; the id never."""
        flags = super().flags(index)
        if self._editable and index.isValid() and self.fields[index.column()] != self._id_field:
            flags |= QtCore.Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Any, value: Any, role: int = _Role.EditRole) -> bool:  # noqa: N802 - Qt's name
        """Pushes an update of one field. Raises what ``engine.push`` raises."""
        if role != _Role.EditRole or not index.isValid() or not self._editable:
            return False
        record = self.record(index.row())
        field = self.fields[index.column()]
        if record.get(field) != value:
            data = {self._id_field: record[self._id_field], field: value}
            self.engine.push(self.entity, data, "update")
            self.refresh()
        return True

    # --- rows

    def record(self, row: int) -> dict[str, Any]:
        """The record of a row."""
        return dict(self._rows[row].data)

    def row_of(self, record_id: str | int) -> int | None:
        """The row that shows a record."""
        wanted = str(record_id)
        return next((row for row, view in enumerate(self._rows) if self._id(view) == wanted), None)
