"""Confirms refusals that a proxy, a gateway or a login page may have sent, before anything is
dropped or failed because of them.

To confirm, the entity's listing is read (any JSON will do), then the write is sent once more under
the same key. If it gets the same answer again, the answer stands. Otherwise it counts as an outage.
Safe to use from several threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.errors import SyncError, TransportError
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.responses import AttemptResult, decode_response
from bytelyst_sync.rules.classify import Doubt, Verdict
from bytelyst_sync.rules.paths import MISSING

__all__ = ["Confirmation"]

_VOUCHING = frozenset({401, 403, 405})
"""Refusals of a reading that prove the API as well as a page does, if they are JSON."""


class Confirmation:
    """Finds out whether an answer is the API's own.

    ``is_held`` returns whether the server is known to hold a record, by entity and record;
    ``has_answered`` whether the API has ever answered for an entity.
    """

    def __init__(
        self,
        exchange: Exchange,
        is_held: Callable[[str, str], bool],
        has_answered: Callable[[str], bool],
    ) -> None:
        self._exchange = exchange
        self._is_held = is_held
        self._has_answered = has_answered

    def is_doubtful(self, answer: AttemptResult, entity: str, record: str) -> bool:
        """Whether this answer about a record must be confirmed."""
        if answer.doubt is Doubt.IF_HELD:
            return self._is_held(entity, record)
        return answer.doubt is Doubt.ALWAYS

    def confirmed(
        self,
        answer: AttemptResult,
        record: str,
        codec: EntityCodec,
        again: Callable[[], AttemptResult],
    ) -> AttemptResult:
        """The answer about a record, if it may be believed, or what the same request was answered
        the second time; else an outage. ``again`` repeats the request.
        """
        entity = codec.name
        if answer.doubt is Doubt.NONE or not self.is_doubtful(answer, entity, record):
            return answer
        vouching = self._vouching(codec)
        if vouching is not None:
            second = again()
            waits = [each.backoff for each in (answer, second) if each.backoff is not None]
            second = attrs.evolve(second, backoff=max(waits, default=None))
            second = attrs.evolve(second, lists_none=codec.lists_none(vouching))
            alike = (second.meaning, second.status) == (answer.meaning, answer.status)
            if alike or not self.is_doubtful(second, entity, record):
                return second
            answer = second
        never = not self._has_answered(entity)
        advice = "; the API has never answered for this entity: check base_url and endpoint"
        error = TransportError(
            f"{entity}/{record}: HTTP {answer.status} may be no answer of the API, but of a proxy "
            "or gateway: its listing does not confirm it, so it is tried again"
            + (advice if never else ""),
            entity=entity,
            record_id=record,
            status=answer.status,
        )
        return attrs.evolve(
            answer, meaning=Verdict.OUTAGE, error=error, unprocessed=False, from_api=False
        )

    def _vouching(self, codec: EntityCodec) -> Response | None:
        """The answer to a reading that proves that the API is there."""
        for request in codec.requests.confirmations():
            try:
                response = self._exchange.fetch(request, codec.refuses_credentials)
            except SyncError:
                continue
            good = 200 <= response.status < 300 or response.status in _VOUCHING
            if good and _is_json(response):
                return response
        return None

    def is_portal(self, codec: EntityCodec) -> bool:
        """Whether a path that does not exist is answered as if it did, as a captive portal does."""
        parts = urlsplit(codec.requests.base)
        url = f"{parts.scheme}://{parts.netloc}/{secrets.token_hex(12)}"
        headers = {"Cache-Control": "no-store"}
        response = self._exchange.plain(Request("GET", url, headers, authorize=False))
        return response is not None and codec.looks_like_portal(decode_response(response))


def _is_json(response: Response) -> bool:
    """Whether the body is JSON, as far as it was read."""
    text = response.body.strip()
    cut_off = text[:1] in (b"{", b"[") and "json" in response.headers.get("content-type", "")
    return cut_off or decode_response(response).body is not MISSING
