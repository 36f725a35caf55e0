"""Many writes in one request, and each one's share of the answer (SPEC §8, ``batch``).

A ``Batch`` is one batch endpoint, shared by the entities that speak to it. Immutable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.batch import BatchFormat, mentions
from bytelyst_sync.errors import TransportError
from bytelyst_sync.model import SyncOperation
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.versions import plain_version
from bytelyst_sync.transport.answers import Heard
from bytelyst_sync.transport.base import Request
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.redirects import presentable
from bytelyst_sync.transport.wording import misfit
from bytelyst_sync.transport.writing import Written

__all__ = ["Batch", "Listed", "batches_of"]

Json = dict[str, Any]
_CONTENT_TYPE = "application/json"


@attrs.frozen
class Listed:
    """One operation of a batch: the write that it would be alone, and what names it."""

    operation: str
    written: Written
    record: str
    version: str | int | None
    key: str


class Batch:
    """One batch endpoint. ``mapper`` is that of any of its entities."""

    def __init__(self, mapper: Mapper, shape: BatchFormat) -> None:
        self._mapper = mapper
        self._shape = shape
        self._method, path = shape.endpoint.split(" ")
        self._base = mapper.requests.base
        self.url = f"{self._base}/{mapper.requests.path(path)}"
        self.size = shape.size
        self._dialect = mapper.dialect

    def serves(self, mapper: Mapper) -> bool:
        """Whether this is the batch endpoint of that entity as well."""
        same = mapper.dialect == self._dialect
        return same and Batch(mapper, self._shape).url == self.url

    def finds_by_record(self, operation: SyncOperation) -> bool:
        """Whether an operation's answer is known by its record's id: then none beside it may have
        the same.
        """
        return self._shape.match is not None and not self._shape.is_numbered(operation.value)

    def takes(self, operation: SyncOperation, *, local: bool) -> bool:
        """Whether this operation may be listed. It goes alone if the list has no place for what it
        has to say: its content type, its condition, or the name that its answer is found by.
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
            # an API that is told versions in the record refuses a second one without
            place = self._dialect.version_place(SyncOperation.UPDATE.value) or ""
            return self._dialect.create.startswith("PUT ") and place.startswith("header:")
        known = bool(self._dialect.version) and place.startswith("header:")
        return known and not mentions(template, "version")

    def request(self, listed: list[Listed]) -> Request:
        """The request that carries them all."""
        rows = [
            _filled(self._shape.template(each.operation), self._values(each, number))
            for number, each in enumerate(listed)
        ]
        body = _placed(dict(self._shape.extra), self._shape.operations, rows)
        headers = {"Content-Type": _CONTENT_TYPE}
        return self._mapper.requests.request(Written(self._method, self.url, headers, body))

    def _values(self, each: Listed, number: int) -> Json:
        parts = urlsplit(each.written.url)
        return {
            "method": each.written.method,
            "path": each.written.url[len(self._base) :],
            "absolute_path": parts.path + (f"?{parts.query}" if parts.query else ""),
            "headers": each.written.headers or None,
            "body": each.written.body,
            "id": each.record,
            "version": plain_version(each.version),
            "key": each.key,
            "number": str(number),
        }

    def shares(self, heard: Heard, listed: list[Listed]) -> list[Heard | None]:
        """Each operation's share of the answer, ``None`` where it has none.

        ``TransportError`` if the answer does not fit the format.
        """
        answers = at(heard.body, self._shape.answers)
        ordered = self._shape.match is None
        fits = isinstance(answers, list) and (
            len(answers) == len(listed) if ordered else len(answers) <= len(listed)
        )
        if not fits:
            told = misfit(
                "batch.answers", self._shape.answers, f"a list of {len(listed)}", heard.body
            )
            raise TransportError(f"{presentable(self.url)}: {told}")
        if ordered:
            return [self._share(heard, answer) for answer in answers]
        keys = [str(at(each, self._shape.match or "")) for each in answers]
        # two of one name are none: nobody can tell whose is whose
        times = Counter(keys)
        found = {key: each for key, each in zip(keys, answers, strict=True) if times[key] == 1}
        names = (
            str(number) if self._shape.is_numbered(each.operation) else each.record
            for number, each in enumerate(listed)
        )
        return [self._share(heard, found.get(name, MISSING)) for name in names]

    def _share(self, heard: Heard, answer: Any) -> Heard | None:
        status = self._status(answer)
        if status is None:
            return None
        headers = {} if self._shape.headers is None else at(answer, self._shape.headers)
        named = headers.items() if isinstance(headers, dict) else ()
        lower = {str(name).lower(): str(value) for name, value in named}
        body = at(answer, self._shape.body)
        return Heard(status, lower, MISSING if body is None else body, "", heard.verified)

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


def batches_of(mappers: Mapping[str, Mapper]) -> dict[str, Batch]:
    """The batch endpoint of each entity that has one."""
    made: list[Batch] = []
    named: dict[str, Batch] = {}
    for name, mapper in mappers.items():
        shape = mapper.dialect.batch
        if shape is None:
            continue
        batch = next((each for each in made if each.serves(mapper)), None)
        if batch is None:
            batch = Batch(mapper, shape)
            made.append(batch)
        named[name] = batch
    return named


def _filled(template: Any, values: Json) -> Any:
    """The template with its placeholders replaced; what has nothing to say is ``MISSING``."""
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
