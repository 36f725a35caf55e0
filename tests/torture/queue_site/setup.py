"""Django, set up by the environment variable of ``shared_queue.Site`` when this is imported.

``build`` names a part that is taken out of the package in these processes, for the scenarios that
must fail without it.
"""

import json
import os
import sys

import attrs
import django
from django.conf import settings

given = json.loads(os.environ["BYTELYST_SYNC_TORTURE_SITE"])
settings.configure(
    SECRET_KEY="tests",
    INSTALLED_APPS=["bytelyst_sync.contrib.django", "tests.contrib.django.shop"],
    DATABASES={"default": given["database"]},
    BYTELYST_SYNC={"default": {"BASE_URL": "http://server.invalid", "ENTITIES": {"orders": "/"}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    SILENCED_SYSTEM_CHECKS=["bytelyst_sync.W003"],
)
django.setup()

from bytelyst_sync.contrib.django import database, engines, storage  # noqa: E402 - after setup
from bytelyst_sync.queue import claims  # noqa: E402 - the same
from bytelyst_sync.storage.base import Transaction  # noqa: E402 - the same
from bytelyst_sync.storage.schema import ITEMS, Item, Lane  # noqa: E402 - the same


def shorten(idle_s: float, margin_s: float, poll_s: float) -> None:
    """Shortens the time after which the database ends a transaction that stands still, and that by
    which a lease is longer than a request; sets how often workers that hear of pushes look.
    """
    engines._MARGIN_S = margin_s
    storage._POLL_IF_NOTIFIED_S = poll_s
    for name, each in database._VENDORS.items():
        usual = f"= '{database._IDLE_S}s'"
        write = [text.replace(usual, f"= '{idle_s * 1000:.0f}ms'") for text in each.write]
        assert name != "postgresql" or write != list(each.write), "the time stands elsewhere now"
        database._VENDORS[name] = attrs.evolve(each, write=tuple(write))


def remove_the_fence() -> None:
    """Claims are settled without a comparison of their numbers."""
    original = claims.claimed

    def claimed(tx: Transaction, claim: claims.Claim) -> Item | None:
        item = tx.get(ITEMS, claim.item.seq)
        return None if item is None or item.lane != Lane.SENDING else item

    for module in list(sys.modules.values()):
        if getattr(module, "claimed", None) is original:
            module.claimed = claimed  # type: ignore[attr-defined]  # it has one


def remove_the_lock() -> None:
    """Transactions that change the queue run at the same time."""
    for name, each in database._VENDORS.items():
        lock = each.lock.replace(" FOR UPDATE SKIP LOCKED", "")
        database._VENDORS[name] = attrs.evolve(each, lock=lock)


shorten(given["idle_s"], given["margin_s"], given["poll_s"])
BUILDS = {
    "": lambda: None,
    "without the fence": remove_the_fence,
    "without the lock": remove_the_lock,
}
BUILDS[given["build"]]()
