"""One configured entity with everything the engine needs to know of it at hand."""

from __future__ import annotations

import attrs

from bytelyst_sync.config import EntityConfig, OnConflict, SyncConfig
from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import UnknownEntityError
from bytelyst_sync.model import ConflictStrategy, SyncOperation

__all__ = ["Entities", "Entity", "at_least_once", "compile_entities"]


@attrs.frozen(eq=False)
class Entity:
    """An ``EntityConfig`` with the engine's defaults filled in."""

    name: str
    config: EntityConfig
    dialect: Dialect
    strategy: ConflictStrategy
    on_conflict: OnConflict | None
    bookkeeping: frozenset[str]
    """Fields that the server sets: never a difference between two states of a record."""
    id_field: str = attrs.field(init=False)
    """The field that holds the id."""
    replica: bool = attrs.field(init=False)
    """Whether a local copy is kept."""
    server_ids: bool = attrs.field(init=False)
    """Whether the server gives the ids."""

    @id_field.default
    def _get_id_field(self) -> str:
        return self.config.id_field

    @replica.default
    def _get_replica(self) -> bool:
        return self.config.replica

    @server_ids.default
    def _get_server_ids(self) -> bool:
        return self.config.id_source == "server"

    def needs_state(self, operation: SyncOperation) -> bool:
        """Whether such a write is made from, or compared with, the server's state."""
        if not self.replica or operation is SyncOperation.CREATE:
            return False
        full = self.dialect.patch == "full" and operation is SyncOperation.UPDATE
        return full or self.dialect.check_before_write or self.must_name_version(operation)

    def must_name_version(self, operation: SyncOperation) -> bool:
        """Whether the version is part of what is sent, and not only a condition beside it."""
        place = self.dialect.version_place(operation.value) or ""
        return place.startswith(("body:", "query:")) and operation is not SyncOperation.CREATE

    @property
    def patch_rule(self) -> str:
        """What an update does to a record; without a local copy its data is the whole record."""
        return self.dialect.patch


class Entities(dict[str, Entity]):
    """The entities by name."""

    def named(self, name: object) -> Entity:
        """The entity of that name, whatever the caller gave for one."""
        found = self.get(name) if isinstance(name, str) else None
        if found is None:
            raise UnknownEntityError(
                f"unknown entity {name!r}; configured are {', '.join(map(repr, sorted(self)))}",
                entity=name if isinstance(name, str) else None,
            )
        return found


def compile_entities(config: SyncConfig) -> Entities:
    """The entities of a configuration."""
    made = Entities()
    for name, entity in config.entities.items():
        dialect = config.dialect if entity.dialect is None else entity.dialect
        own_fields = (*dialect.server_fields, *dialect.updated_at)
        versions = (each[6:] for each in dialect.version if each.startswith("field:"))
        made[name] = Entity(
            name,
            entity,
            dialect,
            config.conflict if entity.conflict is None else entity.conflict,
            config.on_conflict if entity.on_conflict is None else entity.on_conflict,
            frozenset((*own_fields, *versions)),
        )
    return made


def at_least_once(entities: Entities) -> list[str]:
    """The entities whose creates can be doubled: neither keys nor the client's ids tell a second
    try from a second record (SPEC §2).
    """
    return [
        name
        for name, each in entities.items()
        if each.server_ids and each.dialect.idempotency is None
    ]
