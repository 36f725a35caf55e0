"""A push after its arguments were checked, before it is queued."""

from __future__ import annotations

import math
import os
import uuid
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import InvalidDataError, RecordDeletedError, RecordExistsError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.decimals import decimal_fields
from bytelyst_sync.rules.encode import digest, dumps, encoded
from bytelyst_sync.rules.ids import new_local_id, record_key

__all__ = ["Expires", "PushRequest", "as_operation", "checked_expiry", "checked_key"]

Json = dict[str, Any]
Expires = timedelta | float | datetime
_OPERATIONS: dict[str, SyncOperation] = {each.value: each for each in SyncOperation}
_LONGEST_KEY = 255
_EARLIEST_S = 1.0
"""The earliest time at which an item expires: ``Item.expires`` has another meaning below 0."""


class PushRequest(NamedTuple):
    """A push, checked and encoded. ``now`` is the wall clock."""

    entity: Entity
    operation: SyncOperation
    now: float
    record: str
    data: Json
    """A copy with JSON values only, and with the record's id."""
    text: str | None = None
    """The data as JSON; ``None`` if it was changed since it was encoded."""
    digest: str | None = None
    """Set if the push may be merged into a queued create of equal content."""
    id_is_new: bool = False
    """Whether the id was generated for this push, so that the record can have no queued items."""
    decimals: tuple[str, ...] = ()
    """The fields that hold decimal numbers."""
    booted: float | None = None
    """When the system was started, by today's wall clock: see ``clock.booted_at``."""
    key: str | None = None
    """The caller's own idempotency key."""
    expires: float | None = None
    """When the item expires, in seconds since the epoch."""
    call: Literal["push", "create", "save"] = "push"
    """The method called. If the local view has the record, ``create`` raises, ``save`` updates."""
    item_id: str | None = None
    """The id that was already returned for its item, in a transaction."""
    handle: int | None = None
    """The number that was returned as its ``seq``, in a transaction."""

    @classmethod
    def of(
        cls,
        entity: Entity,
        operation: object,
        data: Any,
        now: float,
        booted: float | None = None,
    ) -> PushRequest:
        """Checks and encodes the arguments of a push; raises ``InvalidDataError``.

        A create without an id gets a UUID, or a local id if the server gives the ids.
        """
        verb = _OPERATIONS.get(operation) if isinstance(operation, str) else None
        verb = verb or as_operation(operation)
        field, name = entity.id_field, entity.name
        creates, new_id = verb is SyncOperation.CREATE, None
        if creates and type(data) is dict and data.get(field) is None:
            new_id = new_local_id(now, os.urandom(10)) if entity.server_ids else str(uuid.uuid4())
            data = {field: new_id, **data}
            data[field] = new_id
        plain, text = encoded(data, name, entity.json_default)
        given = plain.get(field)
        if given is None:
            if creates:  # data was not a dict; ``plain`` is one
                return cls.of(entity, verb, plain, now, booted)
            raise InvalidDataError(
                f"{name}: {verb.value} needs the record's id at $.{field}",
                path=f"$.{field}",
                entity=name,
            )
        by_content = None
        if new_id is not None and entity.config.dedup == "content":
            by_content = digest(name, {key: each for key, each in plain.items() if key != field})
        return cls(
            entity,
            verb,
            now,
            new_id or record_key(given, name, field),
            plain,
            dumps(plain) if text is None else text,
            by_content,
            new_id is not None,
            () if text is not None else decimal_fields(data),
            booted if entity.compares_times else None,
        )

    def content(self) -> str:
        """A digest of entity, operation and data without the id: equal for equal pushes."""
        field = self.entity.id_field
        data = {name: value for name, value in self.data.items() if name != field}
        return digest(f"{self.entity.name} {self.operation.value}", data)

    def deleted_error(self) -> RecordDeletedError:
        """The error for an update of a record whose delete is queued."""
        return RecordDeletedError(
            f"{self.entity.name}/{self.record} cannot be updated: its delete is queued; "
            "create it anew, or cancel the delete first",
            entity=self.entity.name,
            record_id=self.record,
        )

    def reference_error(self, field: str, parent: str, record: str) -> InvalidDataError:
        """The error for a reference to a local id that names no record here."""
        return InvalidDataError(
            f"{self.entity.name}/{self.record}: {field} refers to {parent}/{record}, whose create "
            "was cancelled or discarded, or which was deleted long ago; refer to another record",
            path=f"$.{field}",
            entity=self.entity.name,
            record_id=self.record,
        )

    def exists_error(self) -> RecordExistsError:
        """The error for a create of a record that the local view holds."""
        return RecordExistsError(
            f"{self.entity.name}/{self.record} exists already: update() changes it, save() creates"
            " or updates by what the local view holds",
            entity=self.entity.name,
            record_id=self.record,
        )


def as_operation(operation: Any) -> SyncOperation:
    """The operation of that name; ``InvalidDataError`` if there is none."""
    try:
        return _OPERATIONS[operation]
    except (KeyError, TypeError):
        raise InvalidDataError(
            f"operation is {operation!r}; allowed: " + ", ".join(map(repr, _OPERATIONS)),
            path="operation",
        ) from None


def checked_key(key: object) -> str:
    """The caller's idempotency key; ``InvalidDataError`` if no header can carry it."""
    if not isinstance(key, str) or not 1 <= len(key) <= _LONGEST_KEY or not _is_visible(key):
        shown = repr(key) if not isinstance(key, str) or len(key) < 80 else f"{len(key)} characters"
        raise InvalidDataError(
            f"key is {shown}; allowed are 1 to {_LONGEST_KEY} visible ASCII characters (no spaces)",
            path="key",
        )
    return key


def _is_visible(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key


def checked_expiry(expires: object, now: float) -> float:
    """When the item may no longer be sent, in seconds since the epoch; ``InvalidDataError``."""
    return max(_EARLIEST_S, _expiry(expires, now))


def _expiry(expires: object, now: float) -> float:
    if isinstance(expires, timedelta):
        return now + expires.total_seconds()
    if isinstance(expires, datetime):
        if expires.tzinfo is None or expires.utcoffset() is None:
            raise InvalidDataError(
                f"expires is {expires!r}, which names no time zone; give an aware datetime, such as"
                " datetime.now(timezone.utc) + timedelta(hours=1)",
                path="expires",
            )
        return expires.timestamp()
    is_bool = isinstance(expires, bool)
    if not is_bool and isinstance(expires, (int, float)) and math.isfinite(expires):
        return now + expires
    raise InvalidDataError(
        f"expires is {expires!r}; allowed: a timedelta, seconds from now, an aware datetime",
        path="expires",
    )
