"""Runs once when an engine opens its queue: checks the order, and migrates the items that an older
version of the program pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bytelyst_sync.config.entity import Entities, Entity
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.http.failures import is_interrupt
from bytelyst_sync.replica.view import track_change
from bytelyst_sync.rules.encode import encode
from bytelyst_sync.rules.ids import record_key
from bytelyst_sync.rules.json_text import dumps, loads
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.transitions import change, fail, is_frozen, references
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, META, Item, Lane, Meta

__all__ = ["ItemMigration", "check_order"]

logger = SafeLogger("bytelyst_sync.queue")

Json = dict[str, Any]
Migrate = Callable[[str, int, Json], Json | None]
_ORDER, _VERSION = "order", "schema_version"
_PAGE = 200


def check_order(state: StateStore, order: str) -> None:
    """Stores the order of a new queue; raises ``ConfigError`` if an old one has another order."""

    def stored(tx: Reader) -> tuple[str, bool]:
        row = tx.get(META, _ORDER)
        return "record" if row is None else row.value, row is None and tx.last_number() == 0

    known, unused = state.read(stored)
    if known == order:
        return
    if not unused:
        raise ConfigError(
            f"order={order!r}: the queue of this store is kept with order={known!r}; open it with"
            " that, deliver what is queued, and begin a new store",
            field="order",
            value=order,
        )
    state.write(lambda work: work.tx.insert(META, Meta(_ORDER, order)))


class ItemMigration:
    """Migrates queued items to the schema version of this program.

    ``migrate`` is user code, so it runs outside of transactions; its result is stored only if the
    item has not changed meanwhile.
    """

    def __init__(
        self, state: StateStore, entities: Entities, version: int, migrate: Migrate | None
    ) -> None:
        self._state = state
        self._entities = entities
        self._version = version
        self._migrate = migrate

    def run_once(self) -> None:
        """Migrates the queued items, unless that was done for this version before."""
        done = self._state.read(lambda tx: tx.get(META, _VERSION))
        if (1 if done is None else int(done.value)) >= self._version:
            return
        self.run()
        self._state.write(self._mark)

    def _mark(self, work: UnitOfWork) -> None:
        row, new = work.tx.get(META, _VERSION), Meta(_VERSION, str(self._version))
        if row is None:
            work.tx.insert(META, new)
        else:
            work.tx.replace(META, row, new)

    def run(self) -> None:
        """Migrates all items of earlier versions that were never sent."""
        after = 0
        while True:
            page = self._state.read(partial(_page, after=after))
            for item in page:
                self._migrate_item(item)
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def _migrate_item(self, item: Item) -> None:
        entity = self._entities.get(item.entity)
        older = (item.schema_version or 1) < self._version
        if not older or entity is None or is_frozen(item):
            return
        data: Json | str = loads(item.data)
        if self._migrate is not None and item.operation != "delete":
            data = self._call_migrate(entity, item, self._migrate)
        self._state.write(lambda work: self._store(work, entity, item, data))

    def _call_migrate(self, entity: Entity, item: Item, migrate: Migrate) -> Json | str:
        """The migrated data, or an error text."""
        version = item.schema_version or 1
        try:
            migrated = migrate(entity.name, version, loads(item.data))
            if migrated is None:
                return f"migrate() returned None for data of schema version {version}"
            plain = encode(migrated, entity.name, entity.json_default)
            given = plain.setdefault(entity.id_field, loads(item.data).get(entity.id_field))
            if record_key(given, entity.name, entity.id_field) != item.record:
                return f"migrate() returned another id for data of schema version {version}"
        except BaseException as error:
            if is_interrupt(error):
                raise
            kind = type(error).__name__
            return f"migrate() raised {kind} for data of schema version {version}"
        return plain

    def _store(self, work: UnitOfWork, entity: Entity, item: Item, data: Json | str) -> None:
        tx = work.tx
        current = tx.get(ITEMS, item.seq)
        if current is None or current.id != item.id or is_frozen(current):
            return
        if isinstance(data, str):
            text = (
                f"{item.operation} of {item.entity}/{item.record} was not sent: {data}; repair its "
                "data with reprocess_failed(), or discard it"
            )
            if current.error != text:
                logger.warning("%s", text)
                fail(work, current, current, text)
            return
        links, data = references(tx, entity, data, item.seq)
        version = None if self._version == 1 else self._version
        new = current._replace(data=dumps(data), digest=None, schema_version=version)
        with track_change(work, entity, item.record, "local"):
            change(tx, current, new, links if current.lane != Lane.FAILED else None)


def _page(tx: Reader, after: int) -> list[Item]:
    return list(tx.scan(ITEMS, None, (), after=(after,), limit=_PAGE))
