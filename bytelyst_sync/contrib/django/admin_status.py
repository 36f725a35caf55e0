"""The page of the status: one row for each queue."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from bytelyst_sync.contrib.django.admin_models import QueueStatus
from bytelyst_sync.contrib.django.admin_pages import QueueAdmin, key_of
from bytelyst_sync.contrib.django.engines import queue_names, read_settings
from bytelyst_sync.contrib.django.queue_report import queue_report
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.inspection.text import clean, duration

__all__ = ["QueueStatusAdmin"]


class QueueStatusAdmin(QueueAdmin):
    """The numbers of each queue, and whether a worker delivers it."""

    def find(self, engine: SyncEngine, name: str) -> Any:
        """The engine itself: the page shows its status."""
        del name
        return engine

    def shown(self, queue: str, found: SyncEngine) -> QueueStatus:
        """The model's object for a queue."""
        del found
        return QueueStatus(key=key_of(queue, ""), label=queue)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All queues."""
        del extra_context
        self.require(request, "view")
        rows = [self._row(name) for name in queue_names()]
        return self.render(request, "queuestatus_list.html", "Status", rows=rows)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Redirects to the list: all queues are on one page."""
        del form_url, extra_context, object_id
        self.require(request, "view")
        return HttpResponseRedirect(self.list_link(self.queue_of(request)))

    @staticmethod
    def _row(name: str) -> dict[str, Any]:
        settings, report = read_settings(name), queue_report(name)
        seen_s = report["worker_seen_s"]
        return {
            **report,
            "url": clean(str(settings.config.base_url)),
            "database": settings.using,
            "worker": "never" if seen_s is None else f"{duration(seen_s)} ago",
        }
