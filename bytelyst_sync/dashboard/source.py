"""The data of the pages: the store, and the engine's status where this process delivers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from bytelyst_sync.config.entity import Entities
from bytelyst_sync.engine import SyncEngine, core_of
from bytelyst_sync.engine_core import EngineCore
from bytelyst_sync.inspection.doctor_context import DoctorContext
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.snapshot import Snapshot, take_snapshot
from bytelyst_sync.model import SyncStatusInfo
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.storage.location import store_kind, store_path
from bytelyst_sync.storage.schema import ITEMS

__all__ = ["Source"]

T = TypeVar("T")
_NO_FILE = Path(":memory:")


class Source:
    """One engine and its store.

    ``beside``: another program uses the store, and this engine only looks at it. Then the engine's
    own status and counts say nothing about that program.
    """

    def __init__(
        self, engine: SyncEngine, *, beside: bool = False, settings: Settings | None = None
    ) -> None:
        self.engine = engine
        self.beside = beside
        self.core: EngineCore = core_of(engine)
        path = store_path(self.core.storage)
        self.settings = settings or Settings(
            engine.config,
            path or _NO_FILE,
            None,
            {},
            program="the program",
            kind=store_kind(self.core.storage),
            in_file=path is not None,
        )
        self.name = "memory" if path is None else path.name
        """Names the store for people."""

    @property
    def entities(self) -> Entities:
        """The configured entities."""
        return self.core.entities

    @property
    def is_shared(self) -> bool:
        """Whether many machines share the store."""
        return self.core.running().inbox is not None

    @property
    def storage(self) -> Storage:
        """The store."""
        return self.core.running().storage

    def read(self, work: Callable[[Reader], T]) -> T:
        """Runs ``work`` on one consistent view of the store."""
        return self.storage.read(work)

    def snapshot(self) -> Snapshot:
        """The numbers of the store."""
        return self.read(partial(take_snapshot, settings=self.settings))

    def info(self) -> SyncStatusInfo | None:
        """The engine's status; ``None``: another program has it."""
        return None if self.beside else self.engine.status

    def doctor(self) -> DoctorContext:
        """The context of the checks of ``doctor``."""
        return DoctorContext(self.settings, storage=self.storage)

    def token(self) -> str:
        """A text that changes whenever the store or the engine's status changes."""
        counts = self.read(lambda tx: (tx.last_number(), sorted(tx.counts(ITEMS).items())))
        parts = (
            self.storage.changes(),
            counts,
            self.storage.notice,
            self._engine_state(),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def _engine_state(self) -> object:
        if self.beside:
            return None
        stats, info = self.engine.stats(), self.engine.status
        retry = None if info.next_retry is None else info.next_retry.replace(microsecond=0)
        counts = stats.pushed, stats.retried, stats.delivered, stats.pulled
        return attrs.evolve(info, next_retry=retry), counts
