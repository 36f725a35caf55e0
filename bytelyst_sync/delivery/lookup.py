"""Looks for the records of creates whose outcome is unknown, before these are sent again.

A dialect's ``lookup`` finds a record by the idempotency key of its create. A create is sent again
only after two lookups that did not find it, the first no sooner than ``request_deadline`` after the
attempt: until then the server may still be processing it. Safe to use from several threads.
"""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.clock import Clock
from bytelyst_sync.delivery.confirmation import Confirmation
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.errors import SyncError
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import error_about
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.conflict_answer import is_own_work
from bytelyst_sync.replica.server_ids import without_own_fields
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.storage.schema import Item

__all__ = ["Lookup"]

Json = dict[str, Any]
logger = SafeLogger("bytelyst_sync.sender")


class Lookup:
    """Looks for the records of creates that may have been processed."""

    def __init__(
        self, exchange: Exchange, confirmation: Confirmation, clock: Clock, request_deadline: float
    ) -> None:
        self._exchange = exchange
        self._confirmation = confirmation
        self._clock = clock
        self._request_deadline = request_deadline

    def before_sending(self, claim: Claim, codec: EntityCodec) -> AttemptResult | None:
        """For a create that may have been processed: the result if it must not be sent again now;
        ``None`` if it may be.
        """
        item = claim.item
        if claim.operation is not SyncOperation.CREATE:
            return None
        request = codec.requests.look_up(item.id, item.record)
        if request is None:
            self._warn_if_key_expired(item, codec)
            return None
        wait_s = 0.0 if item.lookup_at is None else item.lookup_at - self._clock.wall()
        # a longer wait means that the clock was set back
        if 0 < wait_s <= self._request_deadline:
            return AttemptResult(meaning=Verdict.LOOKUP, unprocessed=True)
        answer = self._ask(request, claim, codec)
        if answer.meaning is not Verdict.GONE:
            # an earlier attempt may have been processed, whatever this read has shown
            return attrs.evolve(answer, unprocessed=True)
        if item.lookups:
            return None
        return AttemptResult(meaning=Verdict.LOOKUP, status=answer.status, unprocessed=True)

    def after_unclear(
        self, answer: AttemptResult, claim: Claim, codec: EntityCodec
    ) -> AttemptResult:
        """The record of a create that was accepted with an unreadable answer; else this answer."""
        request = codec.requests.look_up(claim.item.id, claim.item.record)
        if request is None:
            return answer
        reading = self._ask(request, claim, codec)
        return reading if reading.meaning is Verdict.FOUND else answer

    def _ask(self, request: Request, claim: Claim, codec: EntityCodec) -> AttemptResult:
        """``FOUND``, ``GONE`` (no such record), or the failure of the lookup."""

        def understand(response: Response) -> AttemptResult:
            answer = codec.lookup_answer(claim.item.record, response)
            if isinstance(answer, AttemptResult):
                return answer
            return _judge(answer, claim.item, codec, response.status)

        def read() -> AttemptResult:
            return self._exchange.attempt(request, understand)

        return self._confirmation.confirmed(read(), claim.item.record, codec, read)

    def _warn_if_key_expired(self, item: Item, codec: EntityCodec) -> None:
        """Warns before a create is sent again under a key that the server may have forgotten."""
        safe_s = codec.entity.safe_repeat_s
        # if a killed process left it, the time of the first attempt is not known
        began = item.time if item.first_attempt is None else item.first_attempt
        if safe_s and self._clock.wall() - began > safe_s:
            logger.warning(
                "create of %s/%s, whose outcome is unknown, is sent again later than key_lifetime "
                "after its first attempt: the server may have forgotten its idempotency key and "
                "make the record twice; a dialect's `lookup` prevents that",
                item.entity,
                item.record,
            )


def _judge(records: list[Json], item: Item, codec: EntityCodec, status: int) -> AttemptResult:
    """Decides which of these records the item has created.

    A server that ignores the query may list any record, so a record counts only if it has the key
    or what was sent.
    """
    entity, sent = codec.entity, without_own_fields(codec.entity, item)
    if not entity.server_ids:
        same_id = [each for each in records if str(each.get(entity.id_field)) == item.record]
        if not same_id:
            return AttemptResult(meaning=Verdict.GONE, status=status)
        (record, *_) = same_id
        ours = _shows_key(record, item) or is_own_work(entity, sent, record)
        return AttemptResult(
            meaning=Verdict.FOUND if ours else Verdict.CONFLICT,
            error=None if ours else _error(item, "a record with its id and other data is there"),
            record=record,
            version=codec.records.version_of(record),
            status=status,
        )
    if not records:
        return AttemptResult(meaning=Verdict.GONE, status=status)
    match = next((each for each in records if _shows_key(each, item)), None)
    if match is None and len(records) == 1 and is_own_work(entity, sent, records[0]):
        match = records[0]
    server_id = None if match is None else codec.records.id_of(match)
    if server_id is None:
        text = (
            f"`lookup` brought {len(records)} record(s), and none has an id and either the key or "
            "the data of this create; see whether the server filters by it"
        )
        return AttemptResult(meaning=Verdict.MAPPING, error=_error(item, text), status=status)
    return AttemptResult(
        meaning=Verdict.FOUND,
        record=match,
        version=codec.records.version_of(match),
        server_id=server_id,
        status=status,
    )


def _shows_key(record: Json, item: Item) -> bool:
    return item.id in record.values()


def _error(item: Item, text: str) -> SyncError:
    return error_about(item.operation, item.entity, item.record, text)
