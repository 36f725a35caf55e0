"""The pages of failed items: retry, repair, discard; and the page of the queue."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from bytelyst_sync.contrib.django.admin_pages import (
    QueueAdmin,
    exact_json,
    fingerprint,
    item_cells,
    plain_error,
)
from bytelyst_sync.contrib.django.engines import get_engine
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import SyncError
from bytelyst_sync.inspection.text import clean, count_of
from bytelyst_sync.model import SyncItem
from bytelyst_sync.rules.json_text import loads

__all__ = ["FailedItemAdmin", "QueuedItemAdmin"]


def _seen(item: SyncItem) -> str:
    """The value in a form for an item that it shows: its id and its fingerprint."""
    return f"{fingerprint(item.data, item.last_error or '', str(item.timestamp))}:{item.id}"


def _label(item: SyncItem) -> str:
    return clean(f"{item.operation.value} of {item.entity}/{item.record_id}")


class QueuedItemAdmin(QueueAdmin):
    """The queue, oldest first."""

    all_of = staticmethod(SyncEngine.queue)
    label = staticmethod(_label)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list."""
        del extra_context
        self.require(request, "view")
        queue = self.queue_of(request)
        rows = self.page(request, get_engine(queue).queue())
        shown = [{**item_cells(each), "url": self.link(queue, each.id)} for each in rows.rows]
        return self.render_list(request, queue, rows._replace(rows=shown))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One item and its data."""
        del form_url, extra_context
        self.require(request, "view")
        queue, _, item = self.asked(object_id)
        if item is None:
            return self.gone(request, queue, "The item")
        return self.render(
            request,
            "queueditem.html",
            _label(item),
            queue=queue,
            list_url=self.list_link(queue),
            item=item_cells(item),
            item_id=clean(item.id),
            data=exact_json(item.data),
        )


class FailedItemAdmin(QueueAdmin):
    """Failed items: retry, repair and discard."""

    all_of = staticmethod(SyncEngine.failed)
    label = staticmethod(_label)

    # --- the list

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and the actions for the items that are selected in it."""
        del extra_context
        self.require(request, "view")
        queue = self.queue_of(request)
        if request.method == "POST":
            return self._act(request, queue)
        rows = self.page(request, get_engine(queue).failed())
        shown = [
            {**item_cells(each), "seen": _seen(each), "url": self.link(queue, each.id)}
            for each in rows.rows
        ]
        return self.render_list(request, queue, rows._replace(rows=shown))

    def _act(self, request: HttpRequest, queue: str) -> HttpResponse:
        action, seen = request.POST.get("action"), request.POST.getlist("seen")
        self.require(request, "delete" if action == "discard" else "change")
        chosen = self._unchanged(queue, seen)
        if not seen:
            messages.warning(request, "Choose one or more items first.")
        elif action == "discard" and chosen and "confirmed" not in request.POST:
            return self._ask(request, queue, chosen)
        elif action in ("retry", "discard"):
            self._apply(request, queue, action, chosen, len(seen))
        return HttpResponseRedirect(self.list_link(queue))

    def _unchanged(self, queue: str, seen: list[str]) -> list[SyncItem]:
        """The failed items that have not changed since the form showed them."""
        there = {_seen(each): each for each in get_engine(queue).failed()}
        return [there[each] for each in dict.fromkeys(seen) if each in there]

    def _ask(self, request: HttpRequest, queue: str, chosen: list[SyncItem]) -> HttpResponse:
        """The page that asks for confirmation before items are discarded."""
        return self.render(
            request,
            "faileditem_discard.html",
            "Are you sure?",
            queue=queue,
            list_url=self.list_link(queue),
            rows=[{**item_cells(each), "seen": _seen(each)} for each in chosen],
        )

    def _apply(
        self, request: HttpRequest, queue: str, action: str, chosen: list[SyncItem], asked: int
    ) -> None:
        engine, ids = get_engine(queue), [each.id for each in chosen]
        done = 0
        try:
            if ids:
                retry, discard = engine.reprocess_failed, engine.discard_failed
                done = (retry if action == "retry" else discard)(ids)
        except SyncError as error:
            messages.error(request, plain_error(error))
            return
        if done:
            for each in chosen:
                self._log(request, queue, each, "Queued again" if action == "retry" else None)
            verb = "queued again" if action == "retry" else "discarded"
            messages.success(request, f"{count_of(done, 'item')} {verb}.")
        if left := asked - len(chosen):
            messages.warning(
                request,
                f"{count_of(left, 'item')} had changed since the page was loaded, or had gone:"
                " nothing was done to them."
                if left > 1
                else "1 item had changed since the page"
                " was loaded, or had gone: nothing was done to it.",
            )

    def _log(self, request: HttpRequest, queue: str, item: SyncItem, what: str | None) -> None:
        if what is None:
            self.log_deletions(request, [self.shown(queue, item)])
        else:
            self.log_change(request, self.shown(queue, item), what)

    # --- one item

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One item: its error, and a form to repair its data."""
        del form_url, extra_context
        self.require(request, "view")
        queue, _, item = self.asked(object_id)
        if item is None:
            return self.gone(request, queue, "The failed item")
        if request.method != "POST":
            return self._form(request, queue, item)
        self.require(request, "change")
        typed = request.POST.get("data", "").replace("\r\n", "\n")
        if request.POST.get("seen") != _seen(item):
            return self._form(
                request,
                queue,
                item,
                error="The item has changed since the page was loaded. Below is what you typed;"
                " the item as it is now stands beside it.",
                typed=typed,
                status=409,
            )
        try:
            done = self._retry(queue, item, typed)
        except (SyncError, ValueError, RecursionError) as error:
            text = plain_error(error) if isinstance(error, SyncError) else f"No JSON: {error}"
            return self._form(request, queue, item, error=text, typed=typed, status=400)
        if not done:
            return self.gone(request, queue, "The failed item")
        repaired = typed.strip() != exact_json(item.data)
        self._log(request, queue, item, "Repaired and queued again" if repaired else "Queued again")
        messages.success(request, f"{_label(item)} was queued again.")
        return HttpResponseRedirect(self.list_link(queue))

    @staticmethod
    def _retry(queue: str, item: SyncItem, typed: str) -> int:
        if typed.strip() == exact_json(item.data):
            return get_engine(queue).reprocess_failed([item.id])
        data = loads(typed)
        if not isinstance(data, dict):
            raise ValueError("the record is an object: {…}")  # noqa: TRY004 - shown in the form
        return get_engine(queue).reprocess_failed([item.id], data=data)

    def _form(
        self,
        request: HttpRequest,
        queue: str,
        item: SyncItem,
        *,
        error: str | None = None,
        typed: str | None = None,
        status: int = 200,
    ) -> HttpResponse:
        data = exact_json(item.data)
        return self.render(
            request,
            "faileditem.html",
            _label(item),
            status=status,
            queue=queue,
            list_url=self.list_link(queue),
            history_url=self.link(queue, item.id).removesuffix("change/") + "history/",
            item=item_cells(item),
            item_id=clean(item.id),
            seen=_seen(item),
            data=data,
            typed=data if typed is None else typed,
            error=error,
        )
