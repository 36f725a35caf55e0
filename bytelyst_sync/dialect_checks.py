"""Validators and converters of ``Dialect`` and ``BatchFormat``: what each field takes.

A wrong value raises ``ConfigError``, which names the field, the value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import SyncOperation

__all__ = [
    "as_pair",
    "as_pairs",
    "as_tuple",
    "content_type",
    "exists",
    "flag",
    "headers",
    "is_a",
    "json_template",
    "mapping",
    "next_page",
    "one_of",
    "own",
    "per_operation",
    "route",
    "since",
    "size",
    "source",
    "statuses",
    "text",
    "texts",
    "version_places",
    "versions",
    "word_statuses",
    "wrappers",
    "wrong",
]

Attribute: TypeAlias = "attrs.Attribute[Any]"
Check = Callable[[object, "attrs.Attribute[Any]", object], None]

OPERATIONS = tuple(each.value for each in SyncOperation)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "MERGE", "QUERY", "SEARCH"})
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_NEXT_PAGE = ("more:", "url:", "header:", "rel:", "page:", "offset:", "full:")


def wrong(kind: str, field: str, value: object, allowed: str) -> ConfigError:
    """What is raised for a wrong value."""
    return ConfigError(f"{kind}.{field} is {value!r}; allowed: {allowed}", field=field, value=value)


def _wrong(instance: object, attribute: Attribute, value: object, allowed: str) -> ConfigError:
    kind = "BatchFormat" if type(instance).__name__ == "BatchFormat" else "Dialect"
    return wrong(kind, attribute.name, value, allowed)


def per_operation(value: object) -> bool:
    """Whether a value is a dict of operations, one value for each."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= set(OPERATIONS)


# --- validators


def route(instance: object, attribute: Attribute, value: object) -> None:
    """A method and a path."""
    allowed = 'a method and a path, such as "POST {endpoint}" or "PATCH {endpoint}/{id}"'
    method, _, path = value.partition(" ") if isinstance(value, str) else ("", "", "")
    good = method in _METHODS and path and not set(path) & set(" \t\r\n#")
    if not good or not set(_PLACEHOLDER.findall(path)) <= {"endpoint", "id"}:
        raise _wrong(instance, attribute, value, allowed)


def source(*kinds: str) -> Check:
    """``kind:name`` strings, or ``None``."""
    allowed = " or ".join(f'"{kind}NAME"' for kind in kinds) + " or None"

    def check(instance: object, attribute: Attribute, value: object) -> None:
        if value is not None and not _names_a_thing(value, kinds):
            raise _wrong(instance, attribute, value, allowed)

    return check


def _names_a_thing(value: object, kinds: tuple[str, ...]) -> bool:
    return isinstance(value, str) and any(
        value.startswith(kind) and len(value) > len(kind) for kind in kinds
    )


next_page = source(*_NEXT_PAGE)


def one_of(*values: str) -> Check:
    """One of these words."""

    def check(instance: object, attribute: Attribute, value: object) -> None:
        if value not in values:
            raise _wrong(instance, attribute, value, " or ".join(map(repr, values)))

    return check


def text(*, optional: bool = False) -> Check:
    """A string."""
    allowed = "a string" + (" or None" if optional else "")

    def check(instance: object, attribute: Attribute, value: object) -> None:
        if not (isinstance(value, str) or (optional and value is None)):
            raise _wrong(instance, attribute, value, allowed)

    return check


def flag(instance: object, attribute: Attribute, value: object) -> None:
    """``True`` or ``False``."""
    if not isinstance(value, bool):
        raise _wrong(instance, attribute, value, "True or False")


def is_a(kind: type, allowed: str) -> Check:
    """An object of this kind, or ``None``."""

    def check(instance: object, attribute: Attribute, value: object) -> None:
        if value is not None and not isinstance(value, kind):
            raise _wrong(instance, attribute, value, allowed)

    return check


def size(instance: object, attribute: Attribute, value: object) -> None:
    """A number of operations."""
    if type(value) is not int or not 1 <= value <= 10_000:
        raise _wrong(instance, attribute, value, "a whole number from 1 to 10000")


def mapping(instance: object, attribute: Attribute, value: object) -> None:
    """A dict with strings as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _wrong(instance, attribute, value, "a dict with strings as keys")


def headers(instance: object, attribute: Attribute, value: object) -> None:
    """Names of headers to their values; a value is never shown."""
    allowed = "a dict of strings to strings, without line breaks"
    if not isinstance(value, Mapping):
        raise _wrong(instance, attribute, type(value).__name__, allowed)
    for name, each in value.items():
        good = isinstance(name, str) and isinstance(each, str)
        if not good or set(f"{name}{each}") & set("\r\n\0"):
            raise _wrong(instance, attribute, name, allowed)


def texts(instance: object, attribute: Attribute, value: object) -> None:
    """Strings."""
    if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
        raise _wrong(instance, attribute, value, "strings, as a tuple or list")


def statuses(instance: object, attribute: Attribute, value: object) -> None:
    """HTTP statuses."""
    if not isinstance(value, tuple) or not all(map(_is_status, value)):
        raise _wrong(instance, attribute, value, "HTTP statuses, as a tuple of numbers")


def _is_status(value: object) -> bool:
    return type(value) is int and 100 <= value <= 599


def word_statuses(instance: object, attribute: Attribute, value: object) -> None:
    """Words to the HTTP statuses that say the same."""
    good = isinstance(value, Mapping) and all(
        isinstance(word, str) and _is_status(status) for word, status in value.items()
    )
    if not good:
        raise _wrong(instance, attribute, value, 'words to HTTP statuses, {"conflict": 409}')


def versions(instance: object, attribute: Attribute, value: object) -> None:
    """Where versions come from."""
    allowed = '"header:NAME", "field:NAME" or "answer:NAME", or None'
    for each in value if isinstance(value, tuple) else (value,):
        if not _names_a_thing(each, ("header:", "field:", "answer:")):
            raise _wrong(instance, attribute, each, allowed)


def version_places(instance: object, attribute: Attribute, value: object) -> None:
    """Where versions are sent, for all operations or for each."""
    allowed = '"header:NAME", "body:NAME", "query:NAME" or None'
    _check_operations(instance, attribute, value)
    for place in value.values() if isinstance(value, Mapping) else (value,):
        if place is not None and not _names_a_thing(place, ("header:", "body:", "query:")):
            raise _wrong(instance, attribute, place, allowed)


def content_type(instance: object, attribute: Attribute, value: object) -> None:
    """A media type, for all operations or for each."""
    _check_operations(instance, attribute, value)
    for each in value.values() if isinstance(value, Mapping) else (value,):
        if not isinstance(each, str) or "/" not in each or set(each) & set("\r\n\0"):
            allowed = 'a media type such as "application/json", or a dict of operation to one'
            raise _wrong(instance, attribute, value, allowed)


def wrappers(instance: object, attribute: Attribute, value: object) -> None:
    """The key that wraps a record, for all operations or for each."""
    _check_operations(instance, attribute, value)
    keys = value.values() if isinstance(value, Mapping) else (value,)
    if not all(isinstance(key, str) for key in keys):
        raise _wrong(instance, attribute, value, "a key, or a dict of operation to key")


def _check_operations(instance: object, attribute: Attribute, value: object) -> None:
    if isinstance(value, Mapping) and not set(value) <= set(OPERATIONS):
        raise _wrong(instance, attribute, value, "operations as keys: " + ", ".join(OPERATIONS))


def since(instance: object, attribute: Attribute, value: object) -> None:
    """A parameter and its template."""
    allowed = 'a parameter and a template with "{cursor}" in it, or None'
    if value is None:
        return
    if not isinstance(value, tuple) or len(value) != 2:
        raise _wrong(instance, attribute, value, allowed)
    if not all(isinstance(part, str) for part in value) or "{cursor}" not in value[1]:
        raise _wrong(instance, attribute, value, allowed)
    try:
        fits = value[1].format(cursor="a") != value[1].format(cursor="b")
    except (KeyError, ValueError, IndexError):
        fits = False
    if not fits:
        raise _wrong(instance, attribute, value, allowed + "; other braces are doubled")


def exists(instance: object, attribute: Attribute, value: object) -> None:
    """Pairs of a status and a pattern in the body."""
    allowed = 'pairs of a status and a pattern (or None), such as ((500, "duplicate id"),)'
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, tuple) or len(each) != 2 or type(each[0]) is not int:
            raise _wrong(instance, attribute, each, allowed)
        try:
            re.compile(each[1] or "")
        except (re.error, TypeError):
            raise _wrong(instance, attribute, each, allowed) from None


def json_template(*placeholders: str) -> Check:
    """JSON in which some strings stand for something else: ``"{method}"``."""
    names = ", ".join(f'"{{{each}}}"' for each in placeholders)

    def check(instance: object, attribute: Attribute, value: object) -> None:
        for each in value.values() if per_operation(value) else (value,):  # type: ignore[attr-defined]
            if each is not None and not _fits(each):
                raise _wrong(instance, attribute, value, f"JSON with {names} in it")

    def _fits(value: object) -> bool:
        if isinstance(value, Mapping):
            return all(isinstance(name, str) and _fits(each) for name, each in value.items())
        if isinstance(value, (list, tuple)):
            return all(map(_fits, value))
        found = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            return found[1] in placeholders
        return value is None or isinstance(value, (str, int, float, bool))

    return check


# --- converters


def as_tuple(value: Any) -> Any:
    """``None`` → ``()``, one string or number → a tuple of it, a list → a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, int)):
        return (value,)
    return tuple(value) if isinstance(value, (list, set, frozenset)) else value


def own(value: Any) -> Any:
    """A copy that nobody else can change."""
    return dict(value) if isinstance(value, Mapping) else value


def as_pair(value: Any) -> Any:
    """A list → a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_pairs(value: Any) -> Any:
    """A list of lists → a tuple of tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(tuple(each) if isinstance(each, list) else each for each in value)
    return value
