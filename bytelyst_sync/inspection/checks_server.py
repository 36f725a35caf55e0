"""Checks of the server's answers against the dialect: the first two pages of every
entity, and what is before the first one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.config.settings import SyncConfig, token_provider
from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.errors import AuthError, SyncError, TransportError
from bytelyst_sync.http.redirects import redirect_target
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.inspection.doctor_context import Check, DoctorContext, Finding, fail, ok, warn
from bytelyst_sync.inspection.text import count_of
from bytelyst_sync.model import ConflictStrategy
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.error_messages import MappingError
from bytelyst_sync.protocol.page import Page, Position
from bytelyst_sync.protocol.page_rows import Row, SkippedRow
from bytelyst_sync.protocol.paging import Pager

__all__ = ["CHECKS"]

_TIMEOUT_S = 10.0
_TIMED = (ConflictStrategy.LAST_WRITE_WINS, ConflictStrategy.MERGE)


def entities(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the first pages of each entity can be pulled."""
    config = context.config
    if config is None or context.settings is None or not context.reachable:
        return
    if context.settings.missing is not None:
        return
    credentials = Credentials(token_provider(config.auth))
    for entity in compile_entities(config).values():
        if entity.replica:
            yield from _entity(context, config, entity, credentials)
        else:
            yield ok("entities", f"{entity.name} is never pulled (replica = false)")


def _entity(
    context: DoctorContext, config: SyncConfig, entity: Entity, credentials: Credentials
) -> Iterator[Finding]:
    codec = EntityCodec(entity, config, time.time)
    pager = Pager(codec)
    position = Position(None, from_start=True)

    def fetch(at: Position) -> tuple[Request, Response]:
        request, _ = credentials.sign(pager.request(at).within(_TIMEOUT_S))
        return request, context.transport.send(request)

    try:
        request, response = fetch(position)
        context.answer = response
        moved = redirect_target(response, request.url)
        if moved is not None:
            yield _redirected(entity, config, moved)
            return
        trouble = _trouble(entity, response)
        if trouble is not None:
            yield trouble
            return
        page = pager.page(position, response)
        _check_other_pages(pager, page, lambda at: fetch(at)[1])
        if page.lacking is not None:
            raise page.lacking
    except AuthError as error:
        yield fail("entities", str(error), "check BYTELYST_SYNC_AUTH or auth_env")
        return
    except SyncError as error:
        is_mapping = "`" in str(error)
        remedy = "describe how the API speaks: the field of [dialect] that is named"
        yield fail(
            "entities", str(error), remedy if is_mapping else "try again; is the server well?"
        )
        return
    yield from _well(entity, page)


def _check_other_pages(pager: Pager, first: Page, fetch: Callable[[Position], Response]) -> None:
    """Raises a ``SyncError`` if the page after the first one has the same rows, or cannot be read,
    and if rows are on a page before it. That is read as in a pull, and also if the dialect says
    that pages begin at 1.
    """
    name, keys = pager.entity.name, set(first.keys())
    if first.next is not None:
        second = pager.page(first.next, fetch(first.next))
        if keys and second.count and keys.issuperset(second.keys()):
            raise MappingError(
                f"{name}: the second page has the rows of the first one: is `next_page` "
                f"({pager.entity.dialect.next_page!r}) right?",
                entity=name,
            )
    if not pager.counts_pages:
        return
    before = pager.before_first(None, whole=first.is_whole)
    if pager.entity.dialect.start == 1:
        before = Position(None, page=-1, offset=-1)
    if before is not None:
        try:
            response = fetch(before)
        except TransportError:
            return  # some servers crash on such a request
        pager.proves_start(frozenset(keys), response)


def _redirected(entity: Entity, config: SyncConfig, target: str) -> Finding:
    base = config.base_url.rstrip("/")
    endpoint = target.removeprefix(base) if target.startswith(base + "/") else None
    slash = endpoint is not None and endpoint.rstrip("/") == _path(entity).rstrip("/")
    if slash and endpoint is not None and endpoint.endswith("/"):
        remedy = (
            "the API wants a trailing slash: set the routes of [dialect], such as "
            'create = "POST {endpoint}/" and pull = "GET {endpoint}/"'
        )
    elif endpoint is not None:
        remedy = f'set endpoint = "{endpoint}" for {entity.name}'
    else:
        remedy = "set base_url to where it points"
    return fail(
        "entities",
        f"{entity.name}: the server redirects to {target}; a pull follows, a push is refused",
        remedy,
    )


def _path(entity: Entity) -> str:
    return "/" + entity.config.endpoint.lstrip("/")


def _trouble(entity: Entity, response: Response) -> Finding | None:
    """The finding for a status that is no success; ``None`` for a success."""
    status, name = response.status, entity.name
    if status in (401, 403):
        return fail(
            "entities",
            f"{name}: HTTP {status}: the server refuses the credentials",
            "check BYTELYST_SYNC_AUTH or the variable that auth_env names, and its rights",
        )
    if status in (404, 410):
        return fail(
            "entities",
            f"{name}: HTTP {status}: there is nothing at {_path(entity)}",
            f"check base_url and the endpoint of {name}, and the route `pull` of [dialect]",
        )
    if status in (429, 503):
        return warn("entities", f"{name}: HTTP {status}: the server is busy", "try again later")
    if status >= 500:
        return fail("entities", f"{name}: HTTP {status}: an error of the server", "see its logs")
    return None


def _well(entity: Entity, page: Page) -> Iterator[Finding]:
    rows = list(page.rows())
    skipped = [row.reason for row in rows if isinstance(row, SkippedRow)]
    if skipped:
        fits = len(skipped) < len(rows)
        yield (warn if fits else fail)(
            "entities",
            f"{entity.name}: {count_of(len(skipped), 'row')} cannot be taken: {skipped[0]}",
            "have the server's data mended"
            if fits
            else "describe how the API speaks: the field of [dialect] that is named",
        )
        if not fits:
            return
    more = ", and more pages" if page.next is not None else ""
    yield ok("entities", f"{entity.name}: {count_of(page.count, 'record')}{more}; it fits")
    records = [row.record for row in rows if isinstance(row, Row) and row.record is not None]
    times = entity.dialect.updated_at
    if records and entity.strategy in _TIMED and not any(name in records[0] for name in times):
        yield warn(
            "entities",
            f"{entity.name}: {entity.strategy} needs to know when a record changed, and there is "
            f"no {' or '.join(times)}: the server counts as the later one",
            "name the field: updated_at in [dialect]",
        )


CHECKS: tuple[Check, ...] = (entities,)
