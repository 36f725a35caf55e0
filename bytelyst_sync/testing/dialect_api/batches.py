"""Batches on the server's side: splits a request, and combines the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from bytelyst_sync.config.batch_format import BatchFormat, mentions
from bytelyst_sync.rules.json_text import dumps
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.placing import placed
from bytelyst_sync.testing.http_messages import Answer, RecordedRequest

if TYPE_CHECKING:
    from bytelyst_sync.config.entity import Entity

__all__ = ["Batches"]

Json = dict[str, Any]
_ORDER = ("delete", "update", "create")
"""The order in which templates are tried: that of a delete is the most specific."""


class Batches:
    """The batch endpoint of an entity."""

    def __init__(self, entity: Entity, shape: BatchFormat) -> None:
        self._entity = entity
        self._dialect = entity.dialect
        self._shape = shape

    def answer(
        self, request: RecordedRequest, endpoint: str, handle: Callable[[RecordedRequest], Answer]
    ) -> Answer:
        """The answer to a batch; ``handle`` answers each operation."""
        listed = at(request.body, self._shape.operations)
        if not isinstance(listed, list):
            return Answer.of(400, {"error": f"no list of operations at {self._shape.operations!r}"})
        if len(listed) > self._shape.size:
            return Answer.of(413, {"error": f"more than {self._shape.size} operations"})
        answers = []
        for number, element in enumerate(listed):
            named = self._single(element, endpoint, request)
            if named is None:
                return Answer.of(400, {"error": f"operation {number} is none of this API"})
            single, name = named
            answers.append(self._element(handle(single), name))
        return Answer.of(200, placed({}, self._shape.answers, answers))

    def _single(
        self, element: Any, endpoint: str, whole: RecordedRequest
    ) -> tuple[RecordedRequest, str | None] | None:
        """The single request for an operation, and the value by which its answer is found."""
        for operation in _ORDER:
            template = self._shape.template(operation)
            values: Json = {}
            if template is None or not _fits(template, element, values):
                continue
            if "method" in values and values["method"] != self._method(operation):
                continue
            by_number = mentions(template, "number")
            name = values.get("number") if by_number else values.get("id")
            if name is None and isinstance(values.get("body"), dict):
                name = values["body"].get(self._entity.id_field)
            request = self._request(operation, values, endpoint, name, whole)
            return request, None if name is None else str(name)
        return None

    def _method(self, operation: str) -> str:
        return str(getattr(self._dialect, operation).partition(" ")[0])

    def _request(
        self, operation: str, values: Json, endpoint: str, name: Any, whole: RecordedRequest
    ) -> RecordedRequest:
        method, _, path = getattr(self._dialect, operation).partition(" ")
        target = values.get("path")
        if target is None and "absolute_path" in values:
            target = urlsplit(values["absolute_path"])._replace(scheme="", netloc="").geturl()
        if target is None:
            key = quote(str(name), safe="")
            target = "/" + path.replace("{endpoint}", endpoint.strip("/")).replace("{id}", key)
        listed = values.get("headers") or {}
        headers = {str(each): str(text) for each, text in listed.items()}
        if self._dialect.idempotency and "key" in values:
            headers[self._dialect.idempotency] = str(values["key"])
        place, _, where = (self._dialect.version_place(operation) or "").partition(":")
        if "version" in values and place == "header":
            headers[where] = str(values["version"])
        elif "version" in values and place == "query":
            target += ("&" if "?" in target else "?") + f"{where}={quote(str(values['version']))}"
        body = values.get("body")
        content = b"" if body is None else dumps(body).encode()
        shared = {key: each for key, each in whole.headers.items() if key == "authorization"}
        return RecordedRequest.of(method, target, {**shared, **headers}, content)

    def _element(self, answer: Answer, name: str | None) -> Json:
        """One answer of the batch."""
        body = RecordedRequest.of("", "", {}, answer.body).body
        element: Any = {}
        if self._shape.body:
            element = placed(element, self._shape.body, body)
        elif isinstance(body, dict):
            element = dict(body)
        if self._shape.status is not None:
            element = placed(element, self._shape.status, answer.status)
        if self._shape.headers is not None:
            element = placed(element, self._shape.headers, dict(answer.headers))
        if self._shape.match is not None:
            element = placed(element, self._shape.match, name)
        if self._shape.error is not None:
            element.pop(self._shape.error, None)
            if answer.status >= 400:
                words = self._shape.error_statuses.items()
                word = next((word for word, each in words if each == answer.status), "error")
                element = placed(element, self._shape.error, word)
        return dict(element)


def _fits(template: Any, value: Any, values: Json) -> bool:
    """Whether a value was made from a template; ``values`` are those of its placeholders."""
    if isinstance(template, str) and template[:1] == "{" and template[-1:] == "}":
        values[template[1:-1]] = value
        return True
    if isinstance(template, Mapping):
        if not isinstance(value, Mapping) or not set(value) <= set(template):
            return False
        return all(
            _fits(inner, value[name], values) if name in value else _may_be_missing(inner)
            for name, inner in template.items()
        )
    if isinstance(template, (list, tuple)):
        same = isinstance(value, list) and len(value) == len(template)
        return same and all(map(lambda one, other: _fits(one, other, values), template, value))
    return value is not MISSING and bool(template == value)


def _may_be_missing(template: Any) -> bool:
    return isinstance(template, str) and template[:1] == "{" and template[-1:] == "}"
