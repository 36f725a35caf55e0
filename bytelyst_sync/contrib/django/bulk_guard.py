"""Refuses the calls that write many rows of a pushed model without calling ``save``.

``QuerySet.update``, ``bulk_create`` and ``bulk_update`` call no method of the rows and send no
signal. They are refused on ``QuerySet`` itself, once a model is declared: a model's managers may
return query sets of any class, and related and base managers make their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db.models import QuerySet

from bytelyst_sync.contrib.django.declarations import declarations_of, meta_of
from bytelyst_sync.errors import SyncError

__all__ = ["install_guard"]

_GUARDED = ("update", "bulk_create", "bulk_update", "_raw_delete")


def install_guard(enabled: Callable[[], bool]) -> None:
    """Guards all query sets, while ``enabled`` returns true; idempotent."""
    for name in _GUARDED:
        method = getattr(QuerySet, name)
        if not hasattr(method, "guarded_by"):
            setattr(QuerySet, name, _guarded(name, method, enabled))


def _guarded(
    name: str, method: Callable[..., Any], enabled: Callable[[], bool]
) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if enabled():
            _check(self.model, name, _fields(name, arguments, options))
        return method(self, *arguments, **options)

    call.guarded_by = __name__  # type: ignore[attr-defined]
    return call


def _fields(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> frozenset[str] | None:
    """The fields that the call writes; ``None``: all."""
    if name == "update":
        return frozenset(options)
    if name == "bulk_update":
        return frozenset(arguments[1] if len(arguments) > 1 else options.get("fields", ()))
    return None


def _check(model: Any, name: str, fields: frozenset[str] | None) -> None:
    # a raw delete removes the child's part of a row only, while Django deletes the whole
    parents = () if name == "_raw_delete" else meta_of(model).get_parent_list()
    for each in (found for one in (model, *parents) for found in declarations_of(one)):
        if fields is None or each.writes(fields):
            shown = "" if fields is None else f" of {', '.join(sorted(fields))}"
            way = "delete()" if name == "_raw_delete" else "save()"
            raise SyncError(
                f"{name}(){shown} writes rows of {each.name} without a push: call {way} of each"
                " row, or push the changes yourself and call it within without_pushes()",
                entity=each.entity,
            )
