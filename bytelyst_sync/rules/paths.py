"""Dotted paths into decoded JSON: ``"data"``, ``"rows.0"``, ``""`` for the whole."""

from __future__ import annotations

from typing import Any

__all__ = ["MISSING", "at", "describe"]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()
"""Stands for "there is nothing at this path", as JSON's ``null`` is something."""


def at(value: Any, path: str) -> Any:
    """What stands at the path, or ``MISSING``."""
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


def describe(value: Any) -> str:
    """What a value looks like from outside, without its content: for error messages."""
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
