"""From the caller's objects to JSON, without touching them (SPEC §2).

``encode`` returns a fresh dict of what JSON can carry, ``encoded`` also the JSON text where it was
made on the way. What JSON cannot carry raises ``InvalidDataError`` with the path to it.
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

__all__ = ["canonical", "digest", "dumps", "encode", "encoded"]

_MAX_DEPTH = 100
"""Deeper data is refused: parsers of other languages give up at about there."""

_MAX_INT_BITS = 14_000
"""About 4,200 digits: Python itself reads no more than 4,300."""

_TEXT = frozenset({str})
_SCALARS = frozenset({str, int, float, bool, type(None)})

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _make_encode() -> Callable[[Any], str]:
    """``_encoder.encode``, but that the part in C is made once and not at every call, which is most
    of what a small record takes. Cycles end in a ``RecursionError``.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    text_of = json.encoder.encode_basestring
    chunks = make(None, _encoder.default, text_of, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_encode = _make_encode()


def dumps(value: Any) -> str:
    """JSON text of what is already plain, such as what a server answered.

    A lone surrogate, which a server's JSON may spell as an escape, stays one.
    """
    text = _encode(value)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return json.dumps(value, separators=(",", ":"))
    return text


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(entity: str, data: Mapping[str, Any]) -> str:
    """A short text by which equal data of one entity is found."""
    text = f"{entity}\0{canonical(data)}"
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def encode(data: Any, entity: str) -> dict[str, Any]:
    """A fresh, plain dict of the caller's object: nothing in it is shared with the caller."""
    return encoded(data, entity)[0]


def encoded(data: Any, entity: str) -> tuple[dict[str, Any], str | None]:
    """The same, and its JSON text as ``dumps`` makes it; ``None`` if it is still to be made."""
    if type(data) is dict:
        found = _already_plain(data)
        if found is not None:
            return found
    if not isinstance(data, Mapping) and not _is_record(data):
        raise InvalidDataError(
            f"{entity}: data is a {type(data).__name__}; give a dict (or an attrs or dataclass "
            "instance), which becomes one JSON object",
            path="$",
            entity=entity,
        )
    plain = _plain(data, "$", entity, ())
    if not isinstance(plain, dict):
        raise InvalidDataError(f"{entity}: data is no JSON object", path="$", entity=entity)
    return plain, None


def _already_plain(data: dict[Any, Any]) -> tuple[dict[str, Any], str] | None:
    """A deep copy, if JSON loses nothing: the common case, at the speed of C."""
    try:
        text = _encode(data)
        if not text.isascii():
            text.encode("utf-8")
        if _SCALARS.issuperset(map(type, data.values())) and _TEXT.issuperset(map(type, data)):
            return data.copy(), text
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    if plain == data and text.count("[") + text.count("{") < _MAX_DEPTH:
        return plain, text
    return None


def _is_record(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return dataclasses.is_dataclass(value) or attrs.has(type(value))


def _plain(value: Any, path: str, entity: str, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, path, entity)
    if value is None or kind is bool:
        return value
    if kind is int:
        return _integer(value, path, entity)
    if kind is float:
        return _number(value, path, entity)
    if isinstance(value, Enum):
        return _plain(value.value, path, entity, above)
    if isinstance(value, (str, int, float)):
        base = str if isinstance(value, str) else int if isinstance(value, int) else float
        return _plain(base(value), path, entity, above)
    leaf = _leaf(value, path, entity)
    if leaf is not None:
        return leaf
    return _container(value, path, entity, above)


def _text(value: str, path: str, entity: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad("has a lone surrogate, which UTF-8 cannot carry", path, entity) from None
    return value


def _integer(value: int, path: str, entity: str) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        raise _bad("has more digits than JSON parsers read", path, entity)
    return value


def _number(value: float, path: str, entity: str) -> float:
    if not math.isfinite(value):
        raise _bad(f"is {value}, which JSON does not have", path, entity)
    return value


def _leaf(value: Any, path: str, entity: str) -> str | None:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _bad(f"is {value}, which JSON does not have", path, entity)
        return str(value)
    return None


def _container(value: Any, path: str, entity: str, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        raise _bad("contains itself", path, entity)
    if len(above) >= _MAX_DEPTH:
        raise _bad(f"is nested more than {_MAX_DEPTH} deep", path, entity)
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        made = {}
        for key, each in value.items():
            if not isinstance(key, str):
                raise _bad(
                    f"has the key {str(key)[:40]!r} of type {type(key).__name__}; "
                    "JSON keys are strings",
                    path,
                    entity,
                )
            name = str(key.value) if isinstance(key, Enum) else str(key)
            _text(name, path, entity)
            made[name] = _plain(each, _below(path, name), entity, inside)
        return made
    if isinstance(value, (set, frozenset)):
        members = [_plain(each, f"{path}[…]", entity, inside) for each in value]
        return sorted(members, key=canonical)
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{path}[{n}]", entity, inside) for n, each in enumerate(value)]
    if _is_record(value):
        names = (
            [field.name for field in dataclasses.fields(value)]
            if dataclasses.is_dataclass(value)
            else [field.name for field in attrs.fields(type(value))]
        )
        return {
            name: _plain(getattr(value, name), _below(path, name), entity, inside) for name in names
        }
    raise _bad(
        f"is a {type(value).__module__}.{type(value).__qualname__}, which JSON does not have; "
        "turn it into a string, number, list or dict first",
        path,
        entity,
    )


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"


def _bad(problem: str, path: str, entity: str) -> InvalidDataError:
    return InvalidDataError(f"{entity}: the value at {path} {problem}", path=path, entity=entity)
