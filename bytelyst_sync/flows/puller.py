"""Pull: pages fetched, applied, and committed with their cursor (SPEC §6).

Who owns what: a pull runs in the thread that asks for it; ``_guards`` has one lock per entity, so
that one pull of an entity runs at a time in this engine. Between engines the stored cursor
decides: a page is committed only if the cursor it was fetched with is still the stored one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from bytelyst_sync.clock import FOREVER_S, Clock
from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.errors import (
    AuthError,
    EngineClosedError,
    OfflineError,
    StorageError,
    SyncError,
    TransportError,
)
from bytelyst_sync.flows.sender import Sender
from bytelyst_sync.rules.cursors import went_back
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.cursors import Stored, load, store, stored_at
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.sweep import sweep_page
from bytelyst_sync.storage.base import Reader, Storage, Transaction
from bytelyst_sync.storage.schema import RECORDS
from bytelyst_sync.transport.answers import hear
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.paging import Page, Pager, Position, Route, Row

__all__ = ["Pulled", "Puller"]

logger = logging.getLogger("bytelyst_sync.puller")

_ROWS_PER_COMMIT = 1000
_PASSES = 10
"""How often a listing is repeated whose rows keep moving, before the next pull goes on."""
_EXPIRED = 410


@attrs.define
class Pulled:
    """What a pull did."""

    pulled: int = 0
    conflicts: int = 0
    errors: int = 0
    offline: bool = False
    left: list[str] = attrs.field(factory=list)
    """Entities whose pull was interrupted; the next one goes on."""
    sighted: int = 0
    """Records that a listing of everything brought for the first time."""

    def count(self, effects: Effects) -> None:
        """Adds what a commit did."""
        self.pulled += effects.pulled
        self.conflicts += effects.conflicts
        self.sighted += effects.sighted


class Note(Protocol):
    """Takes down what a pull ran into; ``passing``: until all is well again."""

    def __call__(self, message: str, *, passing: bool = True) -> None: ...


class _InterruptedError(Exception):
    """There is something more urgent to do."""


class _OvertakenError(Exception):
    """Another process has moved the cursor."""


class Puller:
    """Brings in what others changed."""

    def __init__(
        self,
        *,
        storage: Storage,
        entities: Entities,
        mappers: Mapping[str, Mapper],
        sender: Sender,
        arrivals: Arrivals,
        publish: Callable[[Effects], None],
        new_effects: Callable[[], Effects],
        clock: Clock,
        note: Note,
        heard: Callable[[bool], None],
        refused: Callable[[], None],
        interrupted: Callable[[], bool],
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._pagers = {name: Pager(mapper) for name, mapper in mappers.items()}
        self._sender = sender
        self._arrivals = arrivals
        self._publish = publish
        self._new_effects = new_effects
        self._clock = clock
        self._note = note
        self._heard = heard
        self._refused = refused
        self._interrupted = interrupted
        self._guards = {name: threading.Lock() for name in entities}

    def pull(
        self,
        names: list[str],
        deadline: float,
        *,
        full: bool = False,
        background: bool = False,
    ) -> Pulled:
        """Pulls these entities one after the other; one that fails does not stop the others.

        One in the ``background`` waits for no other, and gives way to what is more urgent; what
        was left then is named in the result.
        """
        done = Pulled()
        interrupted = self._interrupted if background else _never
        for name in names:
            entity = self._entities[name]
            if not entity.replica:
                continue
            left = max(0.0, min(deadline - self._clock.monotonic(), FOREVER_S))
            if not self._guards[name].acquire(timeout=0 if background else left):
                if background:
                    continue  # somebody is at it
                self._fail(done, f"{name}: another pull of it did not end in time")
                continue
            try:
                self._pull_entity(entity, deadline, done, interrupted, full=full)
                self._heard(True)
            except (StorageError, EngineClosedError):
                raise
            except _InterruptedError:
                done.left.append(name)
            except AuthError as error:
                self._refused()
                self._fail(done, str(error))
            except OfflineError as error:
                done.offline = True
                self._heard(False)
                self._fail(done, str(error))
            except SyncError as error:
                # what the server said may quote a payload: it is kept, and not logged
                status = "" if error.status is None else f", HTTP {error.status}"
                logger.warning("a pull of %s failed (%s%s)", name, type(error).__name__, status)
                self._fail(done, str(error))
            finally:
                self._guards[name].release()
        return done

    def _fail(self, done: Pulled, message: str) -> None:
        done.errors += 1
        self._note(message)

    # --- one entity

    def _pull_entity(
        self,
        entity: Entity,
        deadline: float,
        done: Pulled,
        interrupted: Callable[[], bool],
        *,
        full: bool,
    ) -> None:
        stored = self._begin(entity, anew=full)
        pager = self._pagers[entity.name]
        try:
            for _ in range(_PASSES):
                before = attrs.evolve(done)
                stored, cursor, pages = self._pass(
                    entity, pager, stored, deadline, done, interrupted
                )
                if not pager.restless(pages) or self._quiet(entity, stored, before, done):
                    self._finish(entity, stored, cursor, done)
                    return
            raise TransportError(
                f"{entity.name}: rows kept moving between the pages; the next pull goes on",
                entity=entity.name,
            )
        except _OvertakenError:
            logger.debug("another process is pulling %s", entity.name)

    def _pass(
        self,
        entity: Entity,
        pager: Pager,
        stored: Stored,
        deadline: float,
        done: Pulled,
        interrupted: Callable[[], bool],
    ) -> tuple[Stored, str | None, int]:
        """All pages once; what is stored by then, the cursor and the number that they amount to."""
        cursor = stored.cursor
        pages = 0
        position: Position | None = Position(cursor)
        route = Route(entity.name)
        while position is not None:
            if interrupted():
                raise _InterruptedError
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise TransportError(
                    f"{entity.name}: the pull was not through in time; the next one goes on",
                    entity=entity.name,
                )
            began = self._storage.read(lambda tx: tx.last_number())
            response = self._sender.fetch(pager.request(position).within(left))
            expired = response.status == _EXPIRED and position.cursor is not None
            page = None if expired else pager.page(position, hear(response))
            if page is None or (stored.full is None and went_back(stored.cursor, page.cursor)):
                why = "its cursor has expired" if expired else "the server was wiped or restored"
                self._note(f"{entity.name}: {why}; all of it is pulled anew", passing=expired)
                stored = self._begin(entity, anew=True)
                cursor, position = None, Position(None)
                route.begin_anew()
                continue
            route.take(page)
            cursor = page.cursor if page.cursor is not None else cursor
            pages += 1
            storable = page.resumable or (page.next is None and not pager.restless(pages))
            stored = self._apply(entity, stored, page, began, done, cursor if storable else None)
            position = page.next
        return stored, cursor, pages

    def _quiet(self, entity: Entity, stored: Stored, before: Pulled, after: Pulled) -> bool:
        """Whether a pass brought nothing new, and no row that is held may have slipped by it."""
        if (after.pulled, after.conflicts) != (before.pulled, before.conflicts):
            return False
        if stored.full is None or after.sighted == before.sighted:
            return True
        full = stored.full
        return not self._storage.read(lambda tx: _any_unseen(tx, entity, full))

    def _apply(
        self,
        entity: Entity,
        stored: Stored,
        page: Page,
        began: int,
        done: Pulled,
        cursor: str | None,
    ) -> Stored:
        """Commits a page; its last rows with the cursor, if it may be stored by now."""
        rows = page.rows
        for start in range(0, max(len(rows), 1), _ROWS_PER_COMMIT):
            chunk = rows[start : start + _ROWS_PER_COMMIT]
            follow = stored
            if cursor is not None and start + _ROWS_PER_COMMIT >= len(rows):
                follow = stored_at(cursor, stored.full)
            effects = self._commit_rows(entity, stored, follow, chunk, began)
            stored = follow
            self._tell(effects, done)
        return stored

    def _finish(self, entity: Entity, stored: Stored, cursor: str | None, done: Pulled) -> None:
        """Stores the cursor if that is still to be done; sweeps after a listing of everything."""
        if cursor != stored.cursor:
            follow = stored_at(cursor, stored.full)
            self._commit_rows(entity, stored, follow, [], 0)
            stored = follow
        if stored.full is not None:
            self._sweep(entity, stored, done)

    def _commit_rows(
        self, entity: Entity, stored: Stored, follow: Stored, rows: list[Row], began: int
    ) -> Effects:
        def work(tx: Transaction) -> Effects:
            effects = self._new_effects()
            now = self._clock.wall()
            self._check(tx, entity, stored)
            effects.pulled += self._arrivals.arrive_together(
                tx, entity, rows, began=began, effects=effects, now=now, seen=stored.full
            )
            if follow.text != stored.text:
                store(tx, entity, follow)
            return effects

        return self._storage.write(work)

    def _sweep(self, entity: Entity, stored: Stored, done: Pulled) -> None:
        """After a full listing: what it did not bring is gone."""
        full = stored.full or 0
        if self._storage.read(lambda tx: _all_unseen(tx, entity, full)):
            self._note(
                f"{entity.name}: the server holds nothing any more; was it wiped?", passing=False
            )
        after: str | None = None
        while True:
            bound = after

            def work(tx: Transaction, bound: str | None = bound) -> tuple[Effects, str | None]:
                effects = self._new_effects()
                self._check(tx, entity, stored)
                now = self._clock.wall()
                end = sweep_page(tx, entity, self._arrivals, full, bound, effects, now)
                if end is None:
                    store(tx, entity, stored_at(stored.cursor, None))
                return effects, end

            effects, after = self._storage.write(work)
            self._tell(effects, done)
            if after is None:
                return

    def _tell(self, effects: Effects, done: Pulled) -> None:
        done.count(effects)
        self._publish(effects)

    # --- the stored cursor

    def _begin(self, entity: Entity, *, anew: bool) -> Stored:
        """What is stored; a listing of everything is begun where there is no cursor, or anew."""

        def work(tx: Transaction) -> Stored:
            stored = load(tx, entity)
            if stored.begun and not anew:
                return stored
            stored = stored_at(None, tx.next_number())
            store(tx, entity, stored)
            return stored

        stored = self._storage.read(lambda tx: load(tx, entity))
        return stored if stored.begun and not anew else self._storage.write(work)

    def _check(self, tx: Reader, entity: Entity, stored: Stored) -> None:
        if load(tx, entity).text != stored.text:
            raise _OvertakenError


def _never() -> bool:
    return False


def _any_unseen(tx: Reader, entity: Entity, full: int) -> bool:
    """Whether records are held that the listing did not bring."""
    return any(
        row.seen != full and row.stamp <= full and row.state is not None
        for row in tx.scan(RECORDS, None, (entity.name,))
    )


def _all_unseen(tx: Reader, entity: Entity, full: int) -> bool:
    """Whether records are held, and the listing brought none of them."""
    held = False
    for row in tx.scan(RECORDS, None, (entity.name,)):
        if row.seen == full:
            return False
        held = held or (row.state is not None and row.stamp <= full)
    return held
