"""An entity as the engine uses it: its settings with the engine's defaults filled in."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import attrs

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.settings import EntityConfig, OnConflict, SyncConfig
from bytelyst_sync.config.templates import names_in
from bytelyst_sync.errors import UnknownEntityError
from bytelyst_sync.model import ConflictStrategy, SyncOperation

__all__ = [
    "Entities",
    "Entity",
    "at_least_once",
    "compile_entities",
    "overtaken_by_late_requests",
]


@attrs.frozen(eq=False)
class Entity:
    """An ``EntityConfig`` with the engine's defaults filled in."""

    name: str
    config: EntityConfig
    dialect: Dialect
    strategy: ConflictStrategy
    on_conflict: OnConflict | None
    bookkeeping: frozenset[str]
    """Fields that the server sets. They are ignored when two states of a record are compared."""
    json_default: Callable[[Any], Any] | None = None
    server_id_parents: frozenset[str] = frozenset()
    """The entities that it refers to, and whose ids the server assigns."""
    max_vanish: float = 1.0
    """The share of the records held here that may be gone from the server at once."""
    id_field: str = attrs.field(init=False)
    """The field that holds the id."""
    replica: bool = attrs.field(init=False)
    """Whether a local copy is kept."""
    server_ids: bool = attrs.field(init=False)
    """Whether the server assigns the ids."""
    compares_times: bool = attrs.field(init=False)
    """Whether the time of a push decides conflicts."""

    @id_field.default
    def _get_id_field(self) -> str:
        return self.config.id_field

    @replica.default
    def _get_replica(self) -> bool:
        return self.config.replica

    @server_ids.default
    def _get_server_ids(self) -> bool:
        return self.config.id_source == "server"

    @compares_times.default
    def _get_compares_times(self) -> bool:
        return self.strategy in (ConflictStrategy.LAST_WRITE_WINS, ConflictStrategy.MERGE)

    def ids_at(self, path: str) -> str | None:
        """The entity whose ids this field holds: this one, the one referred to, or ``None``."""
        return self.name if path == self.id_field else self.config.references.get(path)

    def needs_state(self, operation: SyncOperation) -> bool:
        """Whether such a write can only be sent if the server's state is known."""
        if not self.replica or operation is SyncOperation.CREATE:
            return False
        full = self.dialect.patch == "full" and operation is SyncOperation.UPDATE
        return full or self.dialect.check_before_write or self.must_name_version(operation)

    @property
    def safe_repeat_s(self) -> float:
        """For how many seconds a create can be repeated without creating two records. If the server
        assigns the ids, this is how long it remembers an idempotency key.
        """
        if not self.server_ids:
            return inf
        return self.dialect.key_lifetime if self.dialect.idempotency else 0.0

    def looks_for(self, operation: str) -> bool:
        """Whether a lookup finds out the outcome of such a write, if it is unknown."""
        return self.dialect.lookup is not None and operation == SyncOperation.CREATE.value

    def must_name_version(self, operation: SyncOperation) -> bool:
        """Whether the version is part of the body or query, and not only a condition."""
        place = self.dialect.version_place(operation.value) or ""
        return place.startswith(("body:", "query:")) and operation is not SyncOperation.CREATE

    @property
    def revives(self) -> bool:
        """Whether a create of a record that was deleted at the server is an update of it."""
        dialect = self.dialect
        has_tombstones = dialect.revive is not None and dialect.tombstone is not None
        return has_tombstones and self.replica and not self.server_ids

    @property
    def tombstone_path(self) -> str:
        """The path of the field that marks a record as deleted; ``""`` if there is none."""
        return (self.dialect.tombstone or "").partition("=")[0]

    @property
    def listing_placeholders(self) -> frozenset[str]:
        """The placeholders in the path, the query and the headers of its listing."""
        dialect = self.dialect
        templates = [dialect.pull, dialect.query, self.config.params, dialect.headers]
        return frozenset(names_in(templates))

    @property
    def patch_rule(self) -> str:
        """How an update changes a record: ``Dialect.patch``."""
        return self.dialect.patch


class Entities(dict[str, Entity]):
    """The entities by name."""

    def named(self, name: object) -> Entity:
        """The entity of that name; raises ``UnknownEntityError`` for anything else."""
        entity = self.get(name) if isinstance(name, str) else None
        if entity is None:
            raise UnknownEntityError(
                f"unknown entity {name!r}; configured are {', '.join(map(repr, sorted(self)))}",
                entity=name if isinstance(name, str) else None,
            )
        return entity


def compile_entities(config: SyncConfig) -> Entities:
    """The entities of a configuration."""
    entities = Entities()
    for name, entity in config.entities.items():
        dialect = config.dialect if entity.dialect is None else entity.dialect
        own_fields = (*dialect.server_fields, *dialect.updated_at)
        versions = (each[6:] for each in dialect.version if each.startswith("field:"))
        entities[name] = Entity(
            name,
            entity,
            dialect,
            config.conflict if entity.conflict is None else entity.conflict,
            config.on_conflict if entity.on_conflict is None else entity.on_conflict,
            frozenset((*own_fields, *versions)),
            config.json_default,
            frozenset(
                parent
                for parent in entity.references.values()
                if config.entities[parent].id_source == "server"
            ),
            config.max_vanish,
        )
    return entities


def at_least_once(entities: Entities) -> list[str]:
    """The entities whose creates may be processed twice: the server has neither an idempotency key
    nor an id of the client's to recognise a repeated create, and no lookup finds the record.
    """
    return [
        name
        for name, each in entities.items()
        if not each.safe_repeat_s and each.dialect.lookup is None
    ]


def overtaken_by_late_requests(entities: Entities) -> list[str]:
    """The entities whose server cannot tell a late request of a process that was replaced from a
    new one: it has neither an idempotency key nor a version to compare.
    """
    writes = (SyncOperation.UPDATE, SyncOperation.DELETE)
    return [
        name
        for name, each in entities.items()
        if not each.dialect.idempotency
        and not all(each.dialect.version_place(operation) for operation in writes)
    ]
