"""The pages of open conflicts: the three sides of each field, and a choice for each field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import attrs
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from bytelyst_sync.contrib.django.admin_pages import (
    QueueAdmin,
    exact_json,
    fingerprint,
    plain_error,
)
from bytelyst_sync.contrib.django.engines import get_engine
from bytelyst_sync.engine import SyncEngine, core_of
from bytelyst_sync.errors import SyncError
from bytelyst_sync.inspection.text import clean
from bytelyst_sync.model import Conflict
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.paths import MISSING

__all__ = ["FieldRow", "OpenConflictAdmin", "field_rows", "merged_record"]

Side = Literal["local", "remote"]


@attrs.frozen
class FieldRow:
    """One field on the three sides, as text."""

    name: str
    shown: str
    base: str
    local: str
    remote: str
    differs: bool
    """Whether the two sides have other values, so that one is to be chosen."""
    changed_by_both: bool
    choice: str
    """The side that is suggested, or was chosen; empty: a person has to choose."""


def field_rows(
    conflict: Conflict, chosen: Mapping[str, str], own: Collection[str] = ()
) -> list[FieldRow]:
    """The fields of all sides; first those that both changed, then those that differ. ``own`` are
    fields that the server sets itself: nobody chooses a side for them.
    """
    sides = [side or {} for side in (conflict.base, conflict.local, conflict.remote)]
    names = dict.fromkeys(name for side in sides for name in side)
    both = {each.partition(".")[0] for each in conflict.fields} | set(conflict.fields)
    rows = []
    for name in names:
        base, local, remote = (side.get(name, MISSING) for side in sides)
        differs = name not in own and not _same(local, remote)
        suggested = "" if name in both else "local"
        if name in own or _same(base, local):
            suggested = "remote"
        rows.append(
            FieldRow(
                name=name,
                shown=clean(name),
                base=_text(base),
                local=_text(local),
                remote=_text(remote),
                differs=differs,
                changed_by_both=differs and name in both,
                choice=chosen.get(name, suggested),
            )
        )
    return sorted(rows, key=lambda row: (not row.changed_by_both, not row.differs))


def _own_fields(engine: SyncEngine, conflict: Conflict) -> frozenset[str]:
    entity = core_of(engine).entities.get(conflict.entity)
    if entity is None:
        return frozenset()
    own = entity.bookkeeping | frozenset(entity.dialect.server_fields) | {entity.id_field}
    return own - {each.partition(".")[0] for each in conflict.fields}


def _same(one: Any, other: Any) -> bool:
    return one is other or (MISSING not in (one, other) and same_value(one, other))


def _text(value: Any) -> str:
    return "–" if value is MISSING else exact_json(value)


def merged_record(conflict: Conflict, chosen: Mapping[str, str]) -> dict[str, Any]:
    """The server's record, with the fields for which the local side was chosen."""
    local, record = conflict.local or {}, dict(conflict.remote or {})
    for name, side in chosen.items():
        if side == "local" and name in local:
            record[name] = local[name]
        elif side == "local":
            record.pop(name, None)
    return record


def _seen(conflict: Conflict) -> str:
    return fingerprint(conflict.id, conflict.base, conflict.local, conflict.remote)


def _label(conflict: Conflict) -> str:
    return clean(f"conflict of {conflict.entity}/{conflict.record_id}")


class OpenConflictAdmin(QueueAdmin):
    """Open conflicts, oldest first."""

    all_of = staticmethod(lambda engine: engine.conflicts())
    label = staticmethod(_label)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list."""
        del extra_context
        self.require(request, "view")
        queue = self.queue_of(request)
        rows = self.page(request, get_engine(queue).conflicts())
        shown = [
            {
                "name": clean(f"{each.entity}/{each.record_id}"),
                "operation": each.operation.value,
                "fields": clean(", ".join(each.fields)) or _deletion(each),
                "local_time": each.local_time,
                "remote_time": each.remote_time,
                "url": self.link(queue, each.id),
            }
            for each in rows.rows
        ]
        return self.render_list(request, queue, rows._replace(rows=shown))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One conflict: its sides, and the form that resolves it."""
        del form_url, extra_context
        self.require(request, "view")
        queue, _, conflict = self.asked(object_id)
        if conflict is None:
            return self.gone(request, queue, "The conflict")
        if request.method != "POST":
            return self._form(request, queue, conflict)
        self.require(request, "change")
        if request.POST.get("seen") != _seen(conflict):
            return self._form(
                request,
                queue,
                conflict,
                error="The conflict has changed since the page was loaded: look at it again.",
                status=409,
            )
        return self._resolve(request, queue, conflict)

    def _resolve(self, request: HttpRequest, queue: str, conflict: Conflict) -> HttpResponse:
        action, answer = request.POST.get("action"), None
        chosen = _chosen(request, queue, conflict)
        if action in ("local", "remote"):
            answer, what = action, f"Resolved: the {action} side"
        else:
            open_fields = [
                row.shown
                for row in _rows(queue, conflict, {})
                if row.differs and chosen.get(row.name) not in ("local", "remote")
            ]
            if open_fields or conflict.local is None or conflict.remote is None:
                error = f"Choose a side for: {', '.join(open_fields)}."
                if not open_fields:
                    error = "One side deleted the record: choose a whole side."
                return self._form(request, queue, conflict, chosen, error=error, status=400)
            what = "Resolved by field: " + ", ".join(
                f"{clean(name)} {side}" for name, side in chosen.items()
            )
        try:
            record = merged_record(conflict, chosen) if answer is None else answer
            get_engine(queue).resolve(conflict, record)
        except SyncError as error:
            return self._form(
                request, queue, conflict, chosen, error=plain_error(error), status=400
            )
        self.log_change(request, self.shown(queue, conflict), what)
        messages.success(request, f"{_label(conflict)} was resolved.")
        return HttpResponseRedirect(self.list_link(queue))

    def _form(
        self,
        request: HttpRequest,
        queue: str,
        conflict: Conflict,
        chosen: Mapping[str, str] | None = None,
        *,
        error: str | None = None,
        status: int = 200,
    ) -> HttpResponse:
        rows = _rows(queue, conflict, chosen or {})
        names = sorted({row.name for row in rows})
        return self.render(
            request,
            "openconflict.html",
            _label(conflict),
            status=status,
            queue=queue,
            list_url=self.list_link(queue),
            history_url=self.link(queue, conflict.id).removesuffix("change/") + "history/",
            rows=[(f"field-{names.index(row.name)}", row) for row in rows],
            by_field=conflict.local is not None and conflict.remote is not None,
            deletion=_deletion(conflict) if None in (conflict.local, conflict.remote) else "",
            operation=conflict.operation.value,
            local_time=conflict.local_time,
            remote_time=conflict.remote_time,
            seen=_seen(conflict),
            error=error,
        )


def _rows(queue: str, conflict: Conflict, chosen: Mapping[str, str]) -> list[FieldRow]:
    return field_rows(conflict, chosen, _own_fields(get_engine(queue), conflict))


def _chosen(request: HttpRequest, queue: str, conflict: Conflict) -> dict[str, str]:
    """The chosen side of each field. The inputs have numbers: a field name may be any text."""
    rows = _rows(queue, conflict, {})
    names = sorted({row.name for row in rows})
    differ = {row.name for row in rows if row.differs}
    found = {name: request.POST.get(f"field-{place}", "") for place, name in enumerate(names)}
    return {
        name: side for name, side in found.items() if name in differ and side in ("local", "remote")
    }


def _deletion(conflict: Conflict) -> str:
    if conflict.remote is None:
        return "deleted on the server"
    return "deleted here" if conflict.local is None else "all"
