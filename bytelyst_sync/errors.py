"""All errors of the package, as one tree.

::

    SyncError
    ├── ConfigError                 a setting is wrong; names the field, the value, what is allowed
    ├── UnknownEntityError          a push or pull names an entity that is not configured
    ├── InvalidDataError            data is no JSON object; carries the path to the bad value
    ├── RecordDeletedError          an update of a record whose delete is queued
    ├── RecordExistsError           ``create()`` of a record that the local view holds
    ├── AccountMismatchError        the store belongs to another account
    ├── UnsentChangesError          ``sign_out()`` while changes are not delivered
    ├── QueueFullError              ``max_queue_length`` is reached
    ├── StorageError                the store cannot be read or written
    │   ├── StorageFullError        no space left; the queue is as it was
    │   ├── StorageCorruptError     the file is damaged and could not be set aside
    │   └── StorageVersionError     written by a newer release; left untouched
    ├── TransportError              no answer arrived: the request may have been processed
    │   └── OfflineError            no connection was made: it cannot have been processed
    ├── AuthError                   the server refused the credentials
    ├── RejectedError               the server refused the change for good
    └── EngineClosedError           a call after ``close()``

Each carries ``entity``, ``record_id``, ``status``, ``retryable``, ``retry_after`` and
``request_id`` (``None`` where one does not apply), keeps its ``__cause__`` and can be pickled.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccountMismatchError",
    "AuthError",
    "ConfigError",
    "EngineClosedError",
    "InvalidDataError",
    "OfflineError",
    "QueueFullError",
    "RecordDeletedError",
    "RecordExistsError",
    "RejectedError",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageVersionError",
    "SyncError",
    "TransportError",
    "UnknownEntityError",
    "UnsentChangesError",
]


class SyncError(Exception):
    """The root of the tree: catches every error that the package raises.

    ``entity`` and ``record_id`` name the record. ``status`` is the HTTP status. ``retryable`` says
    whether the same call may succeed later. ``retry_after`` is the wait that the server asked for,
    in seconds. ``request_id`` is the server's name for the request.
    """

    retryable: bool = False

    # seven arguments: a caller passes those that it knows, by name
    def __init__(
        self,
        message: str = "",
        *,
        entity: str | None = None,
        record_id: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.entity = entity
        self.record_id = record_id
        self.status = status
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(kind: type[SyncError], arguments: tuple[Any, ...], state: dict[str, Any]) -> SyncError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


class ConfigError(SyncError, ValueError):
    """A setting is wrong. ``field`` and ``value`` say which and what."""

    def __init__(self, message: str = "", *, field: str | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.field = field
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        plain = self.value is None or type(self.value) in (str, int, float, bool)
        state = {**self.__dict__, "value": self.value if plain else repr(self.value)}
        return _rebuild, (type(self), self.args, state)


class UnknownEntityError(SyncError, KeyError):
    """The entity is not configured; the message lists those that are."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidDataError(SyncError, ValueError):
    """The data cannot be a record. ``path`` leads to the bad value (``$.lines[3].price``)."""

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "$",
        entity: str | None = None,
        record_id: str | None = None,
    ) -> None:
        super().__init__(message, entity=entity, record_id=record_id)
        self.path = path


class RecordDeletedError(SyncError):
    """The record's delete is queued, so it cannot be updated; create it again instead."""


class RecordExistsError(SyncError):
    """The local view already holds the record; use ``update`` or ``save``. Nothing was queued."""


class AccountMismatchError(SyncError):
    """The store belongs to another account than ``SyncConfig.account``. It was not changed."""


class UnsentChangesError(SyncError):
    """Changes of the account are not delivered; ``sign_out(force=True)`` discards them.

    ``queued``, ``failed`` and ``parked`` count them.
    """

    def __init__(
        self, message: str = "", *, queued: int = 0, failed: int = 0, parked: int = 0, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.queued = queued
        self.failed = failed
        self.parked = parked


class QueueFullError(SyncError):
    """``max_queue_length`` operations are queued; nothing was added."""

    retryable = True


class StorageError(SyncError):
    """The store cannot be read or written; what was in it before the call still is."""

    retryable = True


class StorageFullError(StorageError):
    """No space is left on the device; the change was not made and the queue is as it was."""


class StorageCorruptError(StorageError):
    """The store is damaged and could not be repaired; the message names the file."""

    retryable = False


class StorageVersionError(StorageError):
    """The store was written by a newer release. It is untouched; upgrade ``bytelyst-sync``."""

    retryable = False


class TransportError(SyncError):
    """No answer arrived: the request may or may not have been processed."""

    retryable = True


class OfflineError(TransportError):
    """No connection was made, so nothing can have been processed."""


class AuthError(SyncError):
    """The server refused the credentials, or none could be obtained."""


class RejectedError(SyncError):
    """The server refused the change for good; sending the same again is pointless."""


class EngineClosedError(SyncError, RuntimeError):
    """The engine was closed; make a new one."""
