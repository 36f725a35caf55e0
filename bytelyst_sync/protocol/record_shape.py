"""Converts records to and from the server's form: the paths of their fields (``Dialect.fields``),
and the request bodies (``Dialect.body``).

| in a body template | is replaced by |
|---|---|
| ``"{record}"`` | the written record, without the fields that the template names |
| ``"{fields}"`` | the same without the id |
| ``"{id}"`` | the id; left out of a create if the server assigns the ids |
| ``"{now}"`` | the time of the change, the same at every attempt: ``2024-05-06T07:08:09.123Z`` |
| ``"{idempotency_key}"``, ``"{entity}"`` | the operation's key; the entity's name |
| ``"{NAME}"`` | the field of this name |
| a member ``"*"`` | the members of an object, such as ``"{record}"``, in its place |

A member whose placeholder has no value is left out, and so is an object that has only such members.
An object of fixed members and one placeholder of a reference (``EntityConfig.references``) is null
if the reference is null. Immutable; any thread may use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs

from bytelyst_sync.config.dialect_validators import OPERATIONS
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.config.templates import BODY_PLACEHOLDER, body_names_in
from bytelyst_sync.errors import RejectedError
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.rules.placing import REST, placed, read_at, without

__all__ = ["RecordShape", "WriteContext"]

Json = dict[str, Any]
_ALL, _FIELDS = "record", "fields"
_OWN = {_ALL, _FIELDS, "id", "now", "idempotency_key", "entity"}


@attrs.frozen(kw_only=True)
class WriteContext:
    """The other values in a body. ``record_id``: ``None`` if the server assigns it. ``time`` is
    when the change was pushed, in seconds since the epoch.
    """

    record_id: Any
    time: float
    idempotency_key: str


class RecordShape:
    """The shape of one entity's records."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._dialect = entity.dialect
        self._places = {name: path for name, path in self._dialect.fields.items() if name != REST}
        self._rest = self._dialect.fields.get(REST, "")
        self._templates = {name: self._dialect.template(name) for name in OPERATIONS}
        self._wrappers = {name: self._dialect.wrapper(name) for name in OPERATIONS}
        if self._dialect.fields and self._rest:
            # the id is among the other fields, unless the dialect has a path for it
            self._places.setdefault(entity.id_field, entity.id_field)

    # --- reading

    def read(self, decoded: Any) -> Any:
        """The record, from its form at the server."""
        if not self._dialect.fields or not isinstance(decoded, dict):
            return decoded
        fields = {name: read_at(decoded, path) for name, path in self._places.items()}
        remainder = decoded
        for name, path in self._places.items():
            if fields[name] is not MISSING:
                remainder = without(remainder, path)
        rest = read_at(remainder, self._rest)
        record = dict(rest) if isinstance(rest, Mapping) else {}
        for name, value in fields.items():
            record.pop(name, None)
            if value is not MISSING:
                record[name] = value
        return record

    # --- writing

    def body(self, operation: str, record: Json, context: WriteContext) -> Any:
        """The request body for a record. Raises ``RejectedError`` if the body has no place for a
        field, which would be lost.
        """
        template = self._templates[operation]
        if template is None:
            # as Dialect.encode, but the wrapper is computed once
            wrapper, extra = self._wrappers[operation], self._dialect.extra
            plain = self._put_back(record, context) if self._dialect.fields else record
            return {**extra, wrapper: plain} if wrapper else {**extra, **plain}
        names = body_names_in(template)
        rest = {name: value for name, value in record.items() if name not in names - _OWN}
        if "id" in names:
            rest.pop(self._entity.id_field, None)
        self._check_all_placed(operation, rest, names, context)
        inside = {name: value for name, value in rest.items() if self._is_inside(name)}
        without_id = {
            name: value for name, value in inside.items() if name != self._entity.id_field
        }
        values = {
            **{name: value for name, value in record.items() if name not in _OWN},
            _ALL: self._inside_rest(inside, context),
            _FIELDS: self._inside_rest(without_id, context),
            "id": context.record_id,
            "now": _iso(context.time),
            "idempotency_key": context.idempotency_key,
            "entity": self._entity.name,
        }
        if context.record_id is None:
            del values["id"]
        body = _Filling(values, frozenset(self._entity.config.references)).filled(template)
        if body is MISSING:
            body = {}
        return {**self._dialect.extra, **body} if isinstance(body, dict) else body

    def _put_back(self, record: Json, context: WriteContext) -> Json:
        """The record with its fields at the server's paths."""
        others = {name: value for name, value in record.items() if name not in self._places}
        body: Any = {}
        if others or not record:
            body = placed(body, self._rest, others) if self._rest else others
        for name, value in record.items():
            if name in self._places:
                body = self._placed(body, self._places[name], name, value, context)
        return dict(body)

    def _inside_rest(self, record: Json, context: WriteContext) -> Any:
        if not self._dialect.fields:
            return record
        others = read_at(self._put_back(record, context), self._rest)
        return {} if others is MISSING else others

    def _is_inside(self, name: str) -> bool:
        """Whether the field is among the others, below ``"*"``."""
        path = self._places.get(name)
        return path is None or not self._rest or path.startswith(f"{self._rest}.")

    def _placed(self, body: Any, path: str, name: str, value: Any, context: WriteContext) -> Any:
        try:
            return placed(body, path, value)
        except ValueError as error:
            raise self._rejected(
                context, f"the field {name!r} cannot be written to `{path}` (`fields`): {error}"
            ) from None

    def _check_all_placed(
        self, operation: str, rest: Json, names: set[str], context: WriteContext
    ) -> None:
        carries = bool(names & {_ALL, _FIELDS})
        missing = [
            name
            for name in rest
            if name != self._entity.id_field and not (carries and self._is_inside(name))
        ]
        if missing:
            raise self._rejected(
                context,
                f"the body of this {operation} has no place for the field {missing[0]!r}, which "
                f'would be lost: put "{{{missing[0]}}}" or "{{record}}" into `body`, or name the '
                "field in `server_fields` if it is not to be sent",
            )

    def _rejected(self, context: WriteContext, problem: str) -> RejectedError:
        name = self._entity.name
        where = name if context.record_id is None else f"{name}/{context.record_id}"
        return RejectedError(f"{where}: {problem}", entity=name)


class _Filling:
    """Fills one template with the values of one write."""

    def __init__(self, values: Mapping[str, Any], references: frozenset[str]) -> None:
        self._values = values
        self._references = references

    def filled(self, template: Any) -> Any:
        """The filled template; ``MISSING`` if none of its placeholders has a value."""
        if isinstance(template, str):
            return self._text(template)
        if isinstance(template, Mapping):
            return self._object(template)
        if isinstance(template, (list, tuple)):
            parts = [self.filled(each) for each in template]
            values = [each for each in parts if each is not MISSING]
            return values if values or not parts else MISSING
        return template

    def _text(self, text: str) -> Any:
        whole = BODY_PLACEHOLDER.fullmatch(text)
        if whole is not None:
            return self._values.get(whole[1], MISSING)
        values = [self._values.get(name, MISSING) for name in BODY_PLACEHOLDER.findall(text)]
        if any(each is MISSING for each in values):
            return MISSING
        if any(each is None for each in values):
            return None
        return BODY_PLACEHOLDER.sub(lambda match: str(self._values[match[1]]), text)

    def _object(self, template: Mapping[str, Any]) -> Any:
        if self._is_null_reference(template):
            return None
        parts = {name: self.filled(each) for name, each in template.items()}
        variable = [each for name, each in parts.items() if body_names_in(template[name])]
        if variable and all(each is MISSING for each in variable):
            return MISSING
        filled: Json = {}
        for name, value in parts.items():
            if name == REST and isinstance(value, Mapping):
                filled.update(value)
            elif value is not MISSING:
                filled[name] = value
        return filled

    def _is_null_reference(self, template: Mapping[str, Any]) -> bool:
        texts = [each for each in template.values() if isinstance(each, str)]
        names = [name for each in texts for name in BODY_PLACEHOLDER.findall(each)]
        alone = len(texts) == len(template) > 1 and len(names) == 1
        return alone and names[0] in self._references and self._values.get(names[0], "") is None


def _iso(time: float) -> str:
    moment = datetime.fromtimestamp(time, timezone.utc)
    return re.sub(r"\+00:00$", "Z", moment.isoformat(timespec="milliseconds"))
