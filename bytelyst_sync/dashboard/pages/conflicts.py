"""Open conflicts: the sides of each field, a choice for each, and the resulting record."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import attrs
from markupsafe import Markup

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.parts import Column, Table
from bytelyst_sync.dashboard.components.text import moment, plain, value
from bytelyst_sync.dashboard.http import Response, redirect
from bytelyst_sync.dashboard.redaction import pretty
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.inspection.text import short
from bytelyst_sync.model import Conflict
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.paths import MISSING
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import as_conflict
from bytelyst_sync.storage.schema import CONFLICTS, OPEN, ConflictRow

__all__ = ["FieldRow", "compare", "conflict_link", "fields_of", "resolve", "show"]

logger = SafeLogger("bytelyst_sync.dashboard")
Side = Literal["local", "remote"]
_SHOWN = 100
_WIDTH = 200
_COLUMNS = (
    Column("Record"),
    Column("Operation", wide=True),
    Column("Fields"),
    Column("Changed here", wide=True),
    Column("Changed there", wide=True),
)


def show(context: Context) -> Response:
    """The open conflicts, oldest first."""
    rows, number = context.source.read(
        lambda tx: (list(tx.scan(CONFLICTS, "open", limit=_SHOWN)), tx.count(CONFLICTS, OPEN))
    )
    return context.page(
        "conflicts.html",
        "Conflicts",
        live=True,
        table=Table(
            "Open conflicts",
            _COLUMNS,
            [(f"conflict-{row.number}", _cells(context, row)) for row in rows],
            row_heading=0,
        ),
        shown=len(rows),
        number=number,
    )


def conflict_link(context: Context, row: ConflictRow) -> Markup:
    """The record of a conflict, as a link to it."""
    return Markup('<a class="bs-record" href="{}">{}<span>{}</span></a>').format(
        context.request.url(f"conflicts/{row.number}"), value(row.entity), value(row.record)
    )


def _cells(context: Context, row: ConflictRow) -> list[object]:
    return [
        conflict_link(context, row),
        row.operation,
        plain(", ".join(json.loads(row.fields)) or _deletion(row)),
        moment(as_datetime(row.local_time)),
        moment(None if row.remote_time is None else as_datetime(row.remote_time)),
    ]


def _deletion(row: ConflictRow) -> str:
    return "deleted there" if row.remote is None else "deleted here" if row.local is None else "all"


# --- one conflict


@attrs.frozen
class FieldRow:
    """One field on the three sides, as text, and the side that is chosen for it."""

    name: str
    base: str
    local: str
    remote: str
    differs: bool
    """Whether both sides have other values, so that one must be chosen."""
    in_conflict: bool
    """Whether both sides changed it."""
    choice: str


def fields_of(context: Context, conflict: Conflict, choices: dict[str, str]) -> list[FieldRow]:
    """The fields of all sides; first those that both changed."""
    base, local, remote = (
        context.shown(conflict.entity, side) or {}
        for side in (conflict.base, conflict.local, conflict.remote)
    )
    rows, given = [], fields_of_server(context, conflict)
    for name in _names(conflict):
        suggestion = _suggested(conflict, name, given)
        rows.append(
            FieldRow(
                name=name,
                base=_text(base, name),
                local=_text(local, name),
                remote=_text(remote, name),
                differs=_differ(conflict, name) and name not in given,
                in_conflict=suggestion is None,
                choice=choices.get(name, suggestion or ""),
            )
        )
    return sorted(rows, key=lambda row: (not row.in_conflict, not row.differs))


def _names(conflict: Conflict) -> list[str]:
    sides = (conflict.base, conflict.local, conflict.remote)
    return list(dict.fromkeys(name for side in sides if side for name in side))


def _differ(conflict: Conflict, name: str) -> bool:
    here, there = ((side or {}).get(name, MISSING) for side in (conflict.local, conflict.remote))
    return here is not there and not same_value(here, there)


def fields_of_server(context: Context, conflict: Conflict) -> frozenset[str]:
    """The fields that the server sets itself, so that no side is chosen for them."""
    entity = context.source.entities.get(conflict.entity)
    if entity is None:
        return frozenset()
    own = entity.bookkeeping | frozenset(entity.dialect.server_fields) | {entity.id_field}
    return own - {each.partition(".")[0] for each in conflict.fields}


def _suggested(conflict: Conflict, name: str, given: frozenset[str]) -> str | None:
    """The side that changed the field alone; ``None`` if both did, so that a person decides."""
    if name in given or not _differ(conflict, name):
        return "remote"
    if any(each.partition(".")[0] == name for each in conflict.fields):
        return None
    before = (conflict.base or {}).get(name, MISSING)
    here = (conflict.local or {}).get(name, MISSING)
    return "remote" if here is before or same_value(here, before) else "local"


def _text(side: dict[str, Any], name: str) -> str:
    return "–" if name not in side else short(side[name], _WIDTH)


def compare(context: Context) -> Response:
    """The sides of one conflict; settled ones can be recovered here."""
    row = context.source.read(lambda tx: tx.get(CONFLICTS, int(context.params["number"])))
    if row is None:
        return context.page(
            "not_found.html",
            "Not found",
            status=404,
            message=f"There is no conflict {context.params['number']}: settled ones are kept for"
            " 30 days.",
            back_url=context.request.url("conflicts"),
        )
    return _page(context, row, context.query.starting("field."))


def _page(
    context: Context, row: ConflictRow, choices: dict[str, str], error: str | None = None
) -> Response:
    conflict = as_conflict(row)
    rows = fields_of(context, conflict, choices)
    by_field = conflict.local is not None and conflict.remote is not None
    missing = [
        each.name for each in rows if each.differs and each.choice not in ("local", "remote")
    ]
    merged = None
    if by_field and not missing and context.shows_payload:
        merged = pretty(context.shown(conflict.entity, merged_record(context, conflict, choices)))
    return context.page(
        "conflict.html",
        f"{conflict.entity} {conflict.record_id}",
        status=200 if error is None else 400,
        live=error is None,
        current="conflicts" if conflict.resolution is None else "conflicts/settled",
        conflict=conflict,
        rows=rows,
        by_field=by_field,
        missing=missing,
        merged=merged,
        error=error,
        seen=seen_as(row),
        configured=conflict.entity in context.source.entities,
        payload_url=context.request.here(payload=1),
        hide_url=context.request.here("payload"),
    )


def merged_record(context: Context, conflict: Conflict, choices: dict[str, str]) -> dict[str, Any]:
    """The record with the chosen side of each field."""
    given = fields_of_server(context, conflict)
    sides = {"local": conflict.local or {}, "remote": conflict.remote or {}}
    record: dict[str, Any] = {}
    for name in _names(conflict):
        side = sides.get(choices.get(name) or _suggested(conflict, name, given) or "")
        if side is None:
            raise InvalidDataError(f"choose a side for {name}", path=f"$.{name}")
        if name in side:
            record[name] = side[name]
    return record


def seen_as(row: ConflictRow) -> str:
    """A text for the state of a conflict: it changes with each side and when it is settled."""
    parts = (row.number, row.local, row.remote, row.base, row.stage, row.resolution)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def resolve(context: Context) -> Response:
    """Settles a conflict as it was seen: one side, or a choice for each field."""
    number = int(context.params["number"])
    row = context.source.read(lambda tx: tx.get(CONFLICTS, number))
    if row is None or row.open is None or seen_as(row) != context.form.get("seen"):
        url = context.request.url(f"conflicts/{number}", done="resolved", n="0", skipped=1)
        return redirect(url)
    conflict = as_conflict(row)
    choices = context.form.starting("field.")
    answer = context.form.get("action")
    try:
        decision: Any = (
            answer if answer in ("local", "remote") else merged_record(context, conflict, choices)
        )
        context.source.engine.resolve(conflict, decision)
    except InvalidDataError as error:
        return _page(context, row, choices, str(error))
    logger.info("%s settled conflict %d", context.actor.name, number)
    return redirect(context.request.url("conflicts", done="resolved"))
