"""The declarations of ``pushed`` (which models, as which entities), and the data of a row.

Declarations are made while models are imported, and only read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import attrs
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from bytelyst_sync.contrib.django.engines import get_engine
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError, InvalidDataError, SyncError

__all__ = ["Declaration", "all_declarations", "declarations_of", "declare", "meta_of"]

Serialize = Callable[[Any], Mapping[str, Any]]
_ENCODED = (str, int, float, bool, type(None), dict, list, date, time, Decimal, UUID)
"""What a push takes as it is."""


def meta_of(model: Any) -> Any:
    """The options (``_meta``) of a model, or of a row's model."""
    return model._meta  # noqa: SLF001 - its documented name


@attrs.frozen(kw_only=True)
class Declaration:
    """One model whose rows are pushed as records of ``entity`` to ``queue``."""

    model: type[models.Model]
    entity: str
    queue: str
    fields: tuple[str, ...] | None
    """The fields of the model that a push carries; ``None``: ``serialize`` gives its data."""
    serialize: Serialize | None
    id: str
    """The field of the model that holds the record's id."""

    @property
    def name(self) -> str:
        """The name of the declaration in errors."""
        return f"{meta_of(self.model).label} (entity {self.entity!r}, queue {self.queue!r})"

    def engine(self, using: str) -> SyncEngine:
        """The engine to push with; ``SyncError`` if rows are written to another database than the
        queue's: no transaction spans both.
        """
        engine = get_engine(self.queue)
        kept_in = cast("DjangoStorage", engine.config.storage).using
        if using != kept_in:
            raise SyncError(
                f"{self.name} is written to database {using!r}, but its queue is in {kept_in!r}:"
                " a row and its push must be in one transaction. Set USING of the queue, or the"
                " database router, so that both are the same"
            )
        return engine

    def record_id(self, row: models.Model) -> str | int:
        """The id of the row's record."""
        value = _value(meta_of(row).get_field(self.id), row)
        if value is None or value == "":
            raise InvalidDataError(
                f"{self.name}: {self.id} is empty; it is the id of the record",
                path=f"$.{self.id}",
                entity=self.entity,
            )
        return value if isinstance(value, int) else str(value)

    def data(self, row: models.Model, id_field: str) -> dict[str, Any]:
        """The record of a row; ``id_field`` is the field of the record that holds its id."""
        record_id = self.record_id(row)
        if self.fields is not None:
            found = {name: _value(meta_of(row).get_field(name), row) for name in self.fields}
        else:
            assert self.serialize is not None  # noqa: S101 - ``declare`` has checked it
            given = self.serialize(row)
            if not isinstance(given, Mapping):
                raise InvalidDataError(
                    f"{self.name}: serialize returned a {type(given).__name__}; return a dict",
                    path="$",
                    entity=self.entity,
                )
            found = dict(given)
        if str(found.setdefault(id_field, record_id)) != str(record_id):
            raise InvalidDataError(
                f"{self.name}: the record's {id_field} is {found[id_field]!r}, but the row's"
                f" {self.id} is {record_id!r}: deletes would name another record. Declare the field"
                " that holds the record's id, as in id='number'",
                path=f"$.{id_field}",
                entity=self.entity,
            )
        return found

    def writes(self, names: frozenset[str]) -> bool:
        """Whether a push may carry one of these fields of the model."""
        if self.fields is None:
            return bool(names)
        pushed = {*self.fields, self.id}
        return any(_field_name(self.model, name) in pushed for name in names)


def _field_name(model: type[models.Model], name: str) -> str:
    try:
        return str(meta_of(model).pk.name if name == "pk" else meta_of(model).get_field(name).name)
    except FieldDoesNotExist:
        return name  # Django itself reports it


def _value(field: models.Field, row: models.Model) -> Any:
    """A field's value as JSON has it, or one that the engine can encode."""
    value = field.value_from_object(row)
    if isinstance(field, (models.FileField, models.BinaryField)):
        return None if value is None else field.value_to_string(row)
    if not isinstance(value, (dict, list)):
        value = field.to_python(value)  # as it would be read from the database
    return value if isinstance(value, _ENCODED) else field.value_to_string(row)


_DECLARED: dict[type[models.Model], list[Declaration]] = {}


def declarations_of(model: type[models.Model]) -> list[Declaration]:
    """The declarations of a model; a proxy model has those of its concrete model."""
    return _DECLARED.get(meta_of(model).concrete_model, [])


def all_declarations() -> list[Declaration]:
    """The declarations of all models."""
    return [each for found in _DECLARED.values() for each in found]


def declare(found: Declaration) -> None:
    """Adds a declaration; ``ConfigError`` if it is wrong."""
    _check(found)
    _DECLARED.setdefault(found.model, []).append(found)


def _check(found: Declaration) -> None:
    label = f"pushed({found.model.__name__})"
    meta = meta_of(found.model)
    if meta.abstract or meta.proxy:
        kind = "abstract" if meta.abstract else "a proxy"
        raise ConfigError(f"{label}: the model is {kind}; declare the model with the table")
    if (found.fields is None) == (found.serialize is None):
        raise ConfigError(f"{label}: give either fields or serialize")
    for name in (*(found.fields or ()), found.id):
        _check_field(label, found.model, name)
    for other in declarations_of(found.model):
        if (other.entity, other.queue) == (found.entity, found.queue):
            raise ConfigError(
                f"{label}: it is pushed to entity {found.entity!r} of queue {found.queue!r} already"
            )


def _check_field(label: str, model: type[models.Model], name: str) -> None:
    columns = [each.name for each in meta_of(model).concrete_fields]
    if name not in columns:
        is_many = any(each.name == name for each in meta_of(model).local_many_to_many)
        why = "is many-to-many, which save() does not write" if is_many else "is no field of it"
        raise ConfigError(
            f"{label}: {name!r} {why}; allowed: {', '.join(columns)}", field="fields", value=name
        )
    if len(meta_of(model).pk_fields) > 1 and name == meta_of(model).pk.name:
        raise ConfigError(
            f"{label}: its primary key has several columns; name one field as the record's id, as"
            " in id='number'",
            field="id",
        )
