"""Pull: pages fetched, applied, and committed with their cursor (SPEC §6).

Who owns what: a pull runs in the thread that asks for it; ``_guards`` has one lock per entity, so
that one pull of an entity runs at a time in this engine. Between engines the stored cursor
decides: a page is committed only if the cursor it was fetched with is still the stored one.
``_lock`` guards the wishes that other threads leave for the worker.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from bytelyst_sync.arrivals import Arrivals
from bytelyst_sync.clock import Clock
from bytelyst_sync.effects import Effects
from bytelyst_sync.entity import Entities, Entity
from bytelyst_sync.errors import OfflineError, StorageError, SyncError, TransportError
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.sender import Sender
from bytelyst_sync.storage.base import Reader, Storage, Transaction
from bytelyst_sync.storage.schema import META, RECORDS, Meta
from bytelyst_sync.sweep import sweep_page
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.paging import Page, Pager, Position, Row, went_back

__all__ = ["Pulled", "Puller"]

logger = logging.getLogger("bytelyst_sync.puller")

_ROWS_PER_COMMIT = 1000
_ROUNDS = 10
_EXPIRED = 410
_STALE_AT_ONCE = 20
_STALE_RETRY_S = 5.0


@attrs.define
class Pulled:
    """What a pull did."""

    pulled: int = 0
    conflicts: int = 0
    errors: int = 0
    offline: bool = False

    def count(self, effects: Effects) -> None:
        """Adds what a commit did."""
        self.pulled += effects.pulled
        self.conflicts += effects.conflicts


@attrs.frozen
class Stored:
    """What the store knows of an entity's pull. ``full`` is the number at which the listing that
    is under way began, ``None`` between listings.
    """

    cursor: str | None = None
    full: int | None = None
    text: str | None = None

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return self.cursor is not None or self.full is not None


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
        interval: float | None,
        note: Callable[[str | None], None],
        heard: Callable[[bool], None],
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._mappers = mappers
        self._pagers = {name: Pager(mapper) for name, mapper in mappers.items()}
        self._sender = sender
        self._arrivals = arrivals
        self._publish = publish
        self._new_effects = new_effects
        self._clock = clock
        self._interval = interval
        self._note = note
        self._heard = heard
        self._guards = {name: threading.Lock() for name in entities}
        self._lock = threading.Lock()
        self._wishes: set[str] = set()
        self._next_pull = clock.monotonic() + (interval or 0.0)
        self._next_reading = 0.0
        started = clock.monotonic()
        self._next_reconcile = {
            name: started + each.config.reconcile_interval
            for name, each in entities.items()
            if each.config.reconcile_interval is not None
        }

    # --- in the caller's thread

    def pull(self, names: list[str], deadline: float, *, full: bool = False) -> Pulled:
        """Pulls these entities one after the other; one that fails does not stop the others."""
        done = Pulled()
        for name in names:
            entity = self._entities[name]
            if not entity.replica:
                continue
            left = max(0.0, min(deadline - self._clock.monotonic(), threading.TIMEOUT_MAX))
            if not self._guards[name].acquire(timeout=left):
                self._fail(done, f"{name}: another pull of it did not end in time")
                continue
            try:
                self._pull_entity(entity, deadline, done, full=full)
                self._heard(True)
            except StorageError:
                raise
            except OfflineError as error:
                done.offline = True
                self._heard(False)
                self._fail(done, str(error))
            except SyncError as error:
                self._fail(done, str(error))
            finally:
                self._guards[name].release()
        return done

    def wish(self, names: list[str]) -> None:
        """Leaves a pull to the worker."""
        with self._lock:
            self._wishes.update(names)

    def _fail(self, done: Pulled, message: str) -> None:
        done.errors += 1
        self._note(message)

    # --- one entity

    def _pull_entity(self, entity: Entity, deadline: float, done: Pulled, *, full: bool) -> None:
        stored = self._begin(entity, anew=full)
        pager = self._pagers[entity.name]
        for _ in range(_ROUNDS):
            before = done.pulled + done.conflicts
            try:
                stored = self._pull_once(entity, pager, stored, deadline, done)
            except _OvertakenError:
                return
            quiet = done.pulled + done.conflicts == before
            if not pager.restless or quiet:
                return

    def _pull_once(
        self, entity: Entity, pager: Pager, stored: Stored, deadline: float, done: Pulled
    ) -> Stored:
        position: Position | None = Position(stored.cursor)
        while position is not None:
            if self._clock.monotonic() > deadline:
                raise TransportError(
                    f"{entity.name}: the pull was not through in time; the next one goes on",
                    entity=entity.name,
                )
            began = self._storage.read(lambda tx: tx.last_number())
            response = self._sender.fetch(pager.request(position))
            if response.status == _EXPIRED and position.cursor is not None:
                logger.info("the cursor of %s has expired; pulling all of it", entity.name)
                stored = self._begin(entity, anew=True)
                position = Position(None)
                continue
            refusal = self._mappers[entity.name].refusal(response)
            if refusal is not None:
                raise refusal
            page = pager.page(position, response)
            if stored.full is None and went_back(stored.cursor, page.cursor):
                self._note(f"{entity.name}: the server was wiped or restored; pulling all of it")
                stored = self._begin(entity, anew=True)
                position = Position(None)
                continue
            stored = self._apply(entity, stored, page, began, done)
            position = page.next
        return stored

    def _apply(
        self, entity: Entity, stored: Stored, page: Page, began: int, done: Pulled
    ) -> Stored:
        """Commits a page; its cursor with its last rows, if it may be stored yet."""
        rows = page.rows
        for start in range(0, max(len(rows), 1), _ROWS_PER_COMMIT):
            chunk = rows[start : start + _ROWS_PER_COMMIT]
            last_chunk = start + _ROWS_PER_COMMIT >= len(rows)
            last = page.next is None
            follow = stored
            if last_chunk and (page.resumable or last):
                cursor = page.cursor if page.cursor is not None else stored.cursor
                follow = _stored(cursor, stored.full)
            effects = self._commit_rows(entity, stored, follow, chunk, began)
            stored = follow
            self._tell(effects, done)
        if page.next is None and stored.full is not None:
            stored = self._sweep(entity, stored, done, empty=not rows)
        return stored

    def _commit_rows(
        self, entity: Entity, stored: Stored, follow: Stored, rows: list[Row], began: int
    ) -> Effects:
        def work(tx: Transaction) -> Effects:
            effects = self._new_effects()
            now = self._clock.wall()
            self._check(tx, entity, stored)
            for row in rows:
                news = self._arrivals.arrive(
                    tx,
                    entity,
                    row.key,
                    row.record,
                    row.version,
                    began=began,
                    effects=effects,
                    now=now,
                    seen=stored.full,
                )
                effects.pulled += news
            if follow.text != stored.text:
                _put_meta(tx, entity, follow)
            return effects

        return self._storage.write(work)

    def _sweep(self, entity: Entity, stored: Stored, done: Pulled, *, empty: bool) -> Stored:
        """After a full listing: what it did not bring is gone."""
        full = stored.full or 0
        if empty and self._storage.read(lambda tx: _holds_any(tx, entity)):
            self._note(f"{entity.name}: the server holds nothing any more; was it wiped?")
        after: str | None = None
        while True:
            bound = after

            def work(tx: Transaction, bound: str | None = bound) -> tuple[Effects, str | None]:
                effects = self._new_effects()
                self._check(tx, entity, stored)
                now = self._clock.wall()
                end = sweep_page(tx, entity, self._arrivals, full, bound, effects, now)
                if end is None:
                    _put_meta(tx, entity, _stored(stored.cursor, None))
                return effects, end

            effects, after = self._storage.write(work)
            self._tell(effects, done)
            if after is None:
                return _stored(stored.cursor, None)

    def _tell(self, effects: Effects, done: Pulled) -> None:
        done.count(effects)
        self._publish(effects)

    # --- the stored cursor

    def _begin(self, entity: Entity, *, anew: bool) -> Stored:
        """What is stored; a listing of everything is begun where there is no cursor, or anew."""

        def work(tx: Transaction) -> Stored:
            stored = _load(tx, entity)
            if stored.begun and not anew:
                return stored
            stored = _stored(None, tx.next_number())
            _put_meta(tx, entity, stored)
            return stored

        stored = self._storage.read(lambda tx: _load(tx, entity))
        return stored if stored.begun and not anew else self._storage.write(work)

    def _check(self, tx: Reader, entity: Entity, stored: Stored) -> None:
        if _load(tx, entity).text != stored.text:
            raise _OvertakenError

    # --- in the worker's thread

    def chores(self, allowed: bool) -> float | None:
        """Does what is due: wished and regular pulls, records to be read again.

        Returns seconds until the next is; ``None``: never by itself.
        """
        if allowed:
            for names, full in self._due():
                self.pull(names, self._clock.monotonic() + 3600.0, full=full)
            self._read_stale()
        now = self._clock.monotonic()
        waits = [each - now for each in self._next_reconcile.values()]
        if self._interval is not None:
            waits.append(self._next_pull - now)
        if not waits:
            return None
        return max(0.0, min(waits)) if allowed else None

    def _due(self) -> list[tuple[list[str], bool]]:
        now = self._clock.monotonic()
        with self._lock:
            wished = sorted(self._wishes)
            self._wishes.clear()
        if self._interval is not None and now >= self._next_pull:
            self._next_pull = now + self._interval
            wished = list(self._entities)
        due = [name for name, at in self._next_reconcile.items() if now >= at]
        for name in due:
            interval = self._entities[name].config.reconcile_interval
            self._next_reconcile[name] = now + (interval or 0.0)
        rest = [name for name in wished if name not in due]
        return [(names, full) for names, full in ((due, True), (rest, False)) if names]

    def _read_stale(self) -> None:
        if self._clock.monotonic() < self._next_reading:
            return
        for entity in self._entities.values():
            if not entity.replica:
                continue
            for key, began in self._storage.read(partial(_stale, entity=entity)):
                if not self._read_again(entity, key, began):
                    self._next_reading = self._clock.monotonic() + _STALE_RETRY_S
                    return

    def _read_again(self, entity: Entity, key: str, began: int) -> bool:
        answer = self._sender.read(self._mappers[entity.name], key)
        if answer.meaning not in (Meaning.DELIVERED, Meaning.GONE):
            return False

        def work(tx: Transaction) -> Effects:
            effects = self._new_effects()
            effects.pulled += self._arrivals.arrive(
                tx,
                entity,
                key,
                answer.record,
                answer.version,
                began=began,
                effects=effects,
                now=self._clock.wall(),
            )
            return effects

        self._publish(self._storage.write(work))
        return True


def _stored(cursor: str | None, full: int | None) -> Stored:
    return Stored(cursor, full, json.dumps({"cursor": cursor, "full": full}))


def _meta_name(entity: Entity) -> str:
    return f"pull/{entity.name}"


def _load(tx: Reader, entity: Entity) -> Stored:
    row = tx.get(META, _meta_name(entity))
    if row is None:
        return Stored()
    value = json.loads(row.value)
    return Stored(value["cursor"], value["full"], row.value)


def _put_meta(tx: Transaction, entity: Entity, stored: Stored) -> None:
    new = Meta(_meta_name(entity), stored.text or "")
    old = tx.get(META, new.name)
    if old is None:
        tx.insert(META, new)
    else:
        tx.replace(META, old, new)


def _holds_any(tx: Reader, entity: Entity) -> bool:
    return any(row.state is not None for row in tx.scan(RECORDS, None, (entity.name,), limit=100))


def _stale(tx: Reader, entity: Entity) -> list[tuple[str, int]]:
    number = tx.last_number()
    rows = tx.scan(RECORDS, "stale", (entity.name,), limit=_STALE_AT_ONCE)
    return [(row.record, number) for row in rows]
