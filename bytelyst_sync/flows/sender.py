"""Sends claimed items and says what came of each. Called from any sender thread.

``send`` never raises for anything that the network, the server or the user's ``auth`` did: every
end of an attempt is an ``Answer``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping

import attrs

from bytelyst_sync.clock import Clock
from bytelyst_sync.errors import (
    AuthError,
    ConfigError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.flows.credentials import Credentials
from bytelyst_sync.flows.observer import Observer
from bytelyst_sync.flows.origin import OriginPause
from bytelyst_sync.flows.parcels import Outcome, Packer, Parcel, halves
from bytelyst_sync.rules.backoff import parse_date
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.state.claims import Claim
from bytelyst_sync.transport.answers import Answer, Heard, failure, hear
from bytelyst_sync.transport.base import Request, Response, Transport
from bytelyst_sync.transport.batches import Batch, Listed
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.redirects import follow, presentable
from bytelyst_sync.transport.writing import Written

__all__ = ["Sender"]

logger = logging.getLogger("bytelyst_sync.sender")
_NO_SUCH_ENDPOINT = (404, 405, 410, 501)
Understand = Callable[[Response], Answer]


class Sender:
    """The way of operations to the server and back. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        mappers: Mapping[str, Mapper],
        credentials: Credentials,
        clock: Clock,
        origin: OriginPause,
        packer: Packer,
        observer: Observer,
    ) -> None:
        self._observer = observer
        self._origin = origin
        self._packer = packer
        self._clock = clock
        self._transport = transport
        self._mappers = mappers
        self._credentials = credentials

    def send(self, parcel: Parcel) -> Outcome:
        """One attempt, with the readings that conflicts may need."""
        began = self._clock.monotonic()
        outcome = self._sent(parcel)
        self._observer.sent(outcome, self._clock.monotonic() - began)
        return outcome

    def _sent(self, parcel: Parcel) -> Outcome:
        try:
            if len(parcel) == 1:
                claim = parcel[0]
                return Outcome([(claim, self._attempt(claim, self._mappers[claim.item.entity]))])
            return self._together(parcel, self._packer.batch(parcel))
        except Exception as error:  # noqa: BLE001
            # users' code may raise anything; whether something was sent is not known
            kind = type(error).__name__
            entity = parcel[0].item.entity
            logger.warning("sending %d item(s) of %s raised %s", len(parcel), entity, kind)
            wrapped = TransportError(f"{entity}: sending raised {kind}: {error}", entity=entity)
            wrapped.__cause__ = error
            return Outcome([(claim, failure(Meaning.UNKNOWN, wrapped)) for claim in parcel])

    # --- one by one

    def _attempt(self, claim: Claim, mapper: Mapper) -> Answer:
        item, operation, state = claim.item, claim.operation, claim.state
        if mapper.reads_first(operation, state):
            return _state_first(self.read(mapper, item.record))
        written = _written(claim, mapper)
        if isinstance(written, Answer):
            return written
        if mapper.checks(operation, state):
            reading = self.read(mapper, item.record)
            objection = mapper.objection(item.record, item.version, state, reading)
            if objection is not None:
                return objection
        answer = self.exchange(
            mapper.requests.request(written),
            lambda response: mapper.answer(operation, item.record, hear(response)),
        )
        return self._complete(answer, claim, mapper)

    def _complete(self, answer: Answer, claim: Claim, mapper: Mapper) -> Answer:
        """A conflict with the record that it is with, read where the answer did not bring it."""
        record = claim.item.record
        # what the server has never named cannot be asked for
        unnamed = mapper.entity.server_ids and is_local(record)
        if answer.meaning is not Meaning.CONFLICT or answer.record is not None or unnamed:
            return answer
        return _with_current(answer, self.read(mapper, record))

    # --- several in one request

    def _together(self, parcel: Parcel, batch: Batch) -> Outcome:
        outcome = Outcome([])
        claims: list[Claim] = []
        listed: list[Listed] = []
        for claim in parcel:
            entry = _listed(claim, self._mappers[claim.item.entity])
            if isinstance(entry, Listed):
                claims.append(claim)
                listed.append(entry)
            else:
                outcome.sent.append((claim, entry))
        if not listed:
            return outcome
        shares: list[Heard | None] = []

        def understand(response: Response) -> Answer:
            self._origin.hear_of(response)
            heard = hear(response)
            whole = self._mappers[parcel[0].item.entity].whole(heard)
            if whole.meaning is Meaning.DELIVERED:
                shares.extend(batch.shares(heard, listed))
            return whole

        whole = self.exchange(batch.request(listed), understand)
        if whole.status in _NO_SUCH_ENDPOINT:
            where = presentable(batch.url)
            logger.warning("no batches at %s (HTTP %s): one by one", where, whole.status)
            self._packer.give_up(batch)
            outcome.instead.extend((claim,) for claim in claims)
        elif whole.meaning in (Meaning.REJECTED, Meaning.REDIRECT):
            outcome.instead.extend(halves(claims))
        elif whole.meaning is not Meaning.DELIVERED:
            outcome.sent.extend((claim, whole) for claim in claims)
        else:
            self._hand_out(claims, shares, outcome)
        return outcome

    def _hand_out(self, claims: list[Claim], shares: list[Heard | None], outcome: Outcome) -> None:
        """Each claim's share of the answer is its answer."""
        reading = True
        for claim, share in zip(claims, shares, strict=True):
            mapper = self._mappers[claim.item.entity]
            answer = _share_of(claim, share, mapper)
            lacks = answer.meaning is Meaning.CONFLICT and answer.record is None
            # refused credentials are renewed, and a conflict is asked about once there is a
            # network again, where an item goes alone
            if answer.meaning is Meaning.CREDENTIALS or (lacks and not reading):
                outcome.instead.append((claim,))
                continue
            answer = self._complete(answer, claim, mapper)
            reading = reading and answer.meaning is not Meaning.OFFLINE
            outcome.sent.append((claim, answer))

    def read(self, mapper: Mapper, key: str) -> Answer:
        """The record as the server has it; ``GONE`` if it is not there."""
        return self.exchange(
            mapper.requests.read(key), lambda response: mapper.reading(key, response)
        )

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
            self._origin.hear_of(response)
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


def _written(claim: Claim, mapper: Mapper) -> Written | Answer:
    """The write; or the answer that it cannot be made of this data."""
    item = claim.item
    try:
        return mapper.write(
            claim.operation,
            item.record,
            json.loads(item.data),
            claim.state,
            idempotency_key=item.id,
            version=item.version,
        )
    except RejectedError as error:
        return failure(Meaning.REJECTED, error)


def _listed(claim: Claim, mapper: Mapper) -> Listed | Answer:
    """The same, for the list of a batch."""
    item = claim.item
    written = _written(claim, mapper)
    if isinstance(written, Answer):
        return written
    version = item.version if mapper.entity.replica else None
    return Listed(item.operation, written, item.record, version, item.id)


def _share_of(claim: Claim, share: Heard | None, mapper: Mapper) -> Answer:
    item = claim.item
    if share is None:
        error = TransportError(
            f"{item.entity} {item.record}: the batch's answer has none for it",
            entity=item.entity,
            record_id=item.record,
        )
        return failure(Meaning.UNKNOWN, error)
    try:
        return mapper.answer(claim.operation, item.record, share)
    except TransportError as error:
        return failure(Meaning.UNKNOWN, error)


def _state_first(reading: Answer) -> Answer:
    """The record to be changed is not known and was read; nothing was sent. It is stored before
    the change goes out, so that every try of it sends the same.
    """
    if reading.meaning is Meaning.DELIVERED:
        return attrs.evolve(reading, meaning=Meaning.STATE)
    return attrs.evolve(reading, unprocessed=True)


def _with_current(conflict: Answer, reading: Answer) -> Answer:
    """The conflict with the record that was read for it; ``record=None``: it is not there."""
    if reading.meaning is Meaning.DELIVERED:
        return attrs.evolve(conflict, record=reading.record, version=reading.version)
    if reading.meaning is Meaning.GONE:
        return conflict
    return attrs.evolve(reading, unprocessed=False)
