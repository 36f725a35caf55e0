"""Bodies on the server's side: reads those of requests, and writes those of answers.

A client's ``RecordShape`` and ``Steps`` define the form of records; this is the other direction.
``encode`` and ``decode`` of a subclass must be inverse to each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.templates import BODY_PLACEHOLDER
from bytelyst_sync.protocol.record_shape import RecordShape
from bytelyst_sync.rules.paths import MISSING, at
from bytelyst_sync.rules.placing import REST, placed

if TYPE_CHECKING:
    from bytelyst_sync.config.entity import Entity

__all__ = ["Shapes", "place"]

Json = dict[str, Any]
_ALL = ("record", "fields")


class Shapes:
    """The bodies of one entity."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._dialect = entity.dialect
        self._shape = RecordShape(entity)
        kind = type(self._dialect)
        self._encodes = kind.encode is not Dialect.encode
        self._decodes = kind.decode is not Dialect.decode

    # --- requests

    def written(self, operation: str, body: Any) -> Json:
        """The fields of a written record; ``ValueError`` if the body does not fit the dialect."""
        if body is None and operation == "delete":
            return {}
        if self._encodes:
            wrapped = at(body, self._dialect.wrapper(operation) or self._dialect.record)
            return self._read(body if wrapped is MISSING else wrapped)
        template = self._dialect.template(operation)
        if template is not None:
            return self._of_template(template, body)
        wrapper = self._dialect.wrapper(operation)
        if wrapper:
            if not isinstance(body, Mapping) or wrapper not in body:
                raise ValueError(f"the body has no member {wrapper!r}")
            return self._read(body[wrapper])
        if isinstance(body, Mapping):
            extra = self._dialect.extra
            body = {name: each for name, each in body.items() if name not in extra}
        return self._read(body)

    def _read(self, value: Any) -> Json:
        if self._decodes:
            value = self._dialect.decode(value)
        record = self._shape.read(value)
        if not isinstance(record, dict):
            raise ValueError("the record must be a JSON object")  # noqa: TRY004 - of the request
        return record

    def _of_template(self, template: Any, body: Any) -> Json:
        values: Json = {}
        _unfill(template, body, values)
        inside = next((values.pop(name) for name in _ALL if name in values), MISSING)
        record: Json = {}
        if inside is not MISSING:
            rest = self._dialect.fields.get(REST, "")
            record = self._read(placed({}, rest, inside)) if self._dialect.fields else dict(inside)
        if "id" in values:
            record[self._entity.id_field] = values.pop("id")
        for name in ("now", "idempotency_key", "entity"):
            values.pop(name, None)
        return {**record, **values}

    # --- answers

    def shown(self, record: Json) -> Any:
        """The record in its form in an answer or a page."""
        if self._encodes:
            body = self._dialect.encode("create", record)
            wrapped = at(body, self._dialect.wrapper("create"))
            return body if wrapped is MISSING else wrapped
        result: Any = dict(record) if not self._dialect.fields else {}
        if self._dialect.fields:
            result = self._put_back(record)
        return result

    def _put_back(self, record: Json) -> Json:
        fields = dict(self._dialect.fields)
        rest = fields.pop(REST, "")
        if rest:
            fields.setdefault(self._entity.id_field, self._entity.id_field)
        others = {name: value for name, value in record.items() if name not in fields}
        result: Any = placed({}, rest, others) if rest else others
        for name, value in record.items():
            if name in fields:
                result = placed(result, fields[name], value)
        return dict(result)

    def answer(self, record: Json, version: Any, *, to_write: bool) -> Any:
        """The body of an answer with a record. If the version is beside the record, and the record
        is the whole body, the answer to a write has only the version, and that to a read only the
        record.
        """
        beside = [each[7:] for each in self._dialect.version if each.startswith("answer:")]
        if version is None or not (to_write or self._dialect.record):
            beside = []
        alone = bool(beside) and not self._dialect.record
        body = place({}, self._dialect.record, {} if alone else self.shown(record))
        for path in beside:
            body = place(body, path, version)
        id_path = self._dialect.id_in_answer
        if id_path is not None and at(body, id_path) is MISSING:
            body = place(body, id_path, record[self._entity.id_field])
        return body

    def refusal(self, message: str, current: Json | None) -> Any:
        """The body of a refusal, with the current record if the dialect has a place for it."""
        body: Any = {"error": message}
        if current is None or not self._dialect.current:
            return body
        path = self._dialect.current[0]
        return place(body, path, self.shown(current))


def place(container: Any, path: str, value: Any) -> Any:
    """The container with the value at the path; names such as ``@odata.etag`` are one step."""
    if path.startswith("@"):
        return {**container, path: value}
    return placed(container, path, value)


def _unfill(template: Any, body: Any, values: Json) -> None:
    """Finds the values of a template's placeholders in a body."""
    if isinstance(template, str):
        _unfill_text(template, body, values)
    elif isinstance(template, Mapping) and body is None:
        for inner in template.values():  # a reference that is null
            if isinstance(inner, str) and BODY_PLACEHOLDER.fullmatch(inner):
                _unfill(inner, None, values)
    elif isinstance(template, Mapping):
        _unfill_object(template, body, values)
    elif isinstance(template, (list, tuple)) and isinstance(body, list):
        for inner, element in zip(template, body, strict=False):
            _unfill(inner, element, values)
    elif template != body:
        raise ValueError(f"the body has {body!r} where {template!r} is expected")


def _unfill_object(template: Mapping[str, Any], body: Any, values: Json) -> None:
    if not isinstance(body, Mapping):
        raise ValueError("the body has something else where an object is expected")  # noqa: TRY004
    for name, inner in template.items():
        if name == REST:
            rest = {each: value for each, value in body.items() if each not in template}
            _unfill(inner, rest, values)
        elif name in body:
            _unfill(inner, body[name], values)
        elif not _may_be_left_out(inner):
            raise ValueError(f"the body has no member {name!r}")


def _may_be_left_out(template: Any) -> bool:
    if isinstance(template, str):
        return BODY_PLACEHOLDER.search(template) is not None
    inner: Any = ()
    if isinstance(template, Mapping):
        inner = template.values()
    elif isinstance(template, (list, tuple)):
        inner = template
    return any(map(_may_be_left_out, inner))


def _unfill_text(template: str, value: Any, values: Json) -> None:
    whole = BODY_PLACEHOLDER.fullmatch(template)
    if whole is not None:
        values[whole[1]] = value
        return
    names = BODY_PLACEHOLDER.findall(template)
    if not names:
        if template != value:
            raise ValueError(f"the body has {value!r} where {template!r} is expected")
        return
    pieces = BODY_PLACEHOLDER.split(template)[::2]
    pattern = "(.*)".join(map(re.escape, pieces))
    match = re.fullmatch(pattern, value, re.DOTALL) if isinstance(value, str) else None
    for name, text in zip(names, () if match is None else match.groups(), strict=False):
        values[name] = text
