"""The next page, where the server gives its URL or a token for it.

A URL is followed on the API's own origin.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.errors import ConfigError, RejectedError
from bytelyst_sync.http.urls import join, origin_name, rebased
from bytelyst_sync.protocol.error_messages import MappingError, mapping_mismatch
from bytelyst_sync.rules.paths import MISSING, at_or_last

__all__ = ["linked_page", "next_token"]


def next_token(entity: Entity, body: Any) -> str | None:
    """The token for the next page (``"token:PATH"``); ``None`` after the last one. Raises
    ``MappingError`` for a value that is no token.
    """
    path = entity.dialect.paging[1]
    token = at_or_last(body, path)
    if token is MISSING or token is None or token == "":
        return None
    if isinstance(token, bool) or not isinstance(token, (str, int)):
        expected = 'a token: a text or a whole number (`"token:"`)'
        text = mapping_mismatch("next_page", path, expected, token)
        raise MappingError(f"{entity.name}: {text}", entity=entity.name)
    return str(token)


def linked_page(
    entity: Entity, asked: str, answered: str, link: str, *, field: str = "next_page"
) -> str:
    """The URL to fetch for a link in the answer from the URL ``answered``; ``asked`` is the
    listing's own URL. Raises ``RejectedError`` for a link to another origin, or for no URL.
    ``field``: the field of the dialect that names the link, ``"next_page"`` or ``"cursor"``.
    """
    dialect = entity.dialect
    what = "the next page" if field == "next_page" else "the next pull"
    place = f"{what} (`{getattr(dialect, field)}`)"
    try:
        target = join(answered or asked, link)
        following = rebased(asked, target, any_origin=dialect.rebase_links)
    except ConfigError as error:
        raise RejectedError(
            f"{entity.name}: {place} cannot be fetched: {error}",
            entity=entity.name,
        ) from error
    if following is None:
        raise RejectedError(
            f"{entity.name}: {place} is on "
            f"{origin_name(target)}, and base_url on {origin_name(asked)}. It is not fetched, "
            "for it would be sent the credentials. Set base_url to that origin if it is the "
            "API's, have the server build its links from its public address, or say "
            "rebase_links=True if these links are to be followed on base_url's origin",
            entity=entity.name,
        )
    return following
