"""JSON text to values and back, where a number keeps the text that it was written with.

``loads`` gives a ``JsonNumber`` for a number that a ``float`` would write differently, such as
``1234567890.123456789`` or ``19.90``; ``dumps`` writes its text. Everywhere else it is a float.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "DECODER",
    "DEEPEST",
    "JsonNumber",
    "canonical",
    "dumps",
    "encode_plain",
    "has_exact",
    "is_too_deep",
    "loads",
    "make_encode",
]

DEEPEST = 200
"""The depth up to which values are compared and merged."""

_FLAT = frozenset({str, int, float, bool, type(None)})


class JsonNumber(float):
    """A number of a JSON text, with that text. Two of them are equal if their texts are equal as
    decimals; to every other number it compares as the float that it is.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """The number in this text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # a float's are its value
        return (self.text,)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonNumber):
            return Decimal(self.text) == Decimal(other.text)
        return float.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond a float cannot be stored or sent again")
    return number if repr(number) == text else JsonNumber(text)


DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_number)
loads = DECODER.decode
"""The value of a JSON text; ``ValueError`` if it is none, or holds a number beyond a float."""


def make_encode(*, allow_nan: bool) -> Callable[[Any], str]:
    """``JSONEncoder.encode`` with its C encoder created once: creating it takes longer than
    encoding a small record. Cycles raise ``RecursionError``.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    text_of = json.encoder.encode_basestring
    chunks = make(None, encoder.default, text_of, None, ":", ",", False, False, allow_nan)
    return lambda value: "".join(chunks(value, 0))


encode_plain = make_encode(allow_nan=False)
"""JSON text of a value; writes a ``JsonNumber`` as the float that it is."""


def has_exact(value: Any) -> bool:
    """Whether there is a ``JsonNumber`` in this value."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return type(value) is JsonNumber
    return not _FLAT.issuperset(map(type, value)) and any(map(has_exact, value))


def dumps(value: Any) -> str:
    """JSON text of a JSON value, such as a decoded answer.

    A lone surrogate, which JSON can contain as an escape sequence, is written as an escape again.
    """
    text = _exact(value, sort=False) if has_exact(value) else encode_plain(value)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return text.encode("utf-8", "backslashreplace").decode()
    return text


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    if has_exact(value):
        return _exact(value, sort=True)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _exact(value: Any, *, sort: bool) -> str:
    if type(value) is JsonNumber:
        return value.text
    if not has_exact(value):
        return canonical(value) if sort else encode_plain(value)
    if isinstance(value, dict):
        pairs = sorted(value.items()) if sort else value.items()
        members = (f"{encode_plain(name)}:{_exact(each, sort=sort)}" for name, each in pairs)
        return "{" + ",".join(members) + "}"
    return "[" + ",".join(_exact(each, sort=sort) for each in value) + "]"


def is_too_deep(value: Any) -> bool:
    """Whether the value is nested more than ``DEEPEST`` deep."""
    level = [value]
    for _ in range(DEEPEST + 1):
        containers = [each for each in level if isinstance(each, (dict, list))]
        if not containers:
            return False
        level = []
        for each in containers:
            level += each.values() if isinstance(each, dict) else each
    return True
