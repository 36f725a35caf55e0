"""Calls the steps of a dialect. An error in a step names the step.

An error in ``encode`` occurs before anything is sent, so the item is rejected and can be repaired.
The other steps read an answer, so after an error the outcome of the write is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.http.failures import is_interrupt, kind_and_place
from bytelyst_sync.protocol.record_shape import RecordShape, WriteContext
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.rules.classify import WORDS, Verdict
from bytelyst_sync.rules.paths import MISSING

__all__ = ["Steps"]

Json = dict[str, Any]
T = TypeVar("T")


class Steps:
    """The steps of one entity's dialect. Immutable; any thread may use it."""

    def __init__(self, entity: Entity) -> None:
        self._dialect = entity.dialect
        self._entity = entity.name
        self._shape = RecordShape(entity)
        kind = type(self._dialect)
        self._classifies = kind.classify is not Dialect.classify
        self._decodes = kind.decode is not Dialect.decode
        self._encodes = kind.encode is not Dialect.encode

    def encode(self, operation: str, record: Json, context: WriteContext) -> Any:
        """The request body for a record."""
        if not self._encodes:
            return self._shape.body(operation, record, context)
        return self._called(
            "encode", lambda: self._dialect.encode(operation, record), RejectedError
        )

    def decode(self, value: Any) -> Any:
        """The record in a decoded value; ``MISSING`` for ``MISSING``."""
        if value is MISSING:
            return value
        if self._decodes:
            value = self._called("decode", lambda: self._dialect.decode(value))
        return self._shape.read(value)

    def classify(self, operation: str, decoded: DecodedResponse) -> Verdict | None:
        """The meaning of this answer by the dialect's own step; ``None`` if it does not decide."""
        if not self._classifies:
            return None
        body = None if decoded.body is MISSING else decoded.body
        word = self._called(
            "classify",
            lambda: self._dialect.classify(operation, decoded.status, body, decoded.headers),
        )
        if word is not None and word not in WORDS:
            raise self._trouble("classify", f"returned {word!r}; it knows {', '.join(WORDS)}")
        return None if word is None else WORDS[word]

    def next_page(self, decoded: DecodedResponse) -> str | None:
        """The URL of the next page from the dialect's callable or the step of a subclass."""
        body = None if decoded.body is MISSING else decoded.body
        function = self._dialect.next_page
        if callable(function):
            find: Callable[[str, Any], str | None] = function
            return self._called("next_page", lambda: find(decoded.url, body))
        step = self._dialect.next_page_step
        if step is None:
            return None
        # read through the instance, so it is bound to it
        bound: Callable[..., str | None] = step
        return self._called("next_page", lambda: bound(decoded.body, decoded.headers))

    def _called(
        self, step: str, call: Callable[[], T], kind: type[SyncError] = TransportError
    ) -> T:
        try:
            return call()
        except SyncError:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            raise self._trouble(step, f"raised {kind_and_place(error)}", kind) from error

    def _trouble(self, step: str, what: str, kind: type[SyncError] = TransportError) -> SyncError:
        name = type(self._dialect).__name__
        return kind(f"{self._entity}: `{step}` of {name} {what}", entity=self._entity)
