"""Checks that an entity's settings and its dialect together describe a listing that works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.templates import names_in
from bytelyst_sync.errors import ConfigError

__all__ = ["check_listing"]

_NUMBERS = {"page", "offset"}


def check_listing(
    entity: str, dialect: Dialect, params: Mapping[str, Any], page_size: int | None
) -> None:
    """Raises ``ConfigError`` for a listing whose next page could not be requested."""
    kind, name = dialect.paging
    path, _, own_query = dialect.pull.partition("?")
    templates = [own_query, *dialect.query.values(), *params.values(), *dialect.headers.values()]
    if kind in _NUMBERS and kind not in names_in([path, templates]):
        if not name:
            raise _wrong(
                entity, dialect, f'names no parameter, and no template has "{{{kind}}}" in it'
            )
        in_path = {each.partition("=")[0] for each in own_query.split("&")}
        for place, names in (("params", set(params)), ("pull", in_path)):
            if name in names:
                raise _wrong(
                    entity,
                    dialect,
                    f"`{place}` sets {name!r}, too: leave it out, or write "
                    f'"{{{kind}}}" into its value',
                )
    placed = names_in([path, templates])
    sent = dialect.since is not None or "cursor" in placed
    if kind == "full" and not _NUMBERS & placed and (dialect.cursor is None or not sent):
        lacking = "cursor" if dialect.cursor is None else "since"
        raise _wrong(
            entity,
            dialect,
            f"`{lacking}` is None, so that nothing leads to the page after a full one: say "
            '"page:" or "offset:" with the name of the parameter, or write "{page}" or '
            '"{offset}" into a value of `query`',
        )
    if (dialect.cursor or "").startswith("url:") and kind in ("more", "full", *_NUMBERS):
        raise _wrong(
            entity,
            dialect,
            f"`cursor` ({dialect.cursor!r}) is a link for the next pull, from which pages are "
            'followed by links too: say "url:", "rel:", "header:", "token:", a function or None',
        )
    if kind == "token" and "token" not in names_in(templates):
        raise _wrong(
            entity,
            dialect,
            'nothing sends the token: write "{token}" into a value of `query`, or into `pull`',
        )
    _check_values(entity, dialect, path, templates, page_size)


def _check_values(
    entity: str, dialect: Dialect, path: str, templates: list[Any], page_size: int | None
) -> None:
    """Raises ``ConfigError`` if a placeholder that is always needed may have no value.

    A query value with an empty placeholder is left out as a whole, with all else that it says.
    """
    in_path = names_in(path)
    for template in (path, *templates):
        names = names_in(template)
        beside = template is path or len(names) > 1
        if "limit" in names and beside and page_size is None:
            raise ConfigError(
                f"entities[{entity!r}].page_size is None, and the dialect has {{limit}} in a value "
                "that contains more: set page_size",
                field=f"entities[{entity!r}].page_size",
                value=None,
            )
        needed = "cursor" in names and (template is path or names & _NUMBERS)
        if needed and dialect.first_cursor is None:
            raise ConfigError(
                f"entities[{entity!r}]: Dialect.first_cursor is None, but the first pull needs "
                "a value that contains {cursor}, too: set first_cursor to what it sends",
                field="first_cursor",
                value=None,
            )
    if "token" in in_path:
        raise ConfigError(
            f"entities[{entity!r}]: Dialect.pull has {{token}} in its path, and the first page has "
            "no token: put it into the query",
            field="pull",
            value=dialect.pull,
        )


def _wrong(entity: str, dialect: Dialect, problem: str) -> ConfigError:
    return ConfigError(
        f"entities[{entity!r}]: Dialect.next_page is {dialect.next_page!r}, and {problem}",
        field="next_page",
        value=dialect.next_page,
    )
