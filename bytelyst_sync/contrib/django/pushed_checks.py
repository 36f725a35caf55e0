"""System checks of pushed models: writes that ``save`` and ``delete`` cannot see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.db import models, router

from bytelyst_sync.contrib.django.declarations import Declaration, all_declarations, meta_of
from bytelyst_sync.contrib.django.engines import read_settings
from bytelyst_sync.errors import ConfigError

__all__ = ["check_pushed_models"]

_APP = "bytelyst_sync"
_SEEN = (models.CASCADE, models.PROTECT, models.RESTRICT, models.DO_NOTHING)
"""What Django does to a row whose parent is deleted by ``delete``, or not at all."""
_CASCADE_IN_DATABASE = getattr(models, "DB_CASCADE", None)


def check_pushed_models(**_: Any) -> list[CheckMessage]:
    """The declared models: their queue, entity and database, and how their rows may change."""
    return [message for each in all_declarations() for message in _check(each)]


def _check(found: Declaration) -> Iterable[CheckMessage]:
    try:
        settings = read_settings(found.queue)
    except ConfigError as error:
        yield Error(f"{found.name}: {error}", obj=found.model, id=f"{_APP}.E006")
        return
    entities = settings.config.entities
    if found.entity not in entities:
        known = ", ".join(map(repr, entities))
        yield Error(
            f"{found.name}: the queue has no entity {found.entity!r}; it has {known}",
            obj=found.model,
            id=f"{_APP}.E006",
        )
    using = router.db_for_write(found.model)
    if using != settings.using:
        yield Error(
            f"{found.name}: the model is in database {using!r}, and the queue in"
            f" {settings.using!r}: no transaction spans both",
            hint="set USING of the queue, or the database router, so that both are the same",
            obj=found.model,
            id=f"{_APP}.E007",
        )
    for field in meta_of(found.model).concrete_fields:
        yield from _check_parent(found, field)


def _check_parent(found: Declaration, field: models.Field) -> Iterable[CheckMessage]:
    """Checks what happens to a row when the row that it refers to is deleted."""
    if not field.is_relation or (on_delete := field.remote_field.on_delete) in _SEEN:
        return
    name = getattr(on_delete, "__name__", None) or str(on_delete)
    if on_delete is _CASCADE_IN_DATABASE:
        yield Error(
            f"{found.name}: the database deletes its rows by itself when a row that {field.name!r}"
            " refers to is deleted, without a push",
            hint="use on_delete=models.CASCADE",
            obj=field,
            id=f"{_APP}.E008",
        )
    elif found.writes(frozenset({field.name})):
        kind = CheckWarning if found.fields is None else Error
        yield kind(
            f"{found.name}: {field.name!r} is changed without a push when the row that it refers"
            f" to is deleted (on_delete={name})",
            hint="use CASCADE, PROTECT or RESTRICT, or leave the field out of what is pushed",
            obj=field,
            id=f"{_APP}.{'W' if found.fields is None else 'E'}009",
        )


register(check_pushed_models, _APP)
