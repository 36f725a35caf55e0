"""Models whose rows are pushed when they are saved or deleted, in the same transaction.

``pushed(Order, "orders", fields=("title",))`` declares a model, ``@pushed("orders", fields=…)`` its
class, and ``PushedModelMixin`` does it by inheritance. From then on:

*Saving* pushes the row inside of ``transaction.atomic()``, after Django wrote it and sent
``post_save``, and before the commit. A receiver of ``post_save`` itself would come too late: Django
sends it after the transaction of a save, and a process that is killed in between loses the push.

*Deleting* pushes in ``post_delete``, which Django sends within the transaction of a delete, for
each row: so deletes of query sets and cascades are pushed as well.

*What goes past both*, such as ``QuerySet.update``, is refused: see ``bulk_guard.py``. What neither
can see is found by a system check: see ``pushed_checks.py``.

It is one way: what a pull brings is never written into a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ClassVar, TypeVar, overload

from django.db import models, router, transaction
from django.db.models.signals import class_prepared, post_delete

from bytelyst_sync.contrib.django.bulk_guard import install_guard
from bytelyst_sync.contrib.django.declarations import (
    Declaration,
    Serialize,
    all_declarations,
    declarations_of,
    declare,
    meta_of,
)
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError

__all__ = ["PushedModelMixin", "pushed", "without_pushes"]

M = TypeVar("M", bound=type[models.Model])
_PUSHES: ContextVar[bool] = ContextVar("bytelyst_sync_pushes", default=True)
_USING, _UPDATE_FIELDS = 2, 3
"""The places of the arguments of ``save`` that Django 5.2 still takes by position."""


@contextmanager
def without_pushes() -> Iterator[None]:
    """Inside, saving and deleting pushes nothing, and bulk calls are allowed.

    For rows that came from the server, and for imports whose changes you push yourself. It holds
    for this thread or task.
    """
    token = _PUSHES.set(False)
    try:
        yield
    finally:
        _PUSHES.reset(token)


@overload
def pushed(
    model: M,
    entity: str,
    *,
    fields: Iterable[str] | None = None,
    serialize: Serialize | None = None,
    id: str = "pk",
    queue: str = "default",
) -> M: ...
@overload
def pushed(
    model: str,
    *,
    fields: Iterable[str] | None = None,
    serialize: Serialize | None = None,
    id: str = "pk",
    queue: str = "default",
) -> Callable[[M], M]: ...
def pushed(
    model: Any,
    entity: str | None = None,
    *,
    fields: Iterable[str] | None = None,
    serialize: Serialize | None = None,
    id: str = "pk",  # noqa: A002 - what the record has
    queue: str = "default",
) -> Any:
    """Has the rows of a model pushed as records of ``entity`` when they are saved or deleted.

    Call it with the model, or use it as a decorator of the class, with the entity first. ``fields``
    names the fields of the model that a push carries; ``serialize`` is called with the row instead,
    and returns the record as a dict. ``id`` is the field that holds the record's id. A model may be
    declared for several entities.

    Raises ``ConfigError`` for a declaration that is wrong. Saving then raises what
    ``SyncEngine.push`` raises, and the row is not saved.
    """
    if entity is None:
        return lambda found: pushed(
            found, model, fields=fields, serialize=serialize, id=id, queue=queue
        )
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        raise ConfigError(
            f"pushed() got {model!r}; give a model and an entity, or decorate the model's class"
            ' with @pushed("entity", fields=[…])'
        )
    if isinstance(fields, str):
        raise ConfigError(f"pushed({model.__name__}): fields is {fields!r}; give a list of names")
    first = not declarations_of(model)
    declare(
        Declaration(
            model=model,
            entity=entity,
            queue=queue,
            fields=None if fields is None else tuple(fields),
            serialize=serialize,
            id=meta_of(model).pk.name if id == "pk" and not meta_of(model).abstract else id,
        )
    )
    if first:
        _connect(model)
    return model


class PushedModelMixin(models.Model):
    """A base of models that are pushed: set ``push_entity``, and ``push_fields`` or
    ``push_serialize``.
    """

    push_entity: ClassVar[str]
    """The entity of the records."""
    push_fields: ClassVar[Iterable[str] | None] = None
    """The fields that a push carries; ``None``: ``push_serialize`` gives the record."""
    push_id: ClassVar[str] = "pk"
    """The field that holds the record's id."""
    push_queue: ClassVar[str] = "default"
    """The queue."""

    class Meta:
        """No table of its own."""

        abstract = True

    def push_serialize(self) -> Mapping[str, Any]:
        """The record as a dict. Override it, or set ``push_fields``."""
        name = type(self).__name__
        raise ConfigError(f"{name}: set push_fields, or override push_serialize")


def _prepared(sender: Any, **_: Any) -> None:
    """A model's class was made: declares one with the mixin, and connects a proxy."""
    if declarations_of(sender):
        _connect_deletes(sender)  # of a proxy
    elif issubclass(sender, PushedModelMixin) and not meta_of(sender).proxy:
        has_parent = any(issubclass(sender, each.model) for each in all_declarations())
        if has_parent and "push_entity" not in vars(sender):
            return  # its parent's row is pushed
        if not isinstance(getattr(sender, "push_entity", None), str):
            raise ConfigError(f"{sender.__name__}: set push_entity, the entity of its records")
        own = sender.push_serialize is not PushedModelMixin.push_serialize
        pushed(
            sender,
            sender.push_entity,
            fields=sender.push_fields,
            serialize=sender.push_serialize if own else None,
            id=sender.push_id,
            queue=sender.push_queue,
        )


class_prepared.connect(_prepared, dispatch_uid="bytelyst_sync.pushed")


# --- what a declared model does


def _connect(model: type[models.Model]) -> None:
    install_guard(_PUSHES.get)
    model.save = _in_atomic(model.save)
    model.delete = _in_atomic(model.delete)
    model.save_base = _with_push(model, model.save_base)
    for each in (model, *_proxies(model)):
        _connect_deletes(each)


def _proxies(model: type[models.Model]) -> Iterator[type[models.Model]]:
    for each in model.__subclasses__():
        if meta_of(each).proxy:
            yield each
            yield from _proxies(each)


def _connect_deletes(model: type[models.Model]) -> None:
    post_delete.connect(_push_delete, sender=model, dispatch_uid="bytelyst_sync.pushed")


def _in_atomic(method: Callable[..., Any]) -> Callable[..., Any]:
    """``save`` or ``delete`` in a transaction, or in a savepoint of the one that is open."""

    @wraps(method)
    def call(self: models.Model, *arguments: Any, **options: Any) -> Any:
        if not _PUSHES.get():
            return method(self, *arguments, **options)
        using = options.get("using") or _positional(method, arguments)
        using = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            return method(self, *arguments, **options)

    return call


def _positional(method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    place = 0 if method.__name__ == "delete" else _USING
    return arguments[place] if len(arguments) > place else None


def _with_push(model: type[models.Model], method: Callable[..., Any]) -> Callable[..., Any]:
    """``save_base``, which each ``save`` calls once with its arguments resolved, and the push."""

    @wraps(method)
    def save_base(
        self: models.Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        using = using or router.db_for_write(type(self), instance=self)
        given = (raw, force_insert, force_update, using, update_fields)
        if raw or not _PUSHES.get():
            method(self, *given)
            return
        written = None if update_fields is None else frozenset(update_fields)
        wanted = [
            each for each in declarations_of(model) if written is None or each.writes(written)
        ]
        engines = [each.engine(using) for each in wanted]
        added = self._state.adding
        with transaction.atomic(using=using, savepoint=False):
            method(self, *given)
            if wanted:
                row = _as_stored(self, model, using, partial=written is not None)
                for each, engine in zip(wanted, engines, strict=True):
                    _push_save(each, engine, row, added=added)

    return save_base


def _as_stored(
    row: models.Model, model: type[models.Model], using: str, *, partial: bool
) -> models.Model:
    """The row with the values that the database has: an instance may hold others, if only some
    fields were written, or if one was computed there.
    """
    columns = [each.attname for each in meta_of(model).concrete_fields]
    held = row.__dict__
    if partial or any(hasattr(held.get(name), "resolve_expression") for name in columns):
        manager: Any = type(row)._base_manager  # noqa: SLF001 - its documented name
        found: models.Model = manager.using(using).get(pk=row.pk)
        return found
    return row


def _push_save(found: Declaration, engine: SyncEngine, row: models.Model, *, added: bool) -> None:
    entity = engine.config.entities[found.entity]
    data = found.data(row, entity.id_field)
    if added:
        engine.push(found.entity, data)
    elif entity.replica and entity.dedup != "none":
        # creates a record that the view lacks: the row may be older than its declaration
        engine.save(found.entity, data)
    else:
        engine.push(found.entity, data, "update")


def _push_delete(sender: Any, instance: models.Model, using: str, **_: Any) -> None:
    if _PUSHES.get():
        for each in declarations_of(sender):
            each.engine(using).delete(each.entity, each.record_id(instance))
