"""Dotted paths into decoded JSON: ``"data"``, ``"rows.0"``, ``""`` for the whole.

Where ids are referred to, ``[]`` stands for every element of a list: ``"lines[].product"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["EACH", "MISSING", "at", "at_or_last", "describe", "mapped_at", "values_at"]

EACH = "[]"
"""The end of a step that stands for every element of a list."""
_LAST = ".-1."


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()
"""Returned if there is no value at a path; JSON's ``null`` is a value."""


def at(value: Any, path: str) -> Any:
    """The value at the path, or ``MISSING``."""
    if not path:
        return value
    if isinstance(value, dict) and path in value:
        return value[path]
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


def at_or_last(value: Any, path: str) -> Any:
    """The same, where the step ``-1`` stands for the last element of a list."""
    before, step, after = f".{path}.".partition(_LAST)
    found = at(value, before[1:]) if step else MISSING
    if not isinstance(found, Sequence) or isinstance(found, str):
        return at(value, path)
    return at(found[-1], after[:-1]) if found else MISSING


def values_at(value: Any, path: str) -> list[Any]:
    """Every value at a path that may go through lists; a value that is missing is left out."""
    if EACH not in path:
        value_there = at(value, path)
        return [] if value_there is MISSING else [value_there]
    head, _, rest = path.partition(EACH)
    listed = at(value, head)
    if not isinstance(listed, list):
        return []
    rest = rest.removeprefix(".")
    return [value_there for each in listed for value_there in values_at(each, rest)]


def mapped_at(value: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """The document with ``change`` applied to every value at the path.

    What is changed is copied; the same object is returned if nothing is.
    """
    if not path:
        return change(value)
    head, step, rest = path, "", ""
    if not (isinstance(value, dict) and path in value):
        head, step, rest = _first_step(path)
    if step == EACH:
        if not head:
            return _mapped_each(value, rest, change)
        return mapped_at(value, head, lambda listed: _mapped_each(listed, rest, change))
    place: Any = head
    if isinstance(value, list) and head.isdigit() and int(head) < len(value):
        place = int(head)
    elif not (isinstance(value, dict) and head in value):
        return value
    old = value[place]
    new = mapped_at(old, rest, change)
    if new is old:
        return value
    copied = value.copy()
    copied[place] = new
    return copied


def _first_step(path: str) -> tuple[str, str, str]:
    """The first name of a path, ``[]`` if it goes through a list there, and the rest."""
    name, _, rest = path.partition(".")
    if name.endswith(EACH):
        return name.removesuffix(EACH), EACH, rest
    return name, "", rest


def _mapped_each(listed: Any, rest: str, change: Callable[[Any], Any]) -> Any:
    if not isinstance(listed, list):
        return listed
    new = [mapped_at(each, rest, change) for each in listed]
    return listed if all(map(lambda one, other: one is other, new, listed)) else new


def describe(value: Any) -> str:
    """The shape of a value without its content, for error messages."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, dict):
        names = ", ".join(f"`{str(name)[:40]}`" for name in list(value)[:12])
        return f"an object with keys {names}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    return {str: "a string", bool: "true or false"}.get(type(value), "a number")
