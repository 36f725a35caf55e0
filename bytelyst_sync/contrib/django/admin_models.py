"""Models without tables: the admin needs a model for its index, its permissions and its log.

The pages read and change the queue through the engine: see ``admin.py``.
"""

from __future__ import annotations

from django.db import models

__all__ = ["FailedItem", "OpenConflict", "QueueStatus", "QueuedItem"]


class _Shown(models.Model):
    """The base: one item, conflict or status of a queue."""

    key = models.TextField(primary_key=True)
    label = models.TextField()
    """The name that the admin shows."""

    class Meta:
        """No table of its own."""

        abstract = True
        app_label = "bytelyst_sync"

    def __str__(self) -> str:
        return str(self.label)


class QueuedItem(_Shown):
    """An item that waits to be delivered."""

    class Meta(_Shown.Meta):
        """No table of its own."""

        managed = False
        verbose_name = "queued item"
        verbose_name_plural = "queue"
        default_permissions = ("view",)


class FailedItem(_Shown):
    """A failed item. ``change`` permits retry and repair, ``delete`` permits discard."""

    class Meta(_Shown.Meta):
        """No table of its own."""

        managed = False
        verbose_name = "failed item"
        verbose_name_plural = "failed items"
        default_permissions = ("view", "change", "delete")


class OpenConflict(_Shown):
    """An open conflict. ``change`` permits to resolve it."""

    class Meta(_Shown.Meta):
        """No table of its own."""

        managed = False
        verbose_name = "conflict"
        verbose_name_plural = "conflicts"
        default_permissions = ("view", "change")


class QueueStatus(_Shown):
    """The numbers of a queue."""

    class Meta(_Shown.Meta):
        """No table of its own."""

        managed = False
        verbose_name = "status"
        verbose_name_plural = "status"
        default_permissions = ("view",)
