"""Validators and converters for the fields of ``Dialect`` and ``BatchFormat``.

A wrong value raises ``ConfigError``, which names the field, the value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from bytelyst_sync.config.templates import LISTING_PLACEHOLDERS, body_names_in
from bytelyst_sync.config.validators import Validator, must_be, wrong
from bytelyst_sync.model import SyncOperation

__all__ = [
    "ANSWER_WORDS",
    "OPERATIONS",
    "accept",
    "answers",
    "as_pair",
    "as_pairs",
    "as_tuple",
    "bodies",
    "content_type",
    "exists",
    "field_paths",
    "json_template",
    "listing_route",
    "lookup",
    "next_page",
    "per_operation",
    "reading",
    "revive",
    "route",
    "since",
    "source",
    "statuses",
    "text",
    "texts",
    "time_zone",
    "total",
    "version_places",
    "versions",
    "word_statuses",
]

Attribute: TypeAlias = "attrs.Attribute[Any]"

OPERATIONS = tuple(each.value for each in SyncOperation)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "MERGE", "QUERY", "SEARCH"})
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_OFFSET = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")
ANSWER_WORDS = (
    *("delivered", "exists", "conflict", "gone", "credentials", "busy", "offline", "rejected"),
    "retry",
)
"""What an answer can mean, in ``Dialect.answers``."""
_NEXT_PAGE = ("more:", "url:", "header:", "rel:", "token:", "page:", "offset:", "full:")


def per_operation(value: object) -> bool:
    """Whether a value is a dict of operations, one value for each."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= set(OPERATIONS)


# --- validators


def route(instance: object, attribute: Attribute, value: object) -> None:
    """A method and a path."""
    allowed = 'a method and a path, such as "POST {endpoint}" or "PATCH {endpoint}/{id}"'
    _check_route(instance, attribute, value, allowed, "endpoint", "id")


def listing_route(instance: object, attribute: Attribute, value: object) -> None:
    """A method and a path, which may contain a cursor or the number of a page."""
    names = ", ".join(f"{{{each}}}" for each in LISTING_PLACEHOLDERS)
    allowed = (
        f'a method and a path, such as "GET {{endpoint}}/changes"; it may also contain {names}'
    )
    _check_route(instance, attribute, value, allowed, "endpoint", *LISTING_PLACEHOLDERS)


def _check_route(
    instance: object, attribute: Attribute, value: object, allowed: str, *placeholders: str
) -> None:
    method, _, path = value.partition(" ") if isinstance(value, str) else ("", "", "")
    good = method in _METHODS and path and not set(path) & set(" \t\r\n#")
    if not good or not set(_PLACEHOLDER.findall(path)) <= set(placeholders):
        raise wrong(instance, attribute, value, allowed)


def reading(instance: object, attribute: Attribute, value: object) -> None:
    """A request that lists the entity, or ``None``."""
    allowed = 'a GET or HEAD without an id, such as "GET {endpoint}?limit=1", or None'
    method, _, path = value.partition(" ") if isinstance(value, str) else ("", "", "")
    good = method in ("GET", "HEAD") and path and not set(path) & set(" \t\r\n#")
    if value is not None and not (good and set(_PLACEHOLDER.findall(path)) <= {"endpoint"}):
        raise wrong(instance, attribute, value, allowed)


def lookup(instance: object, attribute: Attribute, value: object) -> None:
    """A request that finds a record by the key of its create, or ``None``."""
    allowed = 'a GET with {key} in it, such as "GET {endpoint}?client_ref={key}", or None'
    method, _, path = value.partition(" ") if isinstance(value, str) else ("", "", "")
    named = set(_PLACEHOLDER.findall(path))
    good = method == "GET" and not set(path) & set(" \t\r\n#") and "key" in named
    if value is not None and not (good and named <= {"endpoint", "key", "id"}):
        raise wrong(instance, attribute, value, allowed)


def time_zone(instance: object, attribute: Attribute, value: object) -> None:
    """A zone of the IANA database that this machine knows, or an offset from UTC."""
    allowed = 'a time zone, such as "UTC", "Europe/Berlin" or "+02:00"'
    if not isinstance(value, str) or not (_OFFSET.fullmatch(value) or _is_zone(value)):
        raise wrong(instance, attribute, value, allowed)


def total(instance: object, attribute: Attribute, value: object) -> None:
    """A path in a page's body, or ``header:NAME``; ``None``: the server does not count."""
    if value is not None and not (isinstance(value, str) and value.removeprefix("header:")):
        allowed = 'a path, such as "count", or "header:NAME", or None'
        raise wrong(instance, attribute, value, allowed)


def _is_zone(name: str) -> bool:
    if name == "UTC":
        return True
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


def source(*kinds: str) -> Validator:
    """``kind:name`` strings, or ``None``."""
    allowed = " or ".join(f'"{kind}NAME"' for kind in kinds) + " or None"

    def check(instance: object, attribute: Attribute, value: object) -> None:
        if value is not None and not _is_source(value, kinds):
            raise wrong(instance, attribute, value, allowed)

    return check


def _is_source(value: object, kinds: tuple[str, ...]) -> bool:
    return isinstance(value, str) and any(
        value.startswith(kind) and len(value) > len(kind) for kind in kinds
    )


def next_page(instance: object, attribute: Attribute, value: object) -> None:
    """How the next page is found: ``kind:name``, a callable, or ``None``."""
    if callable(value) or value in ("page:", "offset:"):
        return  # without a name, the number of the page is in a template
    source(*_NEXT_PAGE)(instance, attribute, value)


revive = must_be('"update" or None', lambda value: value in (None, "update"))


def accept(instance: object, attribute: Attribute, value: object) -> None:
    """The value of the ``Accept`` header, or ``None``."""
    good = isinstance(value, str) and "/" in value and not set(value) & set("\r\n\0")
    if value is not None and not good:
        raise wrong(instance, attribute, value, 'media types, such as "application/json", or None')


def text(*, optional: bool = False) -> Validator:
    """A string."""
    return must_be(
        "a string or None" if optional else "a string",
        lambda value: isinstance(value, str) or (optional and value is None),
    )


def _is_status(value: object) -> bool:
    return type(value) is int and 100 <= value <= 599


texts = must_be(
    "strings, as a tuple or list",
    lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value),
)
statuses = must_be(
    "HTTP statuses, as a tuple of numbers",
    lambda value: isinstance(value, tuple) and all(map(_is_status, value)),
)


def word_statuses(instance: object, attribute: Attribute, value: object) -> None:
    """Names of errors to the HTTP statuses with the same meaning."""
    good = isinstance(value, Mapping) and all(
        isinstance(word, str) and _is_status(status) for word, status in value.items()
    )
    if not good:
        raise wrong(instance, attribute, value, 'words to HTTP statuses, {"conflict": 409}')


def versions(instance: object, attribute: Attribute, value: object) -> None:
    """Where versions come from."""
    allowed = '"header:NAME", "field:NAME" or "answer:NAME", or None'
    for each in value if isinstance(value, tuple) else (value,):
        if not _is_source(each, ("header:", "field:", "answer:")):
            raise wrong(instance, attribute, each, allowed)


def version_places(instance: object, attribute: Attribute, value: object) -> None:
    """Where versions are sent, for all operations or for each."""
    allowed = '"header:NAME", "body:NAME", "query:NAME" or None'
    _check_operations(instance, attribute, value)
    for place in value.values() if isinstance(value, Mapping) else (value,):
        if place is not None and not _is_source(place, ("header:", "body:", "query:")):
            raise wrong(instance, attribute, place, allowed)


def content_type(instance: object, attribute: Attribute, value: object) -> None:
    """A media type, for all operations or for each."""
    _check_operations(instance, attribute, value)
    for each in value.values() if isinstance(value, Mapping) else (value,):
        if not isinstance(each, str) or "/" not in each or set(each) & set("\r\n\0"):
            allowed = 'a media type such as "application/json", or a dict of operation to one'
            raise wrong(instance, attribute, value, allowed)


def bodies(instance: object, attribute: Attribute, value: object) -> None:
    """The key that wraps a record, or the template of a body, for all operations or for each."""
    allowed = (
        'a key, a JSON template such as {"data": "{record}"}, or a dict of operation to one: '
        + ", ".join(OPERATIONS)
    )
    by_operation = isinstance(value, Mapping) and set(value) <= set(OPERATIONS)
    for each in value.values() if by_operation else (value,):  # type: ignore[attr-defined]
        if not isinstance(each, (Mapping, list, str)) or not _is_json(each):
            raise wrong(instance, attribute, value, allowed)
    if isinstance(value, (Mapping, list)) and not by_operation and not body_names_in(value):
        raise wrong(instance, attribute, value, allowed)


def field_paths(instance: object, attribute: Attribute, value: object) -> None:
    """Fields, and ``"*"`` for all others, to their paths."""
    allowed = 'fields to paths, such as {"project_id": "project.id", "*": "attributes"}'
    good = isinstance(value, Mapping) and all(
        isinstance(name, str) and name and isinstance(path, str) and (path or name == "*")
        for name, path in value.items()
    )
    if not good or "[]" in value.get("*", ""):  # type: ignore[attr-defined]
        raise wrong(instance, attribute, value, allowed)


def _is_json(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    return value is None or isinstance(value, (str, int, float, bool))


def _check_operations(instance: object, attribute: Attribute, value: object) -> None:
    if isinstance(value, Mapping) and not set(value) <= set(OPERATIONS):
        raise wrong(instance, attribute, value, "operations as keys: " + ", ".join(OPERATIONS))


def since(instance: object, attribute: Attribute, value: object) -> None:
    """A parameter and its template."""
    allowed = 'a parameter and a template with "{cursor}" in it, or None'
    if value is None:
        return
    if not isinstance(value, tuple) or len(value) != 2:
        raise wrong(instance, attribute, value, allowed)
    if not all(isinstance(part, str) for part in value) or "{cursor}" not in value[1]:
        raise wrong(instance, attribute, value, allowed)
    try:
        fits = value[1].format(cursor="a") != value[1].format(cursor="b")
    except (KeyError, ValueError, IndexError):
        fits = False
    if not fits:
        raise wrong(instance, attribute, value, allowed + "; other braces are doubled")


def exists(instance: object, attribute: Attribute, value: object) -> None:
    """Pairs of a status and a pattern in the body."""
    allowed = 'pairs of a status and a pattern (or None), such as ((500, "duplicate id"),)'
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, tuple) or len(each) != 2 or type(each[0]) is not int:
            raise wrong(instance, attribute, each, allowed)
        if not _is_pattern(each[1]):
            raise wrong(instance, attribute, each, allowed)


def answers(instance: object, attribute: Attribute, value: object) -> None:
    """Triples of a status, a pattern in the body, and a word for the meaning of such an answer."""
    words = ", ".join(ANSWER_WORDS)
    allowed = (
        "triples of a status, a pattern (or None) and a word, such as "
        f'((403, "expired", "credentials"),); words: {words}'
    )
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, tuple) or len(each) != 3 or not _is_status(each[0]):
            raise wrong(instance, attribute, each, allowed)
        if not _is_pattern(each[1]) or each[2] not in ANSWER_WORDS:
            raise wrong(instance, attribute, each, allowed)


def _is_pattern(value: object) -> bool:
    try:
        re.compile(value or "")  # type: ignore[call-overload]  # anything else is a TypeError
    except (re.error, TypeError):
        return False
    return value is None or isinstance(value, str)


def json_template(*placeholders: str) -> Validator:
    """JSON with placeholders, such as ``"{method}"``."""
    names = ", ".join(f'"{{{each}}}"' for each in placeholders)

    def check(instance: object, attribute: Attribute, value: object) -> None:
        for each in value.values() if per_operation(value) else (value,):  # type: ignore[attr-defined]
            if each is not None and not _fits(each):
                raise wrong(instance, attribute, value, f"JSON with {names} in it")

    def _fits(value: object) -> bool:
        if isinstance(value, Mapping):
            return all(isinstance(name, str) and _fits(each) for name, each in value.items())
        if isinstance(value, (list, tuple)):
            return all(map(_fits, value))
        placeholder = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        if placeholder is not None:
            return placeholder[1] in placeholders
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


def as_pair(value: Any) -> Any:
    """A list → a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_pairs(value: Any) -> Any:
    """A list of lists → a tuple of tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(tuple(each) if isinstance(each, list) else each for each in value)
    return value
