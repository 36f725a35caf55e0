"""One item: its state and the reason, its data, and the actions on it."""

from __future__ import annotations

import json
from typing import Any

import attrs
from markupsafe import Markup

from bytelyst_sync.clock import as_datetime
from bytelyst_sync.dashboard.components.text import moment, value
from bytelyst_sync.dashboard.http import Form, Response, redirect
from bytelyst_sync.dashboard.pages.queue import state_badge
from bytelyst_sync.dashboard.redaction import pretty, restored
from bytelyst_sync.dashboard.site import Context
from bytelyst_sync.errors import InvalidDataError
from bytelyst_sync.inspection.listings import fingerprint, later_items, reason_of, unchanged
from bytelyst_sync.queue.control import repaired_by
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import as_sync_item
from bytelyst_sync.state.transitions import is_changeable, is_frozen
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["cancel", "repair", "show"]

logger = SafeLogger("bytelyst_sync.dashboard")
_MOST_LATER = 20


def show(context: Context) -> Response:
    """The item with this number."""
    return _page(context)


def _page(context: Context, *, error: str | None = None, typed: str | None = None) -> Response:
    number = int(context.params["seq"])

    def read(tx: Reader) -> tuple[Item, str, list[Item], Item | None] | None:
        item = tx.get(ITEMS, number)
        if item is None:
            return None
        blocker = None if item.blocker is None else tx.get(ITEMS, item.blocker)
        return item, fingerprint(tx, item), later_items(tx, item), blocker

    found = context.source.read(read)
    if found is None:
        return context.page(
            "not_found.html",
            "Not found",
            status=404,
            message=f"Change {number} is no longer in the queue: it was delivered, discarded or"
            " taken back.",
            back_url=context.request.url("queue"),
        )
    item, seen, later, blocker = found
    data = loads(item.data)
    failed = item.lane == Lane.FAILED
    return context.page(
        "item.html",
        f"{item.entity} {item.record}",
        status=200 if error is None else 400,
        live=error is None,
        current="failed" if failed else "queue",
        item=item,
        seen=seen,
        badge=state_badge(item.lane),
        facts_=_facts(context, item, blocker),
        reason=reason_of(item) if item.error else None,
        shown_data=pretty(context.shown(item.entity, data)),
        edited=typed if typed is not None else pretty(context.shown(item.entity, data)),
        error=error,
        failed=failed,
        frozen=is_frozen(item),
        may_cancel=is_changeable(item) and context.may("operate"),
        later=later[:_MOST_LATER],
        more_later=max(0, len(later) - _MOST_LATER),
        payload_url=context.request.here(payload=1),
        hide_url=context.request.here("payload"),
    )


def _facts(context: Context, item: Item, blocker: Item | None) -> list[tuple[str, Markup | str]]:
    facts: list[tuple[str, Markup | str]] = [
        ("Number", str(item.seq)),
        ("Entity", value(item.entity)),
        ("Record", value(item.record)),
        ("Operation", item.operation),
        ("Queued", moment(as_datetime(item.time))),
        ("Attempts that count", str(item.retries)),
        ("Idempotency key", value(item.id, code=True)),
    ]
    if item.due is not None:
        facts.append(("Next try", moment(as_datetime(item.due), due=True)))
    if item.expires is not None:
        facts.append(("Not sent after", moment(as_datetime(abs(item.expires)))))
    if item.version is not None:
        facts.append(("Based on version", value(item.version, code=True)))
    if is_frozen(item):
        facts.append(("Outcome", "unknown: the server may have processed an earlier attempt"))
    if blocker is not None:
        link = Markup('<a href="{}">{} {}</a>').format(
            context.request.url(f"items/{blocker.seq}"), blocker.operation, value(blocker.record)
        )
        facts.append(("Waits for", link))
    if item.conflict is not None:
        link = Markup('<a href="{}">conflict {}</a>').format(
            context.request.url(f"conflicts/{item.conflict}"), item.conflict
        )
        facts.append(("In conflict", link))
    return facts


# --- what can be done


def cancel(context: Context) -> Response:
    """Cancels the item if it has not changed since the page showed it."""
    seen = context.form.get("seen")

    def take_back(work: UnitOfWork, run: Runtime) -> bool:
        item = work.tx.get(ITEMS, int(context.params["seq"]))
        if item is None or fingerprint(work.tx, item) != seen:
            return False
        return run.control.cancel(work, item.seq)

    done = context.source.core.write(take_back)
    if done:
        logger.info("%s cancelled the queued item %s", context.actor.name, context.params["seq"])
        return redirect(context.request.url("queue", done="cancelled"))
    url = context.request.url(f"items/{context.params['seq']}", done="not-cancelled")
    return redirect(url)


def repair(context: Context) -> Response:
    """Queues a failed item again with the data of the form."""
    context.require("payload")
    typed = context.form.text("data")
    try:
        edited = _parsed(typed)
        number = context.source.core.write(lambda work, run: _repaired(context, edited, work, run))
    except InvalidDataError as error:
        return _page(_asking(context), error=str(error), typed=typed)
    if not number:
        return redirect(context.request.url("failed", done="retried", n=0, skipped=1))
    logger.info("%s repaired the failed item %s", context.actor.name, context.params["seq"])
    return redirect(context.request.url("failed", done="retried", n=number))


def _parsed(typed: str) -> dict[str, Any]:
    try:
        edited = json.loads(typed)
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"this is no JSON: {error}", path="$") from None
    if not isinstance(edited, dict):
        raise InvalidDataError("the record is a JSON object: {…}", path="$")
    return edited


def _repaired(context: Context, edited: dict[str, Any], work: UnitOfWork, run: Runtime) -> int:
    found = list(unchanged(work.tx, [context.form.get("seen")]))
    if not found:
        return 0
    item = found[0]
    original = loads(item.data)
    shown = context.site.redact(item.entity, as_sync_item(item).data)
    data = restored(edited, original, shown)
    repair_with = repaired_by(context.source.entities, data)
    return run.control.reprocess(work, [item.id], repair=repair_with)


def _asking(context: Context) -> Context:
    """The same context with the payload shown, as the form shows it."""
    request = attrs.evolve(context.request, query=Form((("payload", "1"),)))
    return attrs.evolve(context, request=request)
