"""Builds the requests for operations, as a dialect says. Immutable; any thread may use it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import attrs

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.config.templates import names_in
from bytelyst_sync.errors import RejectedError
from bytelyst_sync.http.transport import Request
from bytelyst_sync.http.urls import with_query
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.dialect_hooks import Steps
from bytelyst_sync.protocol.listing import Listing, ListingValues
from bytelyst_sync.protocol.record_shape import WriteContext
from bytelyst_sync.rules.ids import url_segment
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.rules.local_ids import own_fields
from bytelyst_sync.rules.versions import plain_version

__all__ = ["RequestBuilder", "WriteRequest"]

_HEADER_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")
"""A valid value of a header (RFC 9110 §5.5)."""

_CONFIRMING_BYTES = 64 * 1024

Json = dict[str, Any]
Version = str | int | None


@attrs.frozen
class WriteRequest:
    """The parts of the request for one write. ``headers`` are without those of every request;
    ``body`` is JSON, or ``None`` for no body.
    """

    method: str
    url: str = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    body: Any = attrs.field(repr=False)


@attrs.frozen
class _Route:
    method: str
    url: str

    names_record: bool = attrs.field(init=False)
    """Whether the URL contains the record's id."""

    @names_record.default
    def _has_id(self) -> bool:
        return "{id}" in self.url

    def to(self, key: str) -> str:
        return self.url.replace("{id}", url_segment(key)) if self.names_record else self.url


class RequestBuilder:
    """The requests of one entity."""

    def __init__(self, entity: Entity, config: SyncConfig, steps: Steps) -> None:
        self.base = config.base_url.rstrip("/")
        self._entity = entity
        self._dialect = entity.dialect
        self._steps = steps
        self._timeout = config.timeout
        # bodies are always JSON, so our headers win over the dialect's, and those over the user's
        headers = {"Accept": self._dialect.accepted, **config.headers, **self._dialect.headers}
        if self._dialect.accept is not None:
            headers = {name: each for name, each in headers.items() if name.lower() != "accept"}
            headers["Accept"] = self._dialect.accept
        # those with a placeholder belong to the pages of a pull
        self._headers = {name: each for name, each in headers.items() if not names_in(each)}
        # a read needs the current state of the server, not that of a cache
        self._read_headers = {**self._headers, "Cache-Control": "no-store"}
        routes = ("create", "update", "delete", "read")
        self._routes = {name: self._route(getattr(self._dialect, name)) for name in routes}
        pull = self._route(self._dialect.pull)
        page_headers = {**headers, "Cache-Control": "no-store"}
        self.listing = Listing(entity, pull.method, pull.url, page_headers, self._timeout)
        self._delete_has_body = self._dialect.template(SyncOperation.DELETE.value) is not None
        self._server_fields = frozenset(self._dialect.server_fields)
        names = [each.value for each in SyncOperation]
        self._media_types = {name: self._dialect.media_type(name) for name in names}
        self._version_places = {name: self._dialect.version_place(name) or "" for name in names}

    def _route(self, route: str) -> _Route:
        method, path = route.split(" ")
        return _Route(method, f"{self.base}/{self.path(path)}")

    def path(self, template: str) -> str:
        """A path below ``base_url``, with the endpoint filled in."""
        endpoint = self._entity.config.endpoint.lstrip("/")
        if "{endpoint}/" in template:
            endpoint = endpoint.rstrip("/")
        return template.replace("{endpoint}", endpoint).lstrip("/")

    def write(
        self,
        operation: SyncOperation,
        key: str,
        data: Json,
        idempotency_key: str,
        version: Version,
        time: float,
    ) -> WriteRequest:
        """One operation. With ``patch="full"``, ``data`` of an update is the whole record.

        Raises ``RejectedError`` for a version that its header cannot carry.
        """
        name = operation.value
        route = self._routes[name]
        url = route.to(key)
        headers: dict[str, str] = {}
        if self._dialect.idempotency:
            headers[self._dialect.idempotency] = idempotency_key
        place, _, where = self._version_places[name].partition(":")
        known = version is not None and operation is not SyncOperation.CREATE
        if known and place == "header":
            headers[where] = self._condition(key, version, where)
        if known and place == "query":
            url = with_query(url, {where: plain_version(version)})
        if operation is SyncOperation.CREATE and route.method == "PUT":
            headers["If-None-Match"] = "*"
        version_member = {where: version} if known and place == "body" else {}
        if operation is SyncOperation.DELETE and not route.names_record:
            version_member[self._entity.id_field] = data.get(self._entity.id_field, key)
        bodiless = operation is SyncOperation.DELETE and route.method == "DELETE"
        if bodiless and not version_member and not self._delete_has_body:
            return WriteRequest(route.method, url, headers, None)
        named_by_server = operation is SyncOperation.CREATE and self._entity.server_ids
        context = WriteContext(
            record_id=None if named_by_server else data.get(self._entity.id_field, key),
            time=time,
            idempotency_key=idempotency_key,
        )
        record = self._fields(operation, key, data) | version_member
        body = self._steps.encode(name, record, context)
        headers["Content-Type"] = self._media_types[name]
        return WriteRequest(route.method, url, headers, body)

    def _condition(self, key: str, version: Version, header: str) -> str:
        """The version as the value of a header. Without it the write would be unconditional, and
        could overwrite changes of others.
        """
        quoted = self._dialect.quote_version
        value = f'"{plain_version(version)}"' if quoted else str(version).strip(" \t")
        if _HEADER_VALUE.fullmatch(value):
            return value
        name = self._entity.name
        raise RejectedError(
            f"{name}/{key}: its version has characters that the header {header} cannot carry, so "
            "it was not sent; name another field or header as the dialect's `version`, or another "
            "place as its `send_version`",
            entity=name,
            record_id=key,
        )

    def _fields(self, operation: SyncOperation, key: str, data: Json) -> Json:
        if operation is SyncOperation.DELETE:
            return {}
        left_out = self._server_fields
        if operation is SyncOperation.CREATE and self._entity.server_ids:
            left_out |= {self._entity.id_field, *own_fields(self._entity, data, key)}
        return {name: value for name, value in data.items() if name not in left_out}

    def request(self, written: WriteRequest) -> Request:
        """The request for one write."""
        body = None if written.body is None else dumps(written.body).encode("utf-8")
        headers = {**self._headers, **written.headers}
        return Request(written.method, written.url, headers, body, self._timeout)

    def read(self, key: str) -> Request:
        """The request that reads one record."""
        route = self._routes["read"]
        return Request(route.method, route.to(key), dict(self._read_headers), None, self._timeout)

    def confirmations(self) -> list[Request]:
        """Requests whose answers show that the API works: the entity's listing, then ``base_url``.

        Only the beginning of the answers is needed.
        """
        if self._dialect.confirm:
            method, path = self._dialect.confirm.split(" ")
            url = f"{self.base}/{self.path(path)}"
            listing = Request(method, url, dict(self._read_headers), None, self._timeout)
        else:
            start = self._dialect.first_number
            listing = self.listing.page(
                ListingValues(
                    cursor=self._dialect.first_cursor, page=start, offset=start, limit=1, grown=True
                )
            )
        base = Request("GET", self.base, dict(self._read_headers), None, self._timeout)
        return [attrs.evolve(each, first_bytes=_CONFIRMING_BYTES) for each in (listing, base)]

    def look_up(self, idempotency_key: str, record: str) -> Request | None:
        """The request that searches for the record of a create with unknown outcome."""
        if self._dialect.lookup is None:
            return None
        method, path = self._dialect.lookup.split(" ")
        url = f"{self.base}/{self.path(path)}".replace("{id}", url_segment(record))
        url = url.replace("{key}", quote(idempotency_key, safe=""))
        return Request(method, url, dict(self._read_headers), None, self._timeout)
