"""Writes single records beside the queue: one attempt, as the entity's dialect has it.

Nothing of an answer reaches the delivery of the queue: no pause, no outage, no refused credentials.
Owned by the agent's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.errors import RejectedError
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.responses import AttemptResult, decode_response, failure
from bytelyst_sync.rules.classify import Verdict

__all__ = ["BorrowedCredentials", "Known", "RecordWriter"]

Json = dict[str, Any]
_TRIES = 3
"""A create that exists becomes an update, and the other way round; a third try has the version."""


class Known(NamedTuple):
    """What is known of a record at the server: whether it is there, and its version."""

    there: bool = False
    version: str | int | None = None


class _Change(NamedTuple):
    operation: SyncOperation
    record: str
    data: Json
    state: Json


class BorrowedCredentials(Credentials):
    """The queue's credentials. If they are refused here, ``provider`` is called for a token of this
    object's own: the queue's are not marked as refused, so nothing waits for them.
    """

    def __init__(self, lender: Credentials, provider: Callable[[], Any] | None) -> None:
        super().__init__(provider)
        self._lender = lender

    def sign(self, request: Request) -> tuple[Request, str | None]:
        """The request with a token, and the token."""
        if self._token is None:
            return self._lender.sign(request)
        return super().sign(request)


class RecordWriter:
    """Creates or updates a record, whether it is at the server or not."""

    def __init__(
        self, codecs: Mapping[str, EntityCodec], exchange: Exchange, wall: Callable[[], float]
    ) -> None:
        self._codecs = codecs
        self._exchange = exchange
        self._wall = wall

    def put(
        self,
        entity: str,
        record: str,
        data: Json,
        key: str,
        known: Known,
        *,
        state: Json | None = None,
    ) -> tuple[AttemptResult, Known]:
        """Writes these fields; the answer, and what is known of the record after it. ``key`` begins
        the idempotency keys. ``state``: the record at the server, which is then only updated.
        """
        codec = self._codecs[entity]
        answer = failure(Verdict.UNKNOWN, RejectedError("not sent"))
        for number in range(_TRIES):
            operation = SyncOperation.UPDATE if known.there else SyncOperation.CREATE
            change = _Change(operation, record, data, data if state is None else state)
            answer = self._write(codec, change, f"{key}-{number}", known.version)
            if answer.meaning is Verdict.DELIVERED:
                return answer, Known(True, answer.version)
            if answer.meaning is Verdict.GONE and known.there and state is None:
                known = Known()
            elif answer.meaning is Verdict.CONFLICT:
                known = Known(True, self._current_version(codec, record, answer))
            else:
                break
        return answer, known

    def _current_version(
        self, codec: EntityCodec, record: str, conflict: AttemptResult
    ) -> str | int | None:
        if conflict.record is not None:
            return conflict.version
        request = codec.requests.read(record)
        reading = self._exchange.attempt(request, lambda each: codec.reading(record, each))
        return reading.version

    def _write(
        self, codec: EntityCodec, change: _Change, key: str, version: str | int | None
    ) -> AttemptResult:
        try:
            written = codec.write(*change, idempotency_key=key, version=version, time=self._wall())
        except RejectedError as error:
            return failure(Verdict.REJECTED, error)
        request = codec.requests.request(written)

        def understand(response: Response) -> AttemptResult:
            return codec.answer(change.operation, change.record, decode_response(response))

        return self._exchange.attempt(request, understand)
