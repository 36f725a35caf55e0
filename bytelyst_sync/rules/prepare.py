"""A push's arguments, checked and encoded: the same for one, for many and in a transaction."""

from __future__ import annotations

import uuid
from typing import Any

from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.encode import digest, encode
from bytelyst_sync.rules.ids import LOCAL_PREFIX, record_key

__all__ = ["as_operation", "prepared"]

Json = dict[str, Any]
_OPERATIONS = {each.value: each for each in SyncOperation}


def as_operation(operation: Any) -> SyncOperation:
    """The operation of that name."""
    try:
        return _OPERATIONS[operation]
    except (KeyError, TypeError):
        raise InvalidDataError(
            f"operation is {operation!r}; allowed: " + ", ".join(map(repr, _OPERATIONS)),
            path="operation",
        ) from None


def prepared(entity: Entity, operation: SyncOperation, data: Any) -> tuple[str, Json, str | None]:
    """(key, plain data with its id, content digest or ``None``).

    A create without an id gets one: a UUID, or a local one where the server gives ids.
    Raises ``InvalidDataError``.
    """
    plain = encode(data, entity.name)
    field = entity.id_field
    given = plain.get(field)
    if given is not None:
        return record_key(given, entity.name, field), plain, None
    if operation is not SyncOperation.CREATE:
        raise InvalidDataError(
            f"{entity.name}: {operation.value} needs the record's id at $.{field}",
            path=f"$.{field}",
            entity=entity.name,
        )
    plain.pop(field, None)
    by_content = digest(entity.name, plain) if entity.config.dedup == "content" else None
    key = f"{LOCAL_PREFIX}{uuid.uuid4().hex}" if entity.server_ids else str(uuid.uuid4())
    return key, {field: key, **plain}, by_content
