"""Targeting conditions: a query in the style of MongoDB, on the attributes of a unit.

Source: "Build Your Own SDK" of GrowthBook's documentation, section "evalCondition". The format is
JavaScript's, so comparisons coerce as JavaScript does: a missing attribute is ``null``, which is 0
beside a number. One operator is one row of ``OPERATORS``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from bytelyst_sync.rules.json_text import dumps

__all__ = ["Condition", "compile_condition", "matches", "path_value"]

SavedGroups = Mapping[str, Any]
Json = Any
Condition = Callable[[Json, SavedGroups], bool]
"""Takes attributes, or one value of them, and the saved groups."""
Operator = Callable[[Json], Condition]
"""Makes the check of one value from what the condition expects."""
_NO_GROUPS: SavedGroups = {}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|Infinity)\s*")
_VERSION_NOISE = re.compile(r"(^v|\+.*$)")


def matches(attributes: Json, condition: Mapping[str, Json], groups: SavedGroups | None) -> bool:
    """Whether the attributes meet every part of the condition."""
    return compile_condition(condition)(attributes, groups or _NO_GROUPS)


def compile_condition(condition: Mapping[str, Json]) -> Condition:
    """Makes a function of the condition. Make it once, and call it for each unit."""
    parts = tuple(_part(key, value) for key, value in condition.items())

    def check(attributes: Json, groups: SavedGroups) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs as much as the checks
            if not part(attributes, groups):
                return False
        return True

    return parts[0] if len(parts) == 1 else check


def path_value(attributes: Json, path: str) -> Json:
    """The value at a dotted path; ``None`` if any part is missing."""
    current = attributes
    for name in path.split("."):
        if isinstance(current, Mapping):
            if name not in current:
                return None
            current = current[name]
        elif isinstance(current, list) and name.isdecimal() and int(name) < len(current):
            current = current[int(name)]
        else:
            return None
    return current


def _part(key: str, value: Json) -> Condition:
    if key in ("$or", "$nor"):
        any_of = [compile_condition(each) for each in value]
        wanted = key == "$or"
        return lambda attributes, groups: (
            (not any_of or any(each(attributes, groups) for each in any_of)) is wanted
        )
    if key == "$and":
        all_of = [compile_condition(each) for each in value]
        return lambda attributes, groups: all(each(attributes, groups) for each in all_of)
    if key == "$not":
        inner = compile_condition(value)
        return lambda attributes, groups: not inner(attributes, groups)
    check = _value(value)
    if "." in key:
        return lambda attributes, groups: check(path_value(attributes, key), groups)
    return lambda attributes, groups: check(
        attributes.get(key) if isinstance(attributes, dict) else path_value(attributes, key),
        groups,
    )


def _value(expected: Json, *, fold: bool = False) -> Condition:
    """The check of one value: against a literal, or with operators."""
    if isinstance(expected, str):
        if fold:
            lower = expected.lower()
            return lambda actual, _: _text(actual).lower() == lower
        return lambda actual, _: _text(actual) == expected
    if isinstance(expected, bool):
        return lambda actual, _: actual is not None and _truthy(actual) is expected
    if _is_number(expected):
        return lambda actual, _: bool(_number(actual) == expected)
    if expected is None:
        return lambda actual, _: actual is None
    if isinstance(expected, Mapping) and _has_operators(expected):
        checks = tuple(
            OPERATORS[name](value) if name in OPERATORS else _never
            for name, value in expected.items()
        )
        if len(checks) == 1:
            return checks[0]
        return lambda actual, groups: all(each(actual, groups) for each in checks)
    text = dumps(expected)
    return lambda actual, _: dumps(actual) == text


def _never(_: Json, __: SavedGroups) -> bool:
    """The check of an unknown operator: no value passes."""
    return False


def _has_operators(value: Mapping[str, Json]) -> bool:
    return bool(value) and all(key.startswith("$") for key in value)


# --- values as JavaScript sees them


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _truthy(value: Json) -> bool:
    if isinstance(value, (list, dict)):
        return True
    return bool(value) and value == value  # noqa: PLR0124 - NaN counts as false


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join("" if each is None else _text(each) for each in value)
    if isinstance(value, dict):
        return "[object Object]"
    return dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _number(value: Json) -> float:
    """The value as a number; NaN if it is none."""
    if isinstance(value, (int, float)):
        return value
    if value is None:
        return 0
    text = _text(value)
    if not text.strip():
        return 0
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def _equal(left: Json, right: Json) -> bool:
    """Equal without coercion: ``1`` is neither ``True`` nor ``"1"``."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (list, dict)) or isinstance(right, (list, dict)):
        return False
    return bool(left == right)


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if _is_number(value):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


@lru_cache(maxsize=1024)
def _version(value: Json) -> str:
    """A version as a text whose order is that of the versions: parts of digits are padded."""
    text = _text(value) if _is_number(value) else value
    if not text or not isinstance(text, str):
        text = "0"
    parts = re.split(r"[-.]", _VERSION_NOISE.sub("", text))
    if len(parts) == 3:
        parts.append("~")  # a release comes after all of its candidates
    return "-".join(part.rjust(5) if part.isdecimal() else part for part in parts)


# --- operators


def _comparing(by: Callable[[Any, Any], bool]) -> Operator:
    """Compares two texts by their characters, other values as numbers; false with NaN."""

    def make(expected: Json) -> Condition:
        is_text, number = isinstance(expected, str), _number(expected)

        def check(actual: Json, _: SavedGroups) -> bool:
            if is_text and isinstance(actual, str):
                return by(actual, expected)
            return by(_number(actual), number)

        return check

    return make


def _by_version(by: Callable[[str, str], bool]) -> Operator:
    def make(expected: Json) -> Condition:
        wanted = _version_of(expected)
        return lambda actual, _: by(_version_of(actual), wanted)

    return make


def _version_of(value: Json) -> str:
    return _version(value if isinstance(value, (str, int, float)) else "")


def _in(expected: Json, *, fold: bool = False) -> Condition:
    if not isinstance(expected, list):
        return _never
    wanted = [_folded(each) for each in expected] if fold else expected
    texts = frozenset(each for each in wanted if isinstance(each, str))
    others = [each for each in wanted if not isinstance(each, str)]

    def has(value: Json) -> bool:
        if isinstance(value, str):
            return (value.lower() if fold else value) in texts
        return any(_equal(value, each) for each in others)

    def check(actual: Json, _: SavedGroups) -> bool:
        return any(map(has, actual)) if isinstance(actual, list) else has(actual)

    return check


def _not_in(expected: Json, *, fold: bool = False) -> Condition:
    if not isinstance(expected, list):
        return _never
    inside = _in(expected, fold=fold)
    return lambda actual, groups: not inside(actual, groups)


def _folded(value: Json) -> Json:
    return value.lower() if isinstance(value, str) else value


def _in_group(name: Json) -> Condition:
    def check(actual: Json, groups: SavedGroups) -> bool:
        return _in(groups.get(name, []) if isinstance(name, str) else [])(actual, groups)

    return check


def _not_in_group(name: Json) -> Condition:
    inside = _in_group(name)
    return lambda actual, groups: not inside(actual, groups)


def _all(expected: Json, *, fold: bool = False) -> Condition:
    if not isinstance(expected, list):
        return _never
    checks = [_value(each, fold=fold) for each in expected]

    def check(actual: Json, groups: SavedGroups) -> bool:
        return isinstance(actual, list) and all(
            any(each(value, groups) for value in actual) for each in checks
        )

    return check


def _element(expected: Json) -> Condition:
    inner = _value(expected) if _has_operators(expected) else compile_condition(expected)

    def check(actual: Json, groups: SavedGroups) -> bool:
        return isinstance(actual, list) and any(
            _truthy(each) and inner(each, groups) for each in actual
        )

    return check


def _regex(pattern: Json, *, fold: bool = False) -> Condition:
    try:
        found = re.compile(pattern, re.IGNORECASE if fold else 0)
    except (re.error, TypeError):
        return _never
    return lambda actual, _: found.search(_text(actual)) is not None


def _size(expected: Json) -> Condition:
    inner = _value(expected)
    return lambda actual, groups: isinstance(actual, list) and inner(len(actual), groups)


def _exists(expected: Json) -> Condition:
    wanted = _truthy(expected)
    return lambda actual, _: (actual is not None) is wanted


def _not(expected: Json) -> Condition:
    inner = _value(expected)
    return lambda actual, groups: not inner(actual, groups)


OPERATORS: dict[str, Operator] = {
    "$eq": lambda expected: lambda actual, _: _equal(actual, expected),
    "$ne": lambda expected: lambda actual, _: not _equal(actual, expected),
    "$lt": _comparing(operator.lt),
    "$lte": _comparing(operator.le),
    "$gt": _comparing(operator.gt),
    "$gte": _comparing(operator.ge),
    "$veq": _by_version(operator.eq),
    "$vne": _by_version(operator.ne),
    "$vlt": _by_version(operator.lt),
    "$vlte": _by_version(operator.le),
    "$vgt": _by_version(operator.gt),
    "$vgte": _by_version(operator.ge),
    "$in": _in,
    "$nin": _not_in,
    "$ini": partial(_in, fold=True),
    "$nini": partial(_not_in, fold=True),
    "$inGroup": _in_group,
    "$notInGroup": _not_in_group,
    "$all": _all,
    "$alli": partial(_all, fold=True),
    "$elemMatch": _element,
    "$size": _size,
    "$exists": _exists,
    "$type": lambda expected: lambda actual, _: _kind(actual) == expected,
    "$regex": _regex,
    "$regexi": partial(_regex, fold=True),
    "$not": _not,
}
