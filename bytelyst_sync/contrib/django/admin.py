"""The queues in Django's admin: the queue, failed items, conflicts and the status."""

from __future__ import annotations

from django.contrib import admin

from bytelyst_sync.contrib.django.admin_conflicts import OpenConflictAdmin
from bytelyst_sync.contrib.django.admin_failed import FailedItemAdmin, QueuedItemAdmin
from bytelyst_sync.contrib.django.admin_models import (
    FailedItem,
    OpenConflict,
    QueuedItem,
    QueueStatus,
)
from bytelyst_sync.contrib.django.admin_status import QueueStatusAdmin

__all__ = ["FailedItemAdmin", "OpenConflictAdmin", "QueueStatusAdmin", "QueuedItemAdmin"]

admin.site.register(QueueStatus, QueueStatusAdmin)
admin.site.register(QueuedItem, QueuedItemAdmin)
admin.site.register(FailedItem, FailedItemAdmin)
admin.site.register(OpenConflict, OpenConflictAdmin)
