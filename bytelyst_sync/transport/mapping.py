"""From operations to requests and from responses to answers, as a dialect says.

A ``Mapper`` is made once per entity and is immutable; any thread may use it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from bytelyst_sync.config import SyncConfig
from bytelyst_sync.dialect import Dialect
from bytelyst_sync.entity import Entity
from bytelyst_sync.errors import (
    AuthError,
    OfflineError,
    RejectedError,
    SyncError,
    TransportError,
)
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.backoff import parse_retry_after
from bytelyst_sync.rules.classify import (
    Facts,
    Meaning,
    classify,
    classify_status,
    proves_unprocessed,
)
from bytelyst_sync.rules.encode import dumps
from bytelyst_sync.rules.ids import is_local, url_segment
from bytelyst_sync.rules.paths import MISSING, at, describe
from bytelyst_sync.transport.base import Request, Response
from bytelyst_sync.transport.redirects import presentable, redirect_target

__all__ = ["Answer", "Mapper", "decode_json", "failure"]

Json = dict[str, Any]
Version = str | int | None
_MESSAGE_FIELDS = ("error", "message", "detail", "title", "description", "reason", "errors")
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-correlation-id")


@attrs.frozen(kw_only=True)
class Answer:
    """What an attempt came to. ``record`` is the server's record if the answer carried it;
    ``current`` the one that a conflict answer carried. ``retry_after`` and ``backoff`` are in
    seconds.
    """

    meaning: Meaning
    error: SyncError | None = None
    record: Json | None = attrs.field(default=None, repr=False)
    version: Version = None
    server_id: Any = None
    status: int | None = None
    retry_after: float | None = None
    backoff: float | None = None
    unprocessed: bool = False


def failure(meaning: Meaning, error: SyncError) -> Answer:
    """The answer that stands for an attempt which brought none."""
    return Answer(meaning=meaning, error=error, unprocessed=proves_unprocessed(meaning, None))


def decode_json(response: Response) -> Any:
    """The body as JSON, whatever its content type says; ``MISSING`` if it is none or empty."""
    if not response.body.strip():
        return MISSING
    try:
        return json.loads(response.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return MISSING


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


class Mapper:
    """One entity's side of the dialect. ``wall`` is the wall clock, for ``Retry-After`` dates."""

    def __init__(self, entity: Entity, config: SyncConfig, wall: Callable[[], float]) -> None:
        self.name = entity.name
        self.entity = entity
        self.dialect: Dialect = entity.dialect
        self._base = config.base_url.rstrip("/")
        self._timeout = config.timeout
        self._wall = wall
        # The bodies are JSON whatever a user's headers say, so the dialect's come last but ours.
        self._headers = {
            "Accept": "application/json",
            **config.headers,
            **self.dialect.headers,
        }

    # --- requests

    def write(
        self,
        operation: SyncOperation,
        key: str,
        data: Json,
        *,
        idempotency_key: str,
        version: Version = None,
    ) -> Request:
        """The request that carries one operation.

        With ``patch="full"``, ``data`` of an update is the whole record.
        """
        route: str = getattr(self.dialect, operation.value)
        method, url = self._route(route, key)
        headers = dict(self._headers)
        if self.dialect.idempotency:
            headers[self.dialect.idempotency] = idempotency_key
        place, _, where = (self.dialect.version_place(operation.value) or "").partition(":")
        known = version is not None and operation is not SyncOperation.CREATE
        if known and place == "header":
            headers[where] = f'"{version}"' if self.dialect.quote_version else str(version)
        if known and place == "query":
            url += "?" + urlencode({where: version})
        if operation is SyncOperation.CREATE and method == "PUT":
            headers["If-None-Match"] = "*"
        in_body = {where: version} if known and place == "body" else {}
        body = self.dialect.encode(operation, self._written(operation, key, data, in_body))
        if operation is SyncOperation.DELETE and method == "DELETE" and not in_body:
            return Request(method, url, headers, None, self._timeout)
        headers["Content-Type"] = self.dialect.content_type
        return Request(method, url, headers, dumps(body).encode("utf-8"), self._timeout)

    def read(self, key: str) -> Request:
        """The request that reads one record."""
        method, url = self._route(self.dialect.read, key)
        return Request(method, url, dict(self._headers), None, self._timeout)

    def listing_url(self) -> str:
        """Where a pull begins, without its query."""
        return self._route(self.dialect.pull, "")[1]

    def listing(self, url: str) -> Request:
        """The request for a page at this URL."""
        method = self.dialect.pull.split(" ")[0]
        return Request(method, url, dict(self._headers), None, self._timeout)

    def refusal(self, response: Response) -> SyncError | None:
        """Why this answer is no page; ``None`` if it may be one."""
        body = decode_json(response)
        meaning = classify_status(self._facts(response, body), json_due=True)
        if meaning is Meaning.DELIVERED and body is not MISSING:
            return None
        if meaning is Meaning.DELIVERED:
            meaning = Meaning.MAPPING
        return self._error(meaning, "(pull)", response, body)

    def _route(self, route: str, key: str) -> tuple[str, str]:
        method, path = route.split(" ")
        endpoint = (
            self.entity.config.endpoint.strip("/")
            if "{endpoint}/" in path
            else (self.entity.config.endpoint.lstrip("/"))
        )
        path = path.replace("{endpoint}", endpoint).replace("{id}", url_segment(key))
        return method, f"{self._base}/{path.lstrip('/')}"

    def _written(self, operation: SyncOperation, key: str, data: Json, in_body: Json) -> Json:
        if operation is SyncOperation.DELETE:
            return dict(in_body)
        left_out = set(self.dialect.server_fields)
        if operation is SyncOperation.CREATE and self.entity.server_ids and is_local(key):
            left_out.add(self.entity.id_field)
        return {name: value for name, value in data.items() if name not in left_out} | in_body

    # --- answers

    def answer(self, operation: SyncOperation, key: str, response: Response) -> Answer:
        """What the answer to a write means."""
        body = decode_json(response)
        facts = self._facts(response, body)
        meaning = classify(operation, facts, self.dialect)
        common = self._common(meaning, response)
        if meaning is Meaning.DELIVERED:
            return self._delivered(operation, key, response, body, common)
        if meaning is Meaning.CONFLICT:
            current = self._current(key, body)
            return Answer(
                meaning=meaning,
                error=self._error(meaning, key, response, body),
                record=current,
                version=self.version_of(current, response) if current is not None else None,
                **common,
            )
        return Answer(meaning=meaning, error=self._error(meaning, key, response, body), **common)

    def reading(self, key: str, response: Response) -> Answer:
        """What the answer to a read means; ``GONE``: the record is not there."""
        body = decode_json(response)
        facts = self._facts(response, body)
        if response.status in self.dialect.gone:
            missing = RejectedError(
                f"{self.name} {key}: HTTP {response.status}: the server has no such record",
                entity=self.name,
                record_id=key,
                status=response.status,
            )
            return Answer(
                meaning=Meaning.GONE, error=missing, **self._common(Meaning.GONE, response)
            )
        meaning = classify_status(facts, json_due=True)
        record = self._record_in(key, body) if meaning is Meaning.DELIVERED else None
        if meaning is Meaning.DELIVERED and record is None:
            meaning = Meaning.MAPPING if body is not MISSING or facts.verified else Meaning.PORTAL
        common = self._common(meaning, response)
        if record is None:
            error = self._error(meaning, key, response, body)
            return Answer(meaning=meaning, error=error, **common)
        if self.is_tombstone(record):
            return Answer(meaning=Meaning.GONE, **common)
        version = self.version_of(record, response)
        return Answer(meaning=meaning, record=record, version=version, **common)

    def _delivered(
        self, operation: SyncOperation, key: str, response: Response, body: Any, common: Json
    ) -> Answer:
        if operation is SyncOperation.DELETE:
            return Answer(meaning=Meaning.DELIVERED, **common)
        found = self._object_in(body)
        server_id = None
        if operation is SyncOperation.CREATE and self.entity.server_ids:
            server_id = self._id_in(body, found)
            if server_id is None:
                message = (
                    f"{self.name}: the answer to a create should bring the new record's id at "
                    f"`{self.dialect.id_in_answer or self.entity.id_field}` "
                    f"(`id_in_answer`); the body is {describe(body)}"
                )
                error = TransportError(message, entity=self.name, record_id=key)
                return Answer(meaning=Meaning.MAPPING, error=error, **common)
            key = str(server_id)
        record = None
        if found is not None and (self.dialect.partial_answer or self._is_record(key, found)):
            record = found
        version = self.version_of(found, response)
        return Answer(
            meaning=Meaning.DELIVERED,
            record=record,
            version=version,
            server_id=server_id,
            **common,
        )

    def _common(self, meaning: Meaning, response: Response) -> Json:
        headers = response.headers
        now = self._wall()
        return {
            "status": response.status,
            "retry_after": parse_retry_after(headers.get("retry-after"), now),
            "backoff": parse_retry_after(headers.get("backoff"), now),
            "unprocessed": proves_unprocessed(meaning, response.status),
        }

    def _facts(self, response: Response, body: Any) -> Facts:
        return Facts(
            status=response.status,
            text=response.body[:65536].decode("utf-8", "replace"),
            is_json=body is not MISSING,
            elsewhere=self._elsewhere(response),
            verified=response.verified,
        )

    def _elsewhere(self, response: Response) -> bool:
        target = response.headers.get("location")
        if not target or not 300 <= response.status < 400:
            return False
        try:
            host = urlsplit(target).hostname
        except ValueError:
            return True
        return host is not None and host != urlsplit(response.url or self._base).hostname

    def _object_in(self, body: Any) -> Json | None:
        found = at(body, self.dialect.record)
        return found if isinstance(found, dict) else None

    def _record_in(self, key: str, body: Any) -> Json | None:
        found = self._object_in(body)
        return found if found is not None and self._is_record(key, found) else None

    def _is_record(self, key: str, found: Json) -> bool:
        value = found.get(self.entity.id_field)
        return isinstance(value, (str, int)) and str(value) == key

    def _id_in(self, body: Any, found: Json | None) -> Any:
        path = self.dialect.id_in_answer or self.entity.id_field
        for place in (found, body):
            value = at(place, path)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
                return value
        return None

    def _current(self, key: str, body: Any) -> Json | None:
        for path in self.dialect.current:
            found = at(body, path)
            if isinstance(found, dict) and self._is_record(key, found):
                return found
        return None

    def is_tombstone(self, record: Json) -> bool:
        """Whether this record stands for a deleted one."""
        return self.dialect.tombstone is not None and record.get(self.dialect.tombstone) is True

    def version_of(self, record: Json | None, response: Response | None = None) -> Version:
        """The record's version, from the first source that has one."""
        for source in self.dialect.version:
            kind, _, name = source.partition(":")
            value: Any = None
            if kind == "header":
                value = response.headers.get(name.lower()) if response is not None else None
            elif record is not None:
                value = at(record, name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return value
        return None

    # --- errors

    def _error(self, meaning: Meaning, key: str, response: Response, body: Any) -> SyncError:
        kind, text = self._wording(meaning, response, body)
        headers: Mapping[str, str] = response.headers
        request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
        return kind(
            f"{self.name} {key}: {presentable(response.url) + ': ' if response.url else ''}{text}",
            entity=self.name,
            record_id=key,
            status=response.status,
            retry_after=parse_retry_after(headers.get("retry-after"), self._wall()),
            request_id=request_id,
        )

    def _wording(
        self, meaning: Meaning, response: Response, body: Any
    ) -> tuple[type[SyncError], str]:
        status = response.status
        said = _server_message(body, response)
        if meaning is Meaning.REDIRECT or (meaning is Meaning.MAPPING and 300 <= status < 400):
            place = response.headers.get("location", "nowhere")
            where = redirect_target(response, self._base) or presentable(place)
            return RejectedError, (
                f"HTTP {status}: the server redirects to {where}, and a write that follows it "
                "could be lost; set base_url or the endpoint to where it points "
                "(often it is only a trailing slash)"
            )
        if meaning is Meaning.PORTAL:
            return OfflineError, (
                f"HTTP {status}: something between here and the server answered in its place, "
                "such as the login page of a network"
            )
        if meaning is Meaning.MAPPING:
            came = (
                describe(body)
                if body is not MISSING
                else (f"no JSON ({response.headers.get('content-type', 'no content type')})")
            )
            return TransportError, (
                f"HTTP {status}: the answer should be JSON with the record at "
                f"`{self.dialect.record}` (`record`); what came is {came}. "
                'Dialect(answer="any") accepts answers to writes that are no JSON'
            )
        if meaning is Meaning.CREDENTIALS:
            return AuthError, f"HTTP {status}: the server refused the credentials{said}"
        if meaning in (Meaning.BUSY, Meaning.SERVER_ERROR):
            return TransportError, f"HTTP {status}{said}"
        return RejectedError, f"HTTP {status}{said}"


def _server_message(body: Any, response: Response) -> str:
    """What the server said, shortened; it may quote the payload, so it is never logged."""
    found: Any = body
    if isinstance(body, dict):
        named = [body[name] for name in _MESSAGE_FIELDS if body.get(name)]
        found = named[0] if named else body
    if isinstance(found, (dict, list)):
        found = dumps(found)
    if not isinstance(found, str):
        if "html" in response.headers.get("content-type", ""):
            return ""
        found = response.body[:500].decode("utf-8", "replace")
    text = " ".join(found.split())
    return f": {text[:300]}" if text else ""
