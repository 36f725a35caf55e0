"""From operations to requests, as a dialect says. Immutable; any thread may use it."""

from __future__ import annotations

import re
from typing import Any

import attrs

from bytelyst_sync.config import SyncConfig
from bytelyst_sync.entity import Entity
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.ids import is_local, url_segment
from bytelyst_sync.rules.versions import plain_version
from bytelyst_sync.transport.base import Request
from bytelyst_sync.transport.steps import Steps
from bytelyst_sync.transport.urls import with_query

__all__ = ["Writer", "Written"]

_HEADER_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")
"""What a header can carry (RFC 9110 §5.5); a version that is none of it is not sent in one."""

Json = dict[str, Any]
Version = str | int | None


@attrs.frozen
class Written:
    """One write as its request would be. ``headers`` are its own, without those of every request;
    ``body`` is JSON, ``None`` for none.
    """

    method: str
    url: str = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    body: Any = attrs.field(repr=False)


@attrs.frozen
class _Route:
    method: str
    url: str

    @property
    def names_record(self) -> bool:
        """Whether the URL tells which record is meant."""
        return "{id}" in self.url

    def to(self, key: str) -> str:
        return self.url.replace("{id}", url_segment(key)) if self.names_record else self.url


class Writer:
    """The requests of one entity."""

    def __init__(self, entity: Entity, config: SyncConfig, steps: Steps) -> None:
        self.base = config.base_url.rstrip("/")
        self._entity = entity
        self._dialect = entity.dialect
        self._steps = steps
        self._timeout = config.timeout
        # The bodies are JSON whatever a user's headers say, so the dialect's come last but ours.
        self._headers = {"Accept": "application/json", **config.headers, **self._dialect.headers}
        routes = ("create", "update", "delete", "read", "pull")
        self._routes = {name: self._route(getattr(self._dialect, name)) for name in routes}
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
        self, operation: SyncOperation, key: str, data: Json, idempotency_key: str, version: Version
    ) -> Written:
        """One operation. With ``patch="full"``, ``data`` of an update is the whole record."""
        name = operation.value
        route = self._routes[name]
        url = route.to(key)
        headers: dict[str, str] = {}
        if self._dialect.idempotency:
            headers[self._dialect.idempotency] = idempotency_key
        place, _, where = self._version_places[name].partition(":")
        known = version is not None and operation is not SyncOperation.CREATE
        if known and place == "header":
            quoted = self._dialect.quote_version
            condition = f'"{plain_version(version)}"' if quoted else str(version)
            if _HEADER_VALUE.fullmatch(condition):
                headers[where] = condition
        if known and place == "query":
            url = with_query(url, {where: plain_version(version)})
        if operation is SyncOperation.CREATE and route.method == "PUT":
            headers["If-None-Match"] = "*"
        beside = {where: version} if known and place == "body" else {}
        if operation is SyncOperation.DELETE and not route.names_record:
            beside[self._entity.id_field] = data.get(self._entity.id_field, key)
        if operation is SyncOperation.DELETE and route.method == "DELETE" and not beside:
            return Written(route.method, url, headers, None)
        body = self._steps.encode(name, self._fields(operation, key, data) | beside)
        headers["Content-Type"] = self._media_types[name]
        return Written(route.method, url, headers, body)

    def _fields(self, operation: SyncOperation, key: str, data: Json) -> Json:
        if operation is SyncOperation.DELETE:
            return {}
        left_out = self._server_fields
        if operation is SyncOperation.CREATE and self._entity.server_ids and is_local(key):
            left_out |= {self._entity.id_field}
        return {name: value for name, value in data.items() if name not in left_out}

    def request(self, written: Written) -> Request:
        """The write as a request of its own."""
        body = None if written.body is None else dumps(written.body).encode("utf-8")
        headers = {**self._headers, **written.headers}
        return Request(written.method, written.url, headers, body, self._timeout)

    def read(self, key: str) -> Request:
        """The request that reads one record."""
        route = self._routes["read"]
        return Request(route.method, route.to(key), dict(self._headers), None, self._timeout)

    def listing_url(self) -> str:
        """Where a pull begins, without its query."""
        return self._routes["pull"].url

    def listing(self, url: str) -> Request:
        """The request for a page at this URL."""
        method = self._routes["pull"].method
        return Request(method, url, dict(self._headers), None, self._timeout)
