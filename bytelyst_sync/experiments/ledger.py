"""Where exposures, events and sums are kept: the port, and one in memory.

A row has a kind, a scope and a name, and a JSON value. The rules that use it are in
``receiver.py``; each call of theirs must see one consistent state, and commit all rows or none.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Protocol

__all__ = ["Ledger", "LedgerReader", "MemoryLedger", "joined", "parted"]

Json = Any


class LedgerReader(Protocol):
    """Rows of JSON. One thread uses it at a time."""

    def get(self, kind: str, scope: str, name: str) -> Json | None:
        """The value of a row, which the caller does not change; ``None`` if there is none."""
        ...

    def scan(self, kind: str, scope: str) -> Iterator[tuple[str, Json]]:
        """The names and values of a scope, in the order of the names."""
        ...

    def page(self, kind: str, after: tuple[str, str], limit: int) -> list[tuple[str, str, Json]]:
        """Scopes, names and values of a kind, in this order, after a scope and a name."""
        ...


class Ledger(LedgerReader, Protocol):
    """A ``LedgerReader`` that can also write."""

    def put(self, kind: str, scope: str, name: str, value: Json) -> None:
        """Writes a row."""
        ...

    def delete(self, kind: str, scope: str, name: str) -> None:
        """Deletes a row, if it is there."""
        ...


class MemoryLedger:
    """A ledger in memory, for tests, simulations and servers that keep their events elsewhere."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, Json]] = {}

    def get(self, kind: str, scope: str, name: str) -> Json | None:
        """As the port says."""
        return self._rows.get((kind, scope), {}).get(name)

    def put(self, kind: str, scope: str, name: str, value: Json) -> None:
        """As the port says."""
        self._rows.setdefault((kind, scope), {})[name] = value

    def scan(self, kind: str, scope: str) -> Iterator[tuple[str, Json]]:
        """As the port says."""
        yield from sorted(self._rows.get((kind, scope), {}).items())

    def page(self, kind: str, after: tuple[str, str], limit: int) -> list[tuple[str, str, Json]]:
        """As the port says."""
        names = (
            (scope, name)
            for (each, scope), rows in self._rows.items()
            if each == kind and scope >= after[0]
            for name in rows
            if (scope, name) > after
        )
        found = heapq.nsmallest(limit, names)
        return [(scope, name, self._rows[kind, scope][name]) for scope, name in found]

    def delete(self, kind: str, scope: str, name: str) -> None:
        """As the port says."""
        rows = self._rows.get((kind, scope), {})
        rows.pop(name, None)
        if not rows:
            self._rows.pop((kind, scope), None)


def joined(*parts: str) -> str:
    """Several texts as one name or scope."""
    text = "|".join(parts)
    if "\\" not in text and text.count("|") == len(parts) - 1:
        return text  # nothing to escape
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\p") for part in parts)


def parted(text: str) -> list[str]:
    """The texts of ``joined``."""
    parts = text.split("|")
    if "\\" not in text:
        return parts
    return ["\\".join(each.replace("\\p", "|") for each in part.split("\\\\")) for part in parts]
