"""How an API speaks: one frozen value that turns records into requests and answers into records.

The fields are those of SPEC §8; their defaults are the default API. Nothing here touches the
network or the queue: ``transport.mapping`` reads these values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import SyncOperation

__all__ = ["Dialect"]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_TEMPLATE = re.compile(r"\{(\w*)\}")
_NEXT_PAGE = ("more:", "url:", "header:", "rel:", "page:", "offset:", "full:")


def _wrong(field: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(
        f"Dialect.{field} is {value!r}; allowed: {allowed}", field=field, value=value
    )


def _route(instance: object, attribute: attrs.Attribute[str], value: object) -> None:
    allowed = 'a method and a path, such as "POST {endpoint}" or "PATCH {endpoint}/{id}"'
    if not isinstance(value, str) or len(value.split(" ")) != 2:
        raise _wrong(attribute.name, value, allowed)
    method, path = value.split(" ")
    if method not in _METHODS or not set(_TEMPLATE.findall(path)) <= {"endpoint", "id"}:
        raise _wrong(attribute.name, value, allowed)


def _source(kinds: tuple[str, ...], *, optional: bool = True) -> Any:
    """A validator for ``kind:name`` strings."""
    allowed = " or ".join(f'"{kind}NAME"' for kind in kinds) + (" or None" if optional else "")

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, str) or not _names_a_thing(value, kinds):
            raise _wrong(attribute.name, value, allowed)

    return check


def _names_a_thing(value: str, kinds: tuple[str, ...]) -> bool:
    return any(value.startswith(kind) and len(value) > len(kind) for kind in kinds)


def _one_of(*values: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in values:
            raise _wrong(attribute.name, value, " or ".join(map(repr, values)))

    return check


def _text(*, optional: bool = False) -> Any:
    allowed = "a string" + (" or None" if optional else "")

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (isinstance(value, str) or (optional and value is None)):
            raise _wrong(attribute.name, value, allowed)

    return check


def _flag(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _wrong(attribute.name, value, "True or False")


def _mapping(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _wrong(attribute.name, value, "a dict with strings as keys")


def _headers(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    allowed = "a dict of strings to strings, without line breaks"
    if not isinstance(value, Mapping):
        raise _wrong(attribute.name, value, allowed)
    for name, each in value.items():
        good = isinstance(name, str) and isinstance(each, str)
        if not good or set(f"{name}{each}") & set("\r\n\0"):
            raise _wrong(attribute.name, name, allowed)


def _texts(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
        raise _wrong(attribute.name, value, "strings, as a tuple or list")


def _statuses(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    good = isinstance(value, tuple) and all(
        isinstance(each, int) and 100 <= each <= 599 for each in value
    )
    if not good:
        raise _wrong(attribute.name, value, "HTTP statuses, as a tuple of numbers")


def _versions(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    allowed = '"header:NAME" or "field:NAME", or None'
    for source in value if isinstance(value, tuple) else (value,):
        if not isinstance(source, str) or not _names_a_thing(source, ("header:", "field:")):
            raise _wrong(attribute.name, source, allowed)


def _operations(attribute: attrs.Attribute[Any], value: object) -> None:
    names = [each.value for each in SyncOperation]
    if isinstance(value, Mapping) and not set(value) <= set(names):
        raise _wrong(attribute.name, value, "operations as keys: " + ", ".join(names))


def _version_places(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    allowed = '"header:NAME", "body:NAME", "query:NAME" or None'
    _operations(attribute, value)
    for place in value.values() if isinstance(value, Mapping) else (value,):
        fits = isinstance(place, str) and _names_a_thing(place, ("header:", "body:", "query:"))
        if place is not None and not fits:
            raise _wrong(attribute.name, place, allowed)


def _since(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    allowed = 'a parameter and a template with "{cursor}" in it, or None'
    if value is None:
        return
    if not isinstance(value, tuple) or len(value) != 2:
        raise _wrong(attribute.name, value, allowed)
    if not all(isinstance(part, str) for part in value) or "{cursor}" not in value[1]:
        raise _wrong(attribute.name, value, allowed)
    try:
        fits = value[1].format(cursor="a") != value[1].format(cursor="b")
    except (KeyError, ValueError, IndexError):
        fits = False
    if not fits:
        raise _wrong(attribute.name, value, allowed + "; other braces are doubled")


def _wrappers(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    _operations(attribute, value)
    keys = value.values() if isinstance(value, Mapping) else (value,)
    if not all(isinstance(key, str) for key in keys):
        raise _wrong(attribute.name, value, "a key, or a dict of operation to key")


def _answers(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    allowed = 'pairs of a status and a pattern (or None), such as ((500, "duplicate id"),)'
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, tuple) or len(each) != 2 or type(each[0]) is not int:
            raise _wrong(attribute.name, each, allowed)
        try:
            re.compile(each[1] or "")
        except (re.error, TypeError):
            raise _wrong(attribute.name, each, allowed) from None


def _tuple(value: Any) -> Any:
    """``None`` → ``()``, one string → a tuple of it, a list → a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, int)):
        return (value,)
    return tuple(value) if isinstance(value, (list, set, frozenset)) else value


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pairs(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(tuple(each) if isinstance(each, list) else each for each in value)
    return value


def _mapped(**options: Any) -> Any:
    return attrs.field(factory=dict, converter=_copy, validator=_mapping, **options)


@attrs.frozen(kw_only=True)
class Dialect:
    """How one API speaks (SPEC §8). Adapt one with ``evolve``, or start from ``Dialect()``.

    A wrong value raises ``ConfigError`` and names the field, the value and what is allowed.
    """

    create: str = attrs.field(default="POST {endpoint}", validator=_route)
    update: str = attrs.field(default="PATCH {endpoint}/{id}", validator=_route)
    delete: str = attrs.field(default="DELETE {endpoint}/{id}", validator=_route)
    read: str = attrs.field(default="GET {endpoint}/{id}", validator=_route)
    pull: str = attrs.field(default="GET {endpoint}", validator=_route)
    patch: str = attrs.field(default="shallow", validator=_one_of("shallow", "merge-patch", "full"))
    content_type: str = attrs.field(default="application/json", validator=_text())
    answer: str = attrs.field(default="json", validator=_one_of("json", "any"))
    body: str | Mapping[str, str] = attrs.field(default="", converter=_copy, validator=_wrappers)
    extra: Mapping[str, Any] = _mapped(repr=False)
    record: str = attrs.field(default="", validator=_text())
    partial_answer: bool = attrs.field(default=False, validator=_flag)
    id_in_answer: str | None = attrs.field(default=None, validator=_text(optional=True))
    items: str = attrs.field(default="items", validator=_text())
    item: str = attrs.field(default="", validator=_text())
    query: Mapping[str, Any] = _mapped(repr=lambda value: repr(sorted(value)))
    since: tuple[str, str] | None = attrs.field(
        default=("since", "{cursor}"), converter=_pair, validator=_since
    )
    first_cursor: str | None = attrs.field(default=None, validator=_text(optional=True))
    cursor: str | None = attrs.field(
        default="body:cursor", validator=_source(("body:", "header:", "max:"))
    )
    next_page: str | None = attrs.field(default="more:has_more", validator=_source(_NEXT_PAGE))
    version: tuple[str, ...] = attrs.field(
        default=("header:ETag", "field:version"), converter=_tuple, validator=_versions
    )
    send_version: str | Mapping[str, str | None] | None = attrs.field(
        default="header:If-Match", converter=_copy, validator=_version_places
    )
    quote_version: bool = attrs.field(default=False, validator=_flag)
    current: tuple[str, ...] = attrs.field(
        default=("current", ""), converter=_tuple, validator=_texts
    )
    conflict: tuple[int, ...] = attrs.field(
        default=(409, 412), converter=_tuple, validator=_statuses
    )
    gone: tuple[int, ...] = attrs.field(default=(404, 410), converter=_tuple, validator=_statuses)
    exists: tuple[tuple[int, str | None], ...] = attrs.field(
        default=(), converter=_pairs, validator=_answers
    )
    tombstone: str | None = attrs.field(default="deleted", validator=_text(optional=True))
    server_fields: tuple[str, ...] = attrs.field(default=(), converter=_tuple, validator=_texts)
    updated_at: tuple[str, ...] = attrs.field(
        default=("updatedAt", "updated_at"), converter=_tuple, validator=_texts
    )
    idempotency: str | None = attrs.field(default="Idempotency-Key", validator=_text(optional=True))
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=_copy, validator=_headers, repr=False
    )

    @classmethod
    def rest(cls) -> Dialect:
        """The default API of SPEC §8."""
        return cls()

    def evolve(self, **changes: Any) -> Dialect:
        """A copy with some fields changed; unknown names raise ``ConfigError``."""
        known = {field.name for field in attrs.fields(type(self))}
        for name, value in changes.items():
            if name not in known:
                raise _wrong(name, value, "the fields " + ", ".join(sorted(known)))
        return attrs.evolve(self, **changes)

    def encode(self, operation: SyncOperation, record: dict[str, Any]) -> dict[str, Any]:
        """The body that carries a written record; a subclass may shape it otherwise."""
        key = self.wrapper(operation.value)
        return {**self.extra, key: record} if key else {**self.extra, **record}

    def wrapper(self, operation: str) -> str:
        """The key that wraps a written record for this operation (``""``: none)."""
        if isinstance(self.body, Mapping):
            return self.body.get(operation, "")
        return self.body

    def version_place(self, operation: str) -> str | None:
        """Where this operation sends the version that it is based on."""
        if isinstance(self.send_version, Mapping):
            return self.send_version.get(operation)
        return self.send_version
