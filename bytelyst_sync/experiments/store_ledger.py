"""The ledger of experiments in the engine's own store, within one of its transactions.

Each exposure and each conversion changes the number of the device's events, and some sums. In rows
of their own, these would be two or more pages of the database to write. So the row of the device
(``self``) also holds the sums that changed last, by phase, and the start of each such phase. When
there are too many, all of them are moved to rows of their own (``sums``). A sum that the row of the
device does not have is read from its own row. The row of the device never has sums of a closed
phase, so a phase that is found there is open. A store without a row of the device keeps each sum in
a row of its own, as earlier versions did.

The row of an exposure omits empty fields, and the device if it is this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from types import TracebackType
from typing import Any, final

from bytelyst_sync.experiments.events import EXPOSURE
from bytelyst_sync.experiments.ledger import joined, parted
from bytelyst_sync.rules.json_text import dumps, encode_plain
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import EXPERIMENT_ROWS, ExperimentRow

__all__ = ["StoreLedger", "StoreReader"]

Json = Any
_MOST_SUMS = 24
"""Sums in the row of the device: with more of them it would be slow to read and to write."""
_FEW = 16
"""Rows that are read at once: most units have fewer events."""
_SUMS, _PHASE, _CLOSED, _DEVICE = "sums", "phase", "closed", "self"
_IN_DEVICE = frozenset({_SUMS, _PHASE, _CLOSED, _DEVICE})
"""The kinds of which the row of the device knows something."""
_decode = json.JSONDecoder().decode  # a sum is a float: the text of its number is not needed


class StoreReader:
    """The part of the port that reads."""

    def __init__(self, tx: Reader) -> None:
        self._tx = tx
        self._rows: dict[tuple[str, str, str], ExperimentRow | None] = {}
        """What was read and written so far: a row is often read, and then replaced."""
        self._own: dict[str, Json] | None = None
        """The row of the device without its sums, once it was read; empty if there is none."""
        self._recent: dict[str, dict[str, Json]] = {}
        """The sums in the row of the device: ``start`` and ``sums`` of a phase, by its scope."""

    def row(self, kind: str, scope: str, name: str) -> ExperimentRow | None:
        """The row as the store has it."""
        key = (kind, scope, name)
        if key not in self._rows:
            self._rows[key] = self._tx.get(EXPERIMENT_ROWS, kind, scope, name)
        return self._rows[key]

    def get(self, kind: str, scope: str, name: str) -> Json | None:
        """As the port says."""
        if kind in _IN_DEVICE:
            own = self._device() if self._own is None else self._own
            if kind == _DEVICE:
                return own or None
            phase = self._recent.get(joined(scope, name) if kind == _PHASE else scope)
            if phase is not None:
                if kind == _CLOSED:
                    return None
                if kind == _PHASE:
                    return phase["start"]
                if name in phase["sums"]:
                    return phase["sums"][name]
        row = self.row(kind, scope, name)
        return None if row is None else self._value(row)

    def scan(self, kind: str, scope: str) -> Iterator[tuple[str, Json]]:
        """As the port says."""
        prefix = (kind, scope)
        rows = list(self._tx.scan(EXPERIMENT_ROWS, prefix=prefix, limit=_FEW))
        rest: Iterable[ExperimentRow] = ()
        if len(rows) == _FEW:
            rest = self._tx.scan(EXPERIMENT_ROWS, prefix=prefix, after=(rows[-1].name,))
        found = ((row.name, self._value(row)) for row in chain(rows, rest))
        if kind == _SUMS and self._device() and scope in self._recent:
            yield from sorted({**dict(found), **self._recent[scope]["sums"]}.items())
        else:
            yield from found

    def page(self, kind: str, after: tuple[str, str], limit: int) -> list[tuple[str, str, Json]]:
        """As the port says, for other kinds than sums."""
        rows = self._tx.scan(EXPERIMENT_ROWS, prefix=(kind,), after=after, limit=limit)
        return [(row.scope, row.name, self._value(row)) for row in rows]

    def _value(self, row: ExperimentRow) -> Json:
        value = _decode(row.value)
        if row.kind == EXPOSURE:
            return {"device": self._device().get("id"), "segment": {}, "tallies": {}, **value}
        return value

    def _device(self) -> dict[str, Json]:
        if self._own is None:
            row = self.row(_DEVICE, "", "")
            self._own = {} if row is None else _decode(row.value)
            self._recent = self._own.pop("recent", {})
        return self._own


@final
class StoreLedger(StoreReader):
    """The whole port, to be used in ``with``: at its end, the row of the device is written."""

    _tx: Transaction

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx)
        self._changed = False
        """Whether the row of the device is to be written."""

    def __enter__(self) -> StoreLedger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._changed:
            self._changed = False
            self._write(_DEVICE, "", "", {**self._device(), "recent": self._recent})

    def put(self, kind: str, scope: str, name: str, value: Json) -> None:
        """As the port says."""
        if kind == _DEVICE:
            self._device()
            self._own, self._changed = value, True
        elif kind == _SUMS and self._put_recent(scope, name, value):
            self._changed = True
        else:
            if kind == _CLOSED and self._device() and scope in self._recent:
                self._move_sums()
            elif kind == EXPOSURE:
                value = self._short(value)
            self._write(kind, scope, name, value)

    def _short(self, exposure: dict[str, Json]) -> dict[str, Json]:
        """An exposure without what ``_value`` adds."""
        own = self._device().get("id")
        return {
            name: each
            for name, each in exposure.items()
            if each != {} and (name != "device" or each != own)
        }

    def _put_recent(self, scope: str, name: str, value: Json) -> bool:
        """Puts a sum into the row of the device; false if it needs a row of its own."""
        self._device()
        phase = self._recent.get(scope)
        if phase is None or name not in phase["sums"]:
            if sum(len(each["sums"]) for each in self._recent.values()) >= _MOST_SUMS:
                self._move_sums()
                phase = None
            if phase is None:
                phase = self._admitted(scope)
                if phase is None:
                    return False
                self._recent[scope] = phase
        phase["sums"][name] = value
        return True

    def _admitted(self, scope: str) -> dict[str, Json] | None:
        """An entry for a phase in the row of the device. ``None`` if there is no such row, or if
        the phase is closed or not known.
        """
        names = parted(scope)
        if not self._own or len(names) != 2 or self.row(_CLOSED, scope, "") is not None:
            return None
        start = self.row(_PHASE, *names)
        return None if start is None else {"start": _decode(start.value), "sums": {}}

    def _move_sums(self) -> None:
        """Moves all sums from the row of the device to rows of their own."""
        for scope, phase in self._recent.items():
            for name, value in phase["sums"].items():
                self._write(_SUMS, scope, name, value)
        self._recent, self._changed = {}, True

    def _write(self, kind: str, scope: str, name: str, value: Json) -> None:
        before = self.row(kind, scope, name)
        text = encode_plain(value)
        after = ExperimentRow(kind, scope, name, text if text.isascii() else dumps(value))
        if before is None:
            self._tx.insert(EXPERIMENT_ROWS, after)
        else:
            self._tx.replace(EXPERIMENT_ROWS, before, after)
        self._rows[kind, scope, name] = after

    def delete(self, kind: str, scope: str, name: str) -> None:
        """As the port says."""
        before = self.row(kind, scope, name)
        if before is not None:
            self._tx.delete(EXPERIMENT_ROWS, before)
            self._rows[kind, scope, name] = None
