"""Converts the caller's objects to JSON values, without changing them.

``encode`` returns a new dict; ``encoded`` also the JSON text, if it was computed anyway. A value
that JSON cannot express raises ``InvalidDataError`` with the path to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs

from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.rules.json_text import (
    JsonNumber,
    canonical,
    dumps,
    encode_plain,
    has_exact,
    loads,
)

__all__ = ["canonical", "digest", "dumps", "encode", "encoded", "field_names"]

Default = Callable[[Any], Any]

_MAX_DEPTH = 100
"""Deeper data is refused: parsers of other languages fail at about that depth."""

_MAX_INT_BITS = 14_000
"""About 4,200 digits: Python itself reads no more than 4,300."""

_TEXT = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})


def digest(entity: str, data: Mapping[str, Any]) -> str:
    """A short text that is the same for equal data of one entity."""
    text = f"{entity}\0{canonical(data)}"
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def encode(data: Any, entity: str, default: Default | None = None) -> dict[str, Any]:
    """A new dict with JSON values only, which shares nothing with the caller's object.

    ``default`` is called for a value that JSON cannot express, and returns one that it can.
    """
    return encoded(data, entity, default)[0]


def encoded(
    data: Any, entity: str, default: Default | None = None
) -> tuple[dict[str, Any], str | None]:
    """As ``encode``, with the JSON text as ``dumps`` returns it, or ``None`` if not computed."""
    if type(data) is dict:
        # the common case, done in C: the data is JSON already
        try:
            text = encode_plain(data)
            if not text.isascii():
                text.encode("utf-8")
            if _SCALARS.issuperset(map(type, data.values())) and _TEXT.issuperset(map(type, data)):
                return data.copy(), text
            text = dumps(data) if has_exact(data) else text
            copy = loads(text)
            if copy == data and text.count("[") + text.count("{") < _MAX_DEPTH:
                return copy, text
        except (TypeError, ValueError, RecursionError):
            pass
    if isinstance(data, Mapping) or field_names(data) is not None or default is not None:
        plain = _Encoder(entity, default).plain(data, "$", ())
        if isinstance(plain, dict):
            return plain, None
    raise InvalidDataError(
        f"{entity}: data is a {type(data).__name__}; give a dict (or an attrs or dataclass "
        "instance), which becomes one JSON object",
        path="$",
        entity=entity,
    )


class _Encoder:
    """Encodes the values of one record; ``above`` are the ids of the enclosing containers."""

    def __init__(self, entity: str, default: Default | None) -> None:
        self._entity = entity
        self._default = default

    def plain(self, value: Any, path: str, above: tuple[int, ...]) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value, path)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self._integer(value, path)
        if kind is float or kind is JsonNumber:
            return self._finite(value, path)
        if isinstance(value, Enum):
            return self.plain(value.value, path, above)
        if isinstance(value, (str, int, float)):
            base = str if isinstance(value, str) else int if isinstance(value, int) else float
            return self.plain(base(value), path, above)
        leaf = self._leaf(value, path)
        return self._container(value, path, above) if leaf is None else leaf

    def _text(self, value: str, path: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self._bad("has a lone surrogate, which UTF-8 cannot carry", path) from None
        return value

    def _integer(self, value: int, path: str) -> int:
        if value.bit_length() > _MAX_INT_BITS:
            raise self._bad("has more digits than JSON parsers read", path)
        return value

    def _finite(self, value: float, path: str) -> float:
        if not math.isfinite(value):
            raise self._bad(f"is {value}, which JSON does not have", path)
        return value

    def _leaf(self, value: Any, path: str) -> str | None:
        if isinstance(value, (datetime, date, time)):
            if value != value:  # noqa: PLR0124 - pandas' NaT is a datetime that no value equals
                raise self._bad("is NaT (no time), which JSON does not have; give None", path)
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, Decimal):
            if not value.is_finite():
                raise self._bad(f"is {value}, which JSON does not have", path)
            return str(value)
        return None

    def _container(self, value: Any, path: str, above: tuple[int, ...]) -> Any:
        if id(value) in above:
            raise self._bad("contains itself", path)
        if len(above) >= _MAX_DEPTH:
            raise self._bad(f"is nested more than {_MAX_DEPTH} deep", path)
        inside = (*above, id(value))
        if isinstance(value, Mapping):
            return self._object(value, path, inside)
        if isinstance(value, (set, frozenset)):
            members = [self.plain(each, f"{path}[…]", inside) for each in value]
            return sorted(members, key=canonical)
        if isinstance(value, (list, tuple)):
            return [self.plain(each, f"{path}[{n}]", inside) for n, each in enumerate(value)]
        names = field_names(value)
        if names is not None:
            return {
                name: self.plain(getattr(value, name), _below(path, name), inside) for name in names
            }
        if self._default is not None:
            return self.plain(self._known(self._default, value, path), path, inside)
        raise self._unknown(value, path)

    def _object(self, value: Mapping[Any, Any], path: str, inside: tuple[int, ...]) -> Any:
        if hasattr(value, "getlist"):  # MultiDict of werkzeug or Django: items() omits values
            raise self._bad(
                f"is a {_type_name(value)}, which may hold several values of a name; give a dict, "
                "with a list where there are several",
                path,
            )
        members: dict[str, Any] = {}
        for key, each in value.items():
            if not isinstance(key, str):
                raise self._bad(
                    f"has the key {str(key)[:40]!r} of type {type(key).__name__}; "
                    "JSON keys are strings",
                    path,
                )
            name = str(key.value) if isinstance(key, Enum) else str(key)
            if name in members:
                raise self._bad(f"has the key {name[:40]!r} twice; give a list of its values", path)
            members[self._text(name, path)] = self.plain(each, _below(path, name), inside)
        return members

    def _known(self, default: Default, value: Any, path: str) -> Any:
        try:
            return default(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # its text may quote the record, so only its kind is shown
            raise self._bad(
                f"is a {_type_name(value)}, for which json_default raised {type(error).__name__}",
                path,
            ) from error

    def _unknown(self, value: Any, path: str) -> InvalidDataError:
        return self._bad(
            f"is a {_type_name(value)}, which JSON does not have; turn it into a string, number, "
            "list or dict first, or set json_default",
            path,
        )

    def _bad(self, problem: str, path: str) -> InvalidDataError:
        text = f"{self._entity}: the value at {path} {problem}"
        return InvalidDataError(text, path=path, entity=self._entity)


def field_names(value: Any) -> list[str] | None:
    """The fields of an instance of a dataclass or an attrs class; ``None`` for anything else."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if attrs.has(type(value)):
        return [field.name for field in attrs.fields(type(value))]
    return None


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"
