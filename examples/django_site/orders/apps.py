"""The application's setup: what happens when an order cannot be delivered."""

import logging
from typing import Any

from django.apps import AppConfig

from bytelyst_sync import SyncItem
from bytelyst_sync.contrib.django.signals import item_failed

logger = logging.getLogger("orders")


def report(item: SyncItem, **_: Any) -> None:
    """Runs in the worker, after the commit."""
    logger.warning("order %s needs a person: %s", item.record_id, item.last_error)


class OrdersConfig(AppConfig):
    """Connects the receivers."""

    name = "orders"

    def ready(self) -> None:
        """Called once Django is set up."""
        item_failed.connect(report)
