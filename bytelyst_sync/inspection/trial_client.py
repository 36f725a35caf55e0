"""Sends the requests of a trial: those that an engine would send, without an engine or a store."""

from __future__ import annotations

import time
import uuid
from typing import Any

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.config.settings import SyncConfig, token_provider
from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.http.transport import Request, Response, Transport
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.page import Page, Position
from bytelyst_sync.protocol.page_rows import Row
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.protocol.responses import AttemptResult, DecodedResponse, decode_response

__all__ = ["TrialAnswer", "TrialClient", "TrialListing"]

Json = dict[str, Any]
_TIMEOUT_S = 10.0
_PAGES = 20
_FIRST_PAGES = 5


@attrs.frozen
class TrialAnswer:
    """An answer, and its meaning for an engine."""

    result: AttemptResult
    decoded: DecodedResponse


@attrs.frozen
class TrialListing:
    """The rows of a listing. ``whole``: all pages were read; ``lacking``: why rows are missing."""

    rows: dict[str, Row]
    cursor: str | None
    whole: bool
    pages: int
    lacking: str | None


class TrialClient:
    """The requests of one entity."""

    def __init__(self, config: SyncConfig, entity: Entity, transport: Transport) -> None:
        self.codec = EntityCodec(entity, config, time.time)
        self._config = config
        self._entity = entity
        self._transport = transport
        self._credentials = Credentials(token_provider(config.auth))

    def write(
        self,
        operation: SyncOperation,
        key: str,
        data: Json,
        *,
        state: Json | None = None,
        version: Any = None,
        idempotency_key: str | None = None,
    ) -> TrialAnswer:
        """Sends one write; returns its answer."""
        written = self.codec.write(
            operation,
            key,
            data,
            state,
            idempotency_key=idempotency_key or str(uuid.uuid4()),
            version=version,
            time=time.time(),
        )
        decoded = decode_response(self._send(self.codec.requests.request(written)))
        return TrialAnswer(self.codec.answer(operation, key, decoded, portal=False), decoded)

    def read(self, key: str) -> TrialAnswer:
        """Reads one record."""
        response = self._send(self.codec.requests.read(key))
        return TrialAnswer(self.codec.reading(key, response), decode_response(response))

    def listed(self, cursor: str | None) -> TrialListing:
        """The rows after the cursor, of at most ``_PAGES`` pages."""
        pager = Pager(self.codec)
        position = pager.begin(cursor)
        rows: dict[str, Row] = {}
        last, number = None, 0
        following: Position | None = position
        while following is not None and number < _PAGES:
            last = self._page(pager, following)
            number += 1
            rows |= {row.key: row for row in last.rows() if isinstance(row, Row)}
            following = last.next
        new_cursor = None if last is None else last.cursor
        lacking = None if last is None or last.lacking is None else str(last.lacking)
        return TrialListing(rows, new_cursor, following is None, number, lacking)

    def first_pages(self, size: int) -> list[Page]:
        """The first pages of a listing with pages of this size, until one has other rows."""
        entity = attrs.evolve(
            self._entity, config=attrs.evolve(self._entity.config, page_size=size)
        )
        pager = Pager(EntityCodec(entity, self._config, time.time))
        pages: list[Page] = []
        following: Position | None = Position(None)
        while following is not None and len(pages) < _FIRST_PAGES:
            pages.append(self._page(pager, following))
            following = pages[-1].next
            if set(pages[-1].keys()) - set(pages[0].keys()):
                break
        return pages

    def _page(self, pager: Pager, position: Position) -> Page:
        return pager.page(position, self._send(pager.request(position)))

    def _send(self, request: Request) -> Response:
        signed, _ = self._credentials.sign(request.within(_TIMEOUT_S))
        return self._transport.send(signed)
