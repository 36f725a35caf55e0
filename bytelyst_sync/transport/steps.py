"""A dialect's steps, as they are called: an exception in one of them is told by its name.

``encode`` fails before anything is sent, so the item is rejected and can be repaired. The others
look at an answer, so the outcome of a write is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import RejectedError, SyncError, TransportError
from bytelyst_sync.rules.classify import WORDS, Meaning
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.transport.answers import Heard

__all__ = ["Steps"]

Json = dict[str, Any]
T = TypeVar("T")


class Steps:
    """The steps of one entity's dialect. Immutable; any thread may use it."""

    def __init__(self, dialect: Dialect, entity: str) -> None:
        self._dialect = dialect
        self._entity = entity
        self._classifies = type(dialect).classify is not Dialect.classify
        self._decodes = type(dialect).decode is not Dialect.decode
        self.pages = dialect.next_page_step is not None

    def encode(self, operation: str, record: Json) -> Any:
        """The body that carries a record."""
        return self._called(
            "encode", lambda: self._dialect.encode(operation, record), RejectedError
        )

    def decode(self, found: Any) -> Any:
        """The record in what was found; ``MISSING`` stays so."""
        if not self._decodes or found is MISSING:
            return found
        return self._called("decode", lambda: self._dialect.decode(found))

    def classify(self, operation: str, heard: Heard) -> Meaning | None:
        """What the dialect itself says that this answer means."""
        if not self._classifies:
            return None
        body = None if heard.body is MISSING else heard.body
        word = self._called(
            "classify",
            lambda: self._dialect.classify(operation, heard.status, body, heard.headers),
        )
        if word is not None and word not in WORDS:
            raise self._trouble("classify", f"returned {word!r}; it knows {', '.join(WORDS)}")
        return None if word is None else WORDS[word]

    def next_page(self, body: Any, headers: Mapping[str, str]) -> str | None:
        """The next page's URL."""
        step = self._dialect.next_page_step
        if step is None:
            return None
        # read through the instance, so it is bound to it
        bound: Callable[..., str | None] = step
        return self._called("next_page", lambda: bound(body, headers))

    def _called(
        self, step: str, call: Callable[[], T], kind: type[SyncError] = TransportError
    ) -> T:
        try:
            return call()
        except SyncError:
            raise
        except Exception as error:
            raise self._trouble(step, f"raised {type(error).__name__}: {error}", kind) from error

    def _trouble(self, step: str, what: str, kind: type[SyncError] = TransportError) -> SyncError:
        name = type(self._dialect).__name__
        return kind(f"{self._entity}: `{step}` of {name} {what}", entity=self._entity)
