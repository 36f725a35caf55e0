"""Many writes in one request, and the part of the answer for each (``Dialect.batch``).

A ``Batch`` is one batch endpoint, which several entities may share. Immutable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.config.batch_format import BatchFormat, mentions
from bytelyst_sync.errors import TransportError
from bytelyst_sync.http.transport import Request
from bytelyst_sync.http.urls import redacted
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import mapping_mismatch
from bytelyst_sync.protocol.requests import WriteRequest
from bytelyst_sync.protocol.responses import DecodedResponse
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.versions import plain_version

__all__ = ["Batch", "Listed", "batches_of"]

Json = dict[str, Any]
_CONTENT_TYPE = "application/json"


@attrs.frozen
class Listed:
    """One operation of a batch: the single write, and the identifiers that a template may use."""

    operation: str
    written: WriteRequest
    record: str
    version: str | int | None
    key: str


class Batch:
    """One batch endpoint. ``codec`` is that of any of its entities."""

    def __init__(self, codec: EntityCodec, shape: BatchFormat) -> None:
        self._codec = codec
        self._shape = shape
        self._method, path = shape.endpoint.split(" ")
        self._base = codec.requests.base
        self.url = f"{self._base}/{codec.requests.path(path)}"
        self.size = shape.size
        self._dialect = codec.dialect

    def serves(self, codec: EntityCodec) -> bool:
        """Whether that entity uses the same batch endpoint."""
        same = codec.dialect == self._dialect
        return same and Batch(codec, self._shape).url == self.url

    def finds_by_record(self, operation: SyncOperation) -> bool:
        """Whether the record's id tells which answer is this operation's. Such a batch may contain
        one operation on each record.
        """
        return self._shape.match is not None and not self._shape.is_numbered(operation.value)

    def takes(self, operation: SyncOperation, *, local: bool) -> bool:
        """Whether this operation can be part of a batch. It is sent alone if the template has no
        place for its content type, its condition, or the value by which its answer is found.
        """
        template = self._shape.template(operation.value)
        if template is None or self._dialect.media_type(operation.value) != _CONTENT_TYPE:
            return False
        if local and self.finds_by_record(operation):
            return False
        return mentions(template, "headers") or not self._is_conditional(operation, template)

    def _is_conditional(self, operation: SyncOperation, template: Any) -> bool:
        place = self._dialect.version_place(operation.value) or ""
        if operation is SyncOperation.CREATE:
            # an API that takes the version in the record refuses an update without one
            place = self._dialect.version_place(SyncOperation.UPDATE.value) or ""
            return self._dialect.create.startswith("PUT ") and place.startswith("header:")
        known = bool(self._dialect.version) and place.startswith("header:")
        return known and not mentions(template, "version")

    def request(self, listed: list[Listed]) -> Request:
        """The request with all of these operations."""
        rows = [
            _filled(self._shape.template(each.operation), self._values(each, number))
            for number, each in enumerate(listed)
        ]
        body = _placed(dict(self._shape.extra), self._shape.operations, rows)
        headers = {"Content-Type": _CONTENT_TYPE}
        return self._codec.requests.request(WriteRequest(self._method, self.url, headers, body))

    def _values(self, each: Listed, number: int) -> Json:
        parts = urlsplit(each.written.url)
        return {
            "method": each.written.method,
            "path": each.written.url[len(self._base) :],
            "absolute_path": parts.path + (f"?{parts.query}" if parts.query else ""),
            # in lower case, as in HTTP/2: some servers compare the names literally
            "headers": {name.lower(): value for name, value in each.written.headers.items()}
            or None,
            "body": each.written.body,
            "id": each.record,
            "version": plain_version(each.version),
            "key": each.key,
            "number": str(number),
        }

    def shares(
        self, decoded: DecodedResponse, listed: list[Listed]
    ) -> list[DecodedResponse | None]:
        """The part of the answer for each operation, or ``None`` if there is none.

        ``TransportError`` if the answer does not fit the format.
        """
        answers = at(decoded.body, self._shape.answers)
        ordered = self._shape.match is None
        fits = isinstance(answers, list) and (
            len(answers) == len(listed) if ordered else len(answers) <= len(listed)
        )
        if not fits:
            mismatch = mapping_mismatch(
                "batch.answers", self._shape.answers, f"a list of {len(listed)}", decoded.body
            )
            raise TransportError(f"{redacted(self.url)}: {mismatch}")
        if ordered:
            return [self._share(decoded, answer) for answer in answers]
        keys = [str(at(each, self._shape.match or "")) for each in answers]
        # two answers with the same key are ignored: it is unknown which is whose
        times = Counter(keys)
        unique = {key: each for key, each in zip(keys, answers, strict=True) if times[key] == 1}
        names = (
            str(number) if self._shape.is_numbered(each.operation) else each.record
            for number, each in enumerate(listed)
        )
        return [self._share(decoded, unique.get(name, MISSING)) for name in names]

    def _share(self, decoded: DecodedResponse, answer: Any) -> DecodedResponse | None:
        status = self._status(answer)
        if status is None:
            return None
        headers = {} if self._shape.headers is None else at(answer, self._shape.headers)
        members = headers.items() if isinstance(headers, dict) else ()
        lower = {str(name).lower(): str(value) for name, value in members}
        body = at(answer, self._shape.body)
        return DecodedResponse(
            status, lower, MISSING if body is None else body, "", decoded.verified
        )

    def _status(self, answer: Any) -> int | None:
        if answer is MISSING:
            return None
        if self._shape.error is not None:
            word = at(answer, self._shape.error)
            return 200 if not word else self._shape.error_statuses.get(str(word), 500)
        status = at(answer, self._shape.status or "")
        text = str(status)[:3]
        fits = isinstance(status, (int, str)) and text.isascii() and text.isdigit()
        return int(text) if fits and 100 <= int(text) <= 599 else None


def batches_of(codecs: Mapping[str, EntityCodec]) -> dict[str, Batch]:
    """The batch endpoint of each entity that has one."""
    batches: dict[str, Batch] = {}
    for name, codec in codecs.items():
        shape = codec.dialect.batch
        if shape is not None:
            shared = next((each for each in batches.values() if each.serves(codec)), None)
            batches[name] = shared or Batch(codec, shape)
    return batches


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def _filled(template: Any, values: Json) -> Any:
    """The template with its placeholders replaced; ``MISSING`` if it has no value."""
    if isinstance(template, str) and template[:1] == "{" and template[-1:] == "}":
        value = values[template[1:-1]]
        return MISSING if value is None else value
    if isinstance(template, Mapping):
        filled = {name: _filled(each, values) for name, each in template.items()}
        return {name: value for name, value in filled.items() if value is not MISSING}
    if isinstance(template, (list, tuple)):
        return [value for each in template if (value := _filled(each, values)) is not MISSING]
    return template


def _placed(body: Json, path: str, rows: list[Any]) -> Any:
    if not path:
        return rows
    step, _, rest = path.partition(".")
    inner = body.get(step)
    placed = _placed(dict(inner) if isinstance(inner, Mapping) else {}, rest, rows)
    return {**body, step: placed}
