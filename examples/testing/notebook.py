"""A small program that works offline: a notebook. ``test_notebook.py`` shows how it is tested."""

from __future__ import annotations

from typing import Any

from bytelyst_sync import EntityConfig, MemoryStorage, SyncConfig, SyncEngine

CONFIG = SyncConfig(
    base_url="https://api.example.com",
    entities={"notes": EntityConfig("/notes", conflict="merge")},
    storage="notebook.db",
)


class Notebook:
    """Notes that can be written anywhere, and are delivered when the network is there."""

    def __init__(self, engine: SyncEngine) -> None:
        self._engine = engine

    def write(self, title: str) -> str:
        """Keep a new note; returns its id."""
        item = self._engine.push("notes", {"title": title, "done": False})
        assert item is not None, "a create is never cancelled at once"
        return item.record_id

    def tick_off(self, note: str) -> None:
        """Mark a note as done."""
        self._engine.push("notes", {"id": note, "done": True}, "update")

    def to_do(self) -> list[str]:
        """The titles of what is not done, online or not."""
        return [note["title"] for note in self._engine.records("notes", where={"done": False})]

    def sync(self) -> str:
        """Deliver, fetch, and say in a word how that went."""
        result = self._engine.full_sync(timeout=10)
        if result.offline:
            return f"offline, {result.remaining} to be delivered"
        return "all is delivered" if result.success else "there was trouble"


class CountingStorage(MemoryStorage):
    """A store of one's own: it counts its commits."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0

    def write(self, work: Any, then: Any = None) -> Any:
        """Run one transaction."""
        result = super().write(work, then)
        self.commits += 1
        return result
