"""Finds the operation of a request, by the routes and templates of a dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

import attrs

from bytelyst_sync.config.templates import LISTING_PLACEHOLDERS, names_in, placeholders

if TYPE_CHECKING:
    from bytelyst_sync.config.entity import Entity
    from bytelyst_sync.testing.http_messages import RecordedRequest

__all__ = ["Match", "Route", "routes_of", "values_in"]

_NAMES: Final = ("endpoint", "id", "key", *LISTING_PLACEHOLDERS)
OPERATIONS: Final = ("create", "update", "delete", "read", "lookup", "pull", "confirm", "batch")


@attrs.frozen
class Match:
    """A request that matches a route: the values of its placeholders, and the other parameters."""

    operation: str
    values: Mapping[str, str]
    query: Mapping[str, str]
    """The parameters that are not in the route."""


class Route:
    """One route of an entity, as ``"PATCH {endpoint}/{id}"``."""

    def __init__(self, operation: str, template: str, endpoint: str | None) -> None:
        self.operation = operation
        self.method, _, target = template.partition(" ")
        path, _, query = target.partition("?")
        if endpoint is not None and "{endpoint}/" in path:
            endpoint = endpoint.rstrip("/")
        fixed = {} if endpoint is None else {"endpoint": endpoint.lstrip("/")}
        self._path = _pattern(f"/{path.lstrip('/')}", fixed, segment=True)
        pairs = parse_qsl(query, keep_blank_values=True)
        self._query = {name: _pattern(each, fixed) for name, each in pairs}
        self._optional = {name for name, each in pairs if names_in(each)}
        self.weight = (len(self._query), len(path), "{id}" in target)
        """How specific a route is: of two that match, the more specific one is used."""

    def match(self, request: RecordedRequest) -> Match | None:
        """The match of this request, or ``None``."""
        if request.method != self.method:
            return None
        match = self._path.fullmatch(request.path)
        if match is None:
            return None
        values = {name: unquote(each) for name, each in match.groupdict().items()}
        for name, pattern in self._query.items():
            if name not in request.query:
                if name in self._optional:
                    continue
                return None
            inner = pattern.fullmatch(request.query[name])
            if inner is None:
                return None
            values.update(inner.groupdict())
        rest = {name: each for name, each in request.query.items() if name not in self._query}
        return Match(self.operation, values, rest)


def routes_of(entity: Entity, *, any_endpoint: bool) -> list[Route]:
    """The routes of an entity, the most specific first."""
    dialect = entity.dialect
    templates = {name: getattr(dialect, name, None) for name in OPERATIONS if name != "batch"}
    if dialect.batch is not None:
        templates["batch"] = dialect.batch.endpoint
    endpoint = None if any_endpoint else entity.config.endpoint
    routes = [Route(name, each, endpoint) for name, each in templates.items() if each]
    return sorted(routes, key=lambda route: route.weight, reverse=True)


def values_in(templates: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, str]:
    """The values of the placeholders of these templates in the texts with the same names."""
    values: dict[str, str] = {}
    for name, template in templates.items():
        if isinstance(template, str) and name in texts and names_in(template):
            match = _pattern(template, {}).fullmatch(texts[name])
            values.update({} if match is None else match.groupdict())
    return values


def _pattern(template: str, fixed: Mapping[str, str], *, segment: bool = False) -> re.Pattern[str]:
    """The pattern of the filled template; a placeholder of a path is one segment."""
    pattern = ""
    named: set[str] = set()
    for text, name in _parts(template):
        pattern += re.escape(text)
        if name in fixed:
            pattern += re.escape(fixed[name])
        elif name and name in named:
            pattern += f"(?P={name})"
        elif name:
            pattern += f"(?P<{name}>{'[^/]+' if segment else '.*'})"
            named.add(name)
    return re.compile(pattern, re.DOTALL)


def _parts(template: str) -> Iterable[tuple[str, str]]:
    """Each text of a template, and the placeholder after it."""
    pieces = placeholders(_NAMES).split(template)
    return zip(pieces[::2], [*pieces[1::2], ""], strict=True)
