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
    field, name = entity.id_field, entity.name
    made = None
    if operation is SyncOperation.CREATE and type(data) is dict and data.get(field) is None:
        made = f"{LOCAL_PREFIX}{uuid.uuid4().hex}" if entity.server_ids else str(uuid.uuid4())
        data = {field: made, **data}
        data[field] = made
    plain, text = encoded(data, name)
    given = plain.get(field)
    if given is None:
        if operation is SyncOperation.CREATE:
            return prepared(entity, operation, plain)  # it was no dict, and is one now
        raise InvalidDataError(
            f"{name}: {operation.value} needs the record's id at $.{field}",
            path=f"$.{field}",
            entity=name,
        )
    by_content = None
    if made is not None and entity.config.dedup == "content":
        by_content = digest(name, {key: each for key, each in plain.items() if key != field})
    return Prepared(
        made or record_key(given, name, field),
        plain,
        dumps(plain) if text is None else text,
        by_content,
        made is not None,
    )
