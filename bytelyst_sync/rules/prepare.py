"""A push's arguments, checked and encoded: the same for one, for many and in a transaction."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.encode import digest, dumps, encoded
from bytelyst_sync.rules.ids import LOCAL_PREFIX, record_key

__all__ = ["Prepared", "as_operation", "prepared"]

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


class Prepared(NamedTuple):
    """A push's data as it is queued."""

    key: str
    data: Json
    """Plain, with its id; nothing in it is shared with the caller."""
    text: str
    """The data as JSON."""
    digest: str | None = None
    """What equal content is found by, where that matters."""
    made: bool = False
    """Whether the id was made here, so that nothing is known of the record yet."""


def prepared(entity: Entity, operation: SyncOperation, data: Any) -> Prepared:
    """The data, checked and encoded.

    A create without an id gets one: a UUID, or a local one where the server gives ids.
    Raises ``InvalidDataError``.
    """
    plain, text = encoded(data, entity.name)
    field = entity.id_field
    given = plain.get(field)
    if given is not None:
        key = record_key(given, entity.name, field)
        return Prepared(key, plain, dumps(plain) if text is None else text)
    if operation is not SyncOperation.CREATE:
        raise InvalidDataError(
            f"{entity.name}: {operation.value} needs the record's id at $.{field}",
            path=f"$.{field}",
            entity=entity.name,
        )
    plain.pop(field, None)
    by_content = digest(entity.name, plain) if entity.config.dedup == "content" else None
    key = f"{LOCAL_PREFIX}{uuid.uuid4().hex}" if entity.server_ids else str(uuid.uuid4())
    plain = {field: key, **plain}
    return Prepared(key, plain, dumps(plain), by_content, True)
