"""Reads fields from where an API has them, and puts them back: ``Dialect.fields``.

Paths are those of ``rules/paths.py``; ``[]`` stands for every element of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.rules.paths import EACH, MISSING

__all__ = ["REST", "placed", "read_at", "without"]

Json = dict[str, Any]
REST = "*"
"""The name in ``Dialect.fields`` for all other fields."""


def read_at(value: Any, path: str) -> Any:
    """The value at the path, ``MISSING`` if there is none; below a null everything is null."""
    head, _, rest = path.partition(".")
    while path:
        if value is None:
            return None
        each = head.endswith(EACH)
        name = head.removesuffix(EACH) if each else head
        if isinstance(value, Mapping) and (path in value or name in value):
            if path in value:
                return value[path]
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
        if each:
            if not isinstance(value, list):
                return None if value is None else MISSING
            return [read_at(element, rest) for element in value]
        path = rest
        head, _, rest = path.partition(".")
    return value


def without(value: Any, path: str) -> Any:
    """The value without what stands at the path, and without objects that are empty then. Nothing
    is changed in place. ``[]`` takes the whole list away; one element of a list stays in it.
    """
    if not isinstance(value, Mapping):
        return value
    head, _, rest = path.partition(".")
    whole = path in value or not rest or head.endswith(EACH)
    name = path if path in value else head.removesuffix(EACH)
    if name not in value:
        return value
    others = {each: inner for each, inner in value.items() if each != name}
    if whole:
        return others
    if not isinstance(value[name], Mapping):
        return value
    left = without(value[name], rest)
    return {**others, name: left} if left else others


def placed(container: Any, path: str, value: Any) -> Any:
    """The container with the value at the path; what is missing on the way is made, and nothing is
    changed in place. Raises ``ValueError`` where the path leads through a list in another way.
    """
    if not path:
        return value
    if container is None and value is None:
        return None  # it was read from below this null
    head, _, rest = path.partition(".")
    if head.endswith(EACH):
        if value is not None and not isinstance(value, list):
            raise ValueError(f"`{head}` needs a list")
        listed = None if value is None else [placed(MISSING, rest, each) for each in value]
        return placed(container, head.removesuffix(EACH), listed)
    if head.isdigit() and not isinstance(container, Mapping):
        members = list(container) if isinstance(container, list) else []
        if int(head) > len(members):
            raise ValueError(f"the list at `{head}` has only {len(members)} elements")
        inner = members[int(head)] if int(head) < len(members) else MISSING
        return [*members[: int(head)], placed(inner, rest, value), *members[int(head) + 1 :]]
    outer = dict(container) if isinstance(container, Mapping) else {}
    outer[head] = placed(outer.get(head, MISSING), rest, value)
    return outer
