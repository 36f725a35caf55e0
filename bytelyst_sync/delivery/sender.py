"""Sends claimed items, and returns the result of each. Called from any sender thread.

``send`` never raises for anything that the network, the server or the user's ``auth`` did: each
result is an ``AttemptResult``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import attrs

from bytelyst_sync.clock import Clock
from bytelyst_sync.delivery.batching import Batcher, halves
from bytelyst_sync.delivery.confirmation import Confirmation
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.delivery.lookup import Lookup
from bytelyst_sync.errors import RejectedError, TransportError
from bytelyst_sync.events.telemetry_recorder import TelemetryRecorder
from bytelyst_sync.http.failures import is_interrupt, kind_and_place
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.http.urls import redacted
from bytelyst_sync.protocol.batch import Batch, Listed
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import error_about
from bytelyst_sync.protocol.requests import WriteRequest
from bytelyst_sync.protocol.responses import (
    UNSENT,
    AttemptResult,
    DecodedResponse,
    decode_response,
    failure,
)
from bytelyst_sync.protocol.write_checks import objection
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.conflict_answer import may_be_refusal
from bytelyst_sync.queue.outcome import ClaimGroup, Outcome
from bytelyst_sync.rules.classify import Doubt, Verdict
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["Sender"]

logger = SafeLogger("bytelyst_sync.sender")
_NO_SUCH_ENDPOINT = (404, 405, 410, 501)


class Sender:
    """Sends operations and interprets the answers. Safe to use from several threads."""

    def __init__(
        self,
        exchange: Exchange,
        codecs: Mapping[str, EntityCodec],
        batcher: Batcher,
        confirmation: Confirmation,
        lookup: Lookup,
        recorder: TelemetryRecorder,
    ) -> None:
        self._exchange = exchange
        self._codecs = codecs
        self._batcher = batcher
        self._confirmation = confirmation
        self._lookup = lookup
        self._clock = exchange.clock
        self._recorder = recorder

    def send(self, group: ClaimGroup) -> Outcome:
        """One attempt, with the reads that conflicts may need."""
        began = self._clock.monotonic()
        try:
            if len(group) == 1:
                claim = group[0]
                answer = self._attempt(claim, self._codecs[claim.item.entity])
                outcome = Outcome([(claim, answer)])
            else:
                outcome = self._together(group, self._batcher.batch(group))
        except BaseException as error:
            if is_interrupt(error):
                raise
            outcome = _raised(group, error)
        self._recorder.sent(outcome, self._clock.monotonic() - began)
        return outcome

    # --- one by one

    def _attempt(self, claim: Claim, codec: EntityCodec) -> AttemptResult:
        item, operation, state = claim.item, claim.operation, claim.state
        if codec.reads_first(operation, state):
            return _state_first(self._read_for_write(codec, item.record))
        written = _written(claim, codec, self._clock)
        if isinstance(written, AttemptResult):
            return written
        obstacle = self._lookup.before_sending(claim, codec) if item.frozen else None
        if obstacle is not None:
            return obstacle
        if codec.checks(operation, state):
            reading = self._read_for_write(codec, item.record)
            refused = objection(codec.entity, item, state, reading)
            if refused is not None:
                return refused
        request = codec.requests.request(written)

        def understand(response: Response) -> AttemptResult:
            decoded = decode_response(response)
            answer = codec.answer(operation, item.record, decoded)
            if answer.meaning is Verdict.PORTAL and not self.is_portal(codec):
                return codec.answer(operation, item.record, decoded, portal=False)
            return answer

        attempt = partial(self._exchange.attempt, request, understand)
        answer = attempt()
        if answer.meaning is Verdict.DELIVERED and answer.doubt is Doubt.NONE:
            return answer
        answer = self._confirmation.confirmed(answer, item.record, codec, attempt)
        complete = self._complete(answer, claim, codec)
        if answer.doubt is not Doubt.IF_UNCHANGED or not _shows_no_conflict(complete, claim, codec):
            return complete
        return self._confirm_refusal(answer, complete, claim, attempt)

    def _confirm_refusal(
        self,
        answer: AttemptResult,
        complete: AttemptResult,
        claim: Claim,
        attempt: Callable[[], AttemptResult],
    ) -> AttemptResult:
        """Confirms an empty answer that says "conflict" although the record, which ``complete``
        has, shows none: a gateway may have sent it.
        """
        codec = self._codecs[claim.item.entity]
        doubted = attrs.evolve(answer, doubt=Doubt.ALWAYS)
        answer = self._confirmation.confirmed(doubted, claim.item.record, codec, attempt)
        if _lacks_current(answer, claim, codec):
            return attrs.evolve(answer, record=complete.record, version=complete.version)
        return self._complete(answer, claim, codec)

    def _complete(self, answer: AttemptResult, claim: Claim, codec: EntityCodec) -> AttemptResult:
        """Adds the record that the answer lacks: to a conflict the server's current record, to an
        accepted create the record that it made.
        """
        if answer.meaning is Verdict.UNCLEAR:
            return self._lookup.after_unclear(answer, claim, codec)
        if not _lacks_current(answer, claim, codec):
            return answer
        return _with_current(answer, self._read_for_write(codec, claim.item.record))

    # --- several in one request

    def _together(self, group: ClaimGroup, batch: Batch) -> Outcome:
        outcome = Outcome([])
        claims: list[Claim] = []
        listed: list[Listed] = []
        for claim in group:
            entry = _listed(claim, self._codecs[claim.item.entity], self._clock)
            if isinstance(entry, Listed):
                claims.append(claim)
                listed.append(entry)
            else:
                outcome.sent.append((claim, entry))
        if not listed:
            return outcome
        shares: list[DecodedResponse | None] = []

        def understand(response: Response) -> AttemptResult:
            self._exchange.observe(response)
            decoded = decode_response(response)
            whole = self._codecs[group[0].item.entity].whole(decoded)
            if whole.meaning is Verdict.DELIVERED:
                shares.extend(batch.shares(decoded, listed))
            return whole

        whole = self._exchange.attempt(batch.request(listed), understand)
        if whole.status in _NO_SUCH_ENDPOINT:
            where = redacted(batch.url)
            logger.warning(
                "the server has no batches at %s (HTTP %s): its items are sent one by one",
                where,
                whole.status,
            )
            self._batcher.give_up(batch)
            outcome.instead.extend((claim,) for claim in claims)
        elif whole.meaning in (Verdict.REJECTED, Verdict.REDIRECT):
            outcome.instead.extend(halves(claims))
        elif whole.meaning is not Verdict.DELIVERED:
            outcome.sent.extend((claim, whole) for claim in claims)
        else:
            self._hand_out(claims, shares, outcome)
        return outcome

    def _hand_out(
        self, claims: list[Claim], shares: list[DecodedResponse | None], outcome: Outcome
    ) -> None:
        """Interprets each claim's share of the answer to a batch."""
        reading = True
        for claim, share in zip(claims, shares, strict=True):
            codec = self._codecs[claim.item.entity]
            answer = _share_of(claim, share, codec)
            lacks = _lacks_current(answer, claim, codec)
            # refused credentials are renewed, a record that is gone is confirmed, and a conflict is
            # asked about once there is a network again, where an item goes alone
            if (
                answer.meaning is Verdict.CREDENTIALS
                or (lacks and not reading)
                or self._confirmation.is_doubtful(answer, claim.item.entity, claim.item.record)
            ):
                outcome.instead.append((claim,))
                continue
            answer = self._complete(answer, claim, codec)
            reading = reading and answer.meaning is not Verdict.OFFLINE
            outcome.sent.append((claim, answer))

    def read(self, codec: EntityCodec, key: str) -> AttemptResult:
        """Reads the record from the server; ``GONE`` if it is not there. A refusal that may be a
        gateway's is confirmed.
        """
        reading = self._read(codec, key)
        if reading.doubt is not Doubt.ALWAYS:
            return reading
        return self._confirmation.confirmed(reading, key, codec, partial(self._read, codec, key))

    def _read_for_write(self, codec: EntityCodec, key: str) -> AttemptResult:
        """The same for a write, which the answer may drop: it is also confirmed that a record is
        gone which the server is known to have held.
        """
        reading = self._read(codec, key)
        return self._confirmation.confirmed(reading, key, codec, partial(self._read, codec, key))

    def _read(self, codec: EntityCodec, key: str) -> AttemptResult:
        def understand(response: Response) -> AttemptResult:
            answer = codec.reading(key, response)
            if answer.meaning is Verdict.PORTAL and not self.is_portal(codec):
                return codec.reading(key, response, portal=False)
            return answer

        return self._exchange.attempt(codec.requests.read(key), understand)

    def is_portal(self, codec: EntityCodec) -> bool:
        """Whether a captive portal answers in the server's place, as a second request shows."""
        return self._confirmation.is_portal(codec)

    def fetch(self, codec: EntityCodec, request: Request) -> Response:
        """The response to the request of a page. Raises ``SyncError``."""
        return self._exchange.fetch(request, codec.refuses_credentials)


def _raised(group: ClaimGroup, error: BaseException) -> Outcome:
    """The outcome if code of the user raised: it is unknown whether the server got the request."""
    what, item = kind_and_place(error), group[0].item
    logger.warning(
        "sending %s/%s and %d other item(s) raised %s: they are sent again",
        item.entity,
        item.record,
        len(group) - 1,
        what,
    )
    wrapped = TransportError(f"sending raised {what}", entity=item.entity)
    wrapped.__cause__ = error
    return Outcome([(claim, failure(Verdict.UNKNOWN, wrapped)) for claim in group])


def _written(claim: Claim, codec: EntityCodec, clock: Clock) -> WriteRequest | AttemptResult:
    """The write; or the result if it cannot be built from this data, or has expired."""
    item = claim.item
    if item.expires is not None and item.expires <= clock.wall():
        return UNSENT
    try:
        return codec.write(
            claim.operation,
            item.record,
            loads(item.data),
            claim.state,
            idempotency_key=item.id,
            version=item.version,
            time=item.time,
            revive=claim.revival,
        )
    except RejectedError as error:
        return failure(Verdict.REJECTED, error)


def _listed(claim: Claim, codec: EntityCodec, clock: Clock) -> Listed | AttemptResult:
    """The same for an entry of a batch."""
    item = claim.item
    written = _written(claim, codec, clock)
    if isinstance(written, AttemptResult):
        return written
    version = item.version if codec.entity.replica else None
    return Listed(item.operation, written, item.record, version, item.id)


def _share_of(claim: Claim, share: DecodedResponse | None, codec: EntityCodec) -> AttemptResult:
    item = claim.item
    if share is None:
        what = "the batch's answer has none for it"
        error = error_about(item.operation, item.entity, item.record, what)
        return failure(Verdict.UNKNOWN, error)
    try:
        answer = codec.answer(claim.operation, item.record, share)
        # it stands in an answer of the API, whatever it looks like by itself
        by_body = answer.doubt in (Doubt.ALWAYS, Doubt.IF_UNCHANGED)
        return attrs.evolve(answer, doubt=Doubt.NONE) if by_body else answer
    except TransportError as error:
        return failure(Verdict.UNKNOWN, error)


def _state_first(reading: AttemptResult) -> AttemptResult:
    """The result of reading the record before a change of it is sent.

    The record is stored before the change goes out, so that every attempt sends the same.
    """
    if reading.meaning is Verdict.DELIVERED:
        return attrs.evolve(reading, meaning=Verdict.STATE)
    return attrs.evolve(reading, unprocessed=True)


def _lacks_current(answer: AttemptResult, claim: Claim, codec: EntityCodec) -> bool:
    """Whether the current record of a conflict must still be read."""
    if answer.meaning is not Verdict.CONFLICT or answer.record is not None:
        return False
    return codec.can_read(claim.item.record)


def _shows_no_conflict(complete: AttemptResult, claim: Claim, codec: EntityCodec) -> bool:
    """Whether the record that was read for a conflict may be the one that the change was based
    on.
    """
    if complete.meaning is not Verdict.CONFLICT:
        return False
    return may_be_refusal(codec.entity, claim.item, complete)


def _with_current(conflict: AttemptResult, reading: AttemptResult) -> AttemptResult:
    """The conflict with the record that was read for it; ``record=None``: it is not there."""
    if reading.meaning is Verdict.DELIVERED:
        return attrs.evolve(conflict, record=reading.record, version=reading.version)
    if reading.meaning is Verdict.GONE:
        return attrs.evolve(conflict, version=reading.version)
    return attrs.evolve(reading, unprocessed=False)
