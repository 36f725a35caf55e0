"""Sends one claimed item and says what came of it. Called from any sender thread.

``send`` never raises for anything that the network, the server or the user's ``auth`` did: every
end of an attempt is an ``Answer``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bytelyst_sync.clock import Clock
from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import (
    AuthError,
    ConfigError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.flows.credentials import Credentials
from bytelyst_sync.flows.origin import OriginPause
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.backoff import parse_date
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.claims import Claim
from bytelyst_sync.transport.base import Request, Response, Transport
from bytelyst_sync.transport.mapping import Answer, Mapper, failure
from bytelyst_sync.transport.redirects import follow

__all__ = ["Sender"]

logger = logging.getLogger("bytelyst_sync.sender")
Json = dict[str, Any]
Understand = Callable[[Response], Answer]


class Sender:
    """The way of one operation to the server and back. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        mappers: Mapping[str, Mapper],
        credentials: Credentials,
        clock: Clock,
        origin: OriginPause,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._transport = transport
        self._mappers = mappers
        self._credentials = credentials

    def send(self, claim: Claim) -> Answer:
        """One attempt, with the reading that a conflict may need."""
        try:
            return self._attempt(claim, self._mappers[claim.item.entity])
        except Exception as error:  # noqa: BLE001
            # a dialect's own steps may raise anything; whether something was sent is not known
            kind = type(error).__name__
            logger.warning("sending an item of %s raised %s", claim.item.entity, kind)
            wrapped = TransportError(
                f"{claim.item.entity} {claim.item.record}: sending raised {kind}: {error}",
                entity=claim.item.entity,
                record_id=claim.item.record,
            )
            wrapped.__cause__ = error
            return failure(Meaning.UNKNOWN, wrapped)

    def _attempt(self, claim: Claim, mapper: Mapper) -> Answer:
        item = claim.item
        data: Json = json.loads(item.data)
        version = item.version if mapper.entity.replica else None
        if self._needs_whole(claim, mapper.entity):
            if claim.state is None:
                return self._state_first(self.read(mapper, item.record))
            data = {**claim.state, **data}
        request = mapper.write(
            claim.operation, item.record, data, idempotency_key=item.id, version=version
        )
        answer = self.exchange(
            request, lambda response: mapper.answer(claim.operation, item.record, response)
        )
        if answer.meaning is Meaning.CONFLICT and answer.record is None:
            return self._with_current(answer, self.read(mapper, item.record))
        return answer

    def _needs_whole(self, claim: Claim, entity: Entity) -> bool:
        updates = claim.operation is SyncOperation.UPDATE
        return updates and entity.patch_rule == "full" and entity.replica

    def _state_first(self, reading: Answer) -> Answer:
        """The record to be edited is not known and was read; nothing was sent. It is stored before
        the edit goes out, so that every try of it sends the same.
        """
        if reading.meaning is Meaning.DELIVERED:
            return attrs.evolve(reading, meaning=Meaning.STATE)
        return attrs.evolve(reading, unprocessed=True)

    def _with_current(self, conflict: Answer, reading: Answer) -> Answer:
        """The conflict with the record that was read for it; ``record=None``: it is not there."""
        if reading.meaning is Meaning.DELIVERED:
            return attrs.evolve(conflict, record=reading.record, version=reading.version)
        if reading.meaning is Meaning.GONE:
            return conflict
        return attrs.evolve(reading, unprocessed=False)

    def read(self, mapper: Mapper, key: str) -> Answer:
        """The record as the server has it; ``GONE`` if it is not there."""
        return self.exchange(mapper.read(key), lambda response: mapper.reading(key, response))

    def exchange(self, request: Request, understand: Understand) -> Answer:
        """Sends with credentials, renewed once if they are refused."""
        try:
            signed, token = self._credentials.sign(request)
            answer = understand(self._follow(signed))
            if answer.meaning is Meaning.CREDENTIALS and self._credentials.renew(token):
                signed, token = self._credentials.sign(request)
                answer = understand(self._follow(signed))
                if answer.meaning is Meaning.CREDENTIALS:
                    self._credentials.refused_again(token)
        except (AuthError, ConfigError) as error:
            # nothing was sent, and nothing can be until a person (or auth) does something
            return failure(Meaning.CREDENTIALS, error)
        except OfflineError as error:
            return failure(Meaning.OFFLINE, error)
        except TransportError as error:
            return failure(Meaning.UNKNOWN, error)
        except SyncError as error:
            refused = RejectedError(str(error))
            refused.__cause__ = error
            return failure(Meaning.REJECTED, refused)
        return answer

    def _follow(self, request: Request) -> Response:
        before = self._clock.wall()
        response = self._carried(request)
        if request.method in ("GET", "HEAD"):
            self._origin.hear_of_reading(response)
        server_time = parse_date(response.headers.get("date"))
        if server_time is not None:
            # a Date header counts whole seconds, and was written between these two
            self._origin.learn_clock(server_time - self._clock.wall(), server_time + 1.0 - before)
        return response

    def _carried(self, request: Request) -> Response:
        try:
            return follow(self._transport, request)
        except SyncError:
            raise
        except Exception as error:
            # sessions, hooks, auth and transports of the user's may raise anything; the request
            # may have been processed
            kind = type(error).__name__
            logger.warning("sending raised %s", kind)
            raise TransportError(f"sending raised {kind}: {error}") from error

    def fetch(self, request: Request) -> Response:
        """A page: like ``exchange``, with the response as it is. Raises under ``SyncError``."""
        signed, token = self._credentials.sign(request)
        response = self._follow(signed)
        if response.status == 401 and self._credentials.renew(token):
            signed, token = self._credentials.sign(request)
            response = self._follow(signed)
            if response.status == 401:
                self._credentials.refused_again(token)
        return response
