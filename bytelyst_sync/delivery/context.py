"""What the worker and the dispatcher share: the queue, the clock, the status, the open calls of
``flush``, and the conditions under which requests are sent.

Who owns what: see each part; these values only hold them together.
"""

from __future__ import annotations

import attrs

from bytelyst_sync.clock import Clock
from bytelyst_sync.delivery.auth import AuthHold
from bytelyst_sync.delivery.connectivity import Connectivity
from bytelyst_sync.delivery.flush_requests import FlushRequests
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.events.status import StatusBoard
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.queue.queue_reads import QueueReads
from bytelyst_sync.storage.base import Storage

__all__ = ["DeliveryContext", "SendConditions"]


@attrs.frozen(kw_only=True)
class SendConditions:
    """Each of these may say that no request is sent now: no network, refused credentials, or a
    pause of the server.
    """

    connectivity: Connectivity
    auth_hold: AuthHold
    throttle: Throttle


@attrs.frozen(kw_only=True)
class DeliveryContext:
    """The parts of an engine that its delivery works with."""

    storage: Storage
    claims: Claims
    conditions: SendConditions
    board: StatusBoard
    clock: Clock
    flush_requests: FlushRequests = attrs.field(factory=FlushRequests)
    queue: QueueReads = attrs.field(init=False)

    @queue.default
    def _queue(self) -> QueueReads:
        return QueueReads(self.storage)
