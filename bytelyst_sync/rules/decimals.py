"""Which fields of a record hold decimal numbers.

JSON has no decimals, so a ``Decimal`` is sent as a string. The server may return another notation
of the number, or a JSON number. These compare as equal only in fields that hold decimals.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from bytelyst_sync.rules.encode import field_names

__all__ = ["decimal_fields", "names_in", "names_text"]


def names_text(names: Collection[str]) -> str | None:
    """Names of fields as they are stored; ``None`` for none."""
    return json.dumps(sorted(names)) if names else None


def names_in(*texts: str | None) -> frozenset[str]:
    """The names in stored texts."""
    return frozenset(name for text in texts if text is not None for name in json.loads(text))


def decimal_fields(data: Any) -> tuple[str, ...]:
    """The names of the pushed fields that contain a ``Decimal`` at any depth."""
    return tuple(str(name) for name, value in _members(data) if _holds_decimal(value))


def _members(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    return [(name, getattr(value, name)) for name in field_names(value) or ()]


def _holds_decimal(value: Any) -> bool:
    if isinstance(value, Decimal):
        return True
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_holds_decimal, value))
    return any(_holds_decimal(each) for _, each in _members(value))
