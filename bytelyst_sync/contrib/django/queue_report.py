"""The numbers of a queue, and whether a worker delivers it: for ``sync_status`` and the admin."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.contrib.django.engines import get_engine, read_settings
from bytelyst_sync.delivery.deliverer_heartbeat import LATE_LEASES

__all__ = ["queue_report"]


def queue_report(name: str) -> dict[str, Any]:
    """The numbers of queued, failed and conflicting items, and when a worker was last seen.

    ``stuck``: items are queued, and no worker was seen for three leases.
    """
    settings = read_settings(name)
    info = get_engine(name).status
    seen_s = settings.storage.deliverer_seen_s()
    late = seen_s is None or seen_s > LATE_LEASES * settings.lease_s
    return {
        "queue": name,
        "queued": info.queue_length,
        "failed": info.failed,
        "conflicts": info.conflicts,
        "worker_seen_s": None if seen_s is None else round(seen_s, 1),
        "stuck": bool(late and info.queue_length),
    }
