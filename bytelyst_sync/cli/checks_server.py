"""Checks of the server's answers against the dialect: the first page of every entity."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bytelyst_sync.cli.case import Case, Check, Finding, fail, ok, warn
from bytelyst_sync.cli.show import count_of
from bytelyst_sync.config import SyncConfig, is_token_provider
from bytelyst_sync.entity import Entity, compile_entities
from bytelyst_sync.errors import AuthError, SyncError
from bytelyst_sync.flows.credentials import Credentials
from bytelyst_sync.model import ConflictStrategy
from bytelyst_sync.transport.answers import hear
from bytelyst_sync.transport.base import Response
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.paging import Page, Pager, Position
from bytelyst_sync.transport.redirects import redirect_target

__all__ = ["CHECKS"]

_PATIENCE_S = 10.0
_TIMED = (ConflictStrategy.LAST_WRITE_WINS, ConflictStrategy.MERGE)


def entities(case: Case) -> Iterator[Finding]:
    """Each can be pulled: what its first page is, or why there is none."""
    config = case.config
    if config is None or case.settings is None or not case.reachable:
        return
    if case.settings.missing is not None:
        return
    credentials = Credentials(config.auth if is_token_provider(config.auth) else None)
    for entity in compile_entities(config).values():
        if entity.replica:
            yield from _entity(case, config, entity, credentials)
        else:
            yield ok("entities", f"{entity.name} is never pulled (replica = false)")


def _entity(
    case: Case, config: SyncConfig, entity: Entity, credentials: Credentials
) -> Iterator[Finding]:
    mapper = Mapper(entity, config, time.time)
    pager = Pager(mapper)
    position = Position(None)
    try:
        request, _ = credentials.sign(pager.request(position).within(_PATIENCE_S))
        response = case.transport.send(request)
        case.answer = response
        moved = redirect_target(response, request.url)
        if moved is not None:
            yield _redirected(entity, config, moved)
            return
        trouble = _trouble(entity, response)
        if trouble is not None:
            yield trouble
            return
        page = pager.page(position, hear(response))
    except AuthError as error:
        yield fail("entities", str(error), "check BYTELYST_SYNC_AUTH or auth_env")
        return
    except SyncError as error:
        misfit = "`" in str(error)
        remedy = "describe how the API speaks: the field of [dialect] that is named"
        yield fail("entities", str(error), remedy if misfit else "try again; is the server well?")
        return
    yield from _well(entity, page)


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
    """What the status alone says."""
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
    more = ", and more pages" if page.next is not None else ""
    yield ok("entities", f"{entity.name}: {count_of(len(page.rows), 'record')}{more}; it fits")
    records = [row.record for row in page.rows if row.record is not None]
    times = entity.dialect.updated_at
    if records and entity.strategy in _TIMED and not any(name in records[0] for name in times):
        yield warn(
            "entities",
            f"{entity.name}: {entity.strategy} needs to know when a record changed, and there is "
            f"no {' or '.join(times)}: the server counts as the later one",
            "name the field: updated_at in [dialect]",
        )


CHECKS: tuple[Check, ...] = (entities,)
