"""Creates single parts of an engine from its configuration; ``runtime.py`` connects them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import Clock
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.config.settings import SyncConfig, requests_auth, token_provider
from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.delivery.base_url_probe import BaseUrlProbe, configured_probe
from bytelyst_sync.delivery.batching import Batcher
from bytelyst_sync.delivery.claim_leases import ClaimLeases
from bytelyst_sync.delivery.confirmation import Confirmation
from bytelyst_sync.delivery.connectivity import Connectivity
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.delivery.leadership import Leadership
from bytelyst_sync.delivery.right import DeliveryRight
from bytelyst_sync.delivery.sender import Sender
from bytelyst_sync.delivery.sender_pool import SenderPool, Slices
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Transport
from bytelyst_sync.queue.answered_entities import has_answered
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.queue.inbox import Inbox, InboxReads
from bytelyst_sync.rules.backoff import RetryPolicy
from bytelyst_sync.safe_logging import shield_dependencies
from bytelyst_sync.storage.base import SharedStorage, Storage
from bytelyst_sync.storage.closable import ClosableStorage
from bytelyst_sync.storage.schema import RECORDS

__all__ = [
    "closable_storage",
    "confirmation_of",
    "connectivity_of",
    "credentials_of",
    "delivery_right",
    "retry_policy",
    "sender_pool",
    "transport_of",
    "wake_when_moved",
]

_SLICE_S = 0.05
_SYNCED_SLICE_ITEMS, _SLICE_ITEMS = 1000, 25
"""One commit settles the answers of ``_SLICE_S`` seconds, or so many. With synced commits, few
commits are faster; without, short ones keep pushes from waiting.
"""


def closable_storage(
    storage: Storage, config: SyncConfig, entities: Entities, clock: Clock
) -> ClosableStorage:
    """The store as the engine uses it; a shared one gets its inbox."""
    if not isinstance(storage, SharedStorage):
        return ClosableStorage(storage, config.account)
    shared = InboxReads(storage, config.account)
    shared.inbox = Inbox(
        shared,
        entities,
        clock,
        strict=config.order == "strict",
        schema_version=config.schema_version,
        max_length=config.max_queue_length,
    )
    return shared


def retry_policy(config: SyncConfig) -> RetryPolicy:
    """How often and how late writes are retried."""
    return RetryPolicy(
        max_retries=config.max_retries,
        retry_delay=config.retry_delay,
        max_retry_delay=config.max_retry_delay,
        give_up_after=config.give_up_after,
        random=random.random,
    )


def credentials_of(config: SyncConfig, transport: Transport) -> Credentials:
    """The credentials of requests, and how they are renewed after a refusal.

    Credentials of a ``session_factory`` are renewed by new sessions. An auth object is only called
    again.
    """
    renew: Callable[[], object] | None = bool if callable(requests_auth(config.auth)) else None
    if config.session_factory is not None and config.transport is None:
        renew = getattr(transport, "close", None)
    return Credentials(token_provider(config.auth), renew)


def confirmation_of(exchange: Exchange, storage: Storage, entities: Entities) -> Confirmation:
    """Confirms refusals by what the store knows of the server."""

    def is_held(entity: str, record: str) -> bool:
        row = storage.read(lambda tx: tx.get(RECORDS, entity, record))
        return row is not None and row.state is not None

    def api_has_answered(entity: str) -> bool:
        return storage.read(lambda tx: has_answered(tx, entities[entity]))

    return Confirmation(exchange, is_held, api_has_answered)


def connectivity_of(config: SyncConfig, clock: Clock, probe_server: BaseUrlProbe) -> Connectivity:
    """Whether the network is there, by the probe of the settings."""
    return Connectivity(
        configured_probe(config, probe_server),
        clock=clock,
        random=random.random,
        probe_interval=config.probe_interval,
        max_retry_delay=config.max_retry_delay,
    )


def delivery_right(
    config: SyncConfig,
    storage: ClosableStorage,
    claims: Claims,
    clock: Clock,
    throttle: Throttle,
) -> DeliveryRight:
    """The right to deliver: of one process at a time, or of all that share the store."""
    if not isinstance(storage, InboxReads):
        return Leadership(storage, clock, config.takeover_after)
    return ClaimLeases(
        storage,
        claims,
        clock,
        throttle,
        lease_s=storage.lease_s,
        request_deadline_s=config.request_deadline,
    )


def sender_pool(
    config: SyncConfig, sender: Sender, batcher: Batcher, right: DeliveryRight
) -> SenderPool:
    """The threads that send, as long as this process may deliver."""
    slice_items = _SYNCED_SLICE_ITEMS if config.durability == "full" else _SLICE_ITEMS
    return SenderPool(
        partial(right.send, send=sender.send),
        batcher,
        workers=config.workers,
        batch_size=config.batch_size,
        slices=Slices(length_s=_SLICE_S, items=slice_items, shared=right.is_shared),
    )


def transport_of(config: SyncConfig) -> Transport:
    """The transport of an engine with this configuration."""
    shield_dependencies()
    if config.transport is not None:
        transport: Transport = config.transport
        return transport
    return HttpTransport(
        auth=requests_auth(config.auth),
        session_factory=config.session_factory,
        request_deadline=config.request_deadline,
    )


def wake_when_moved(clock: Clock, *threads: BackgroundThread) -> None:
    """Wakes the threads when a clock that is moved by hand moves: no wait ends by itself then."""
    subscribe = getattr(clock, "subscribe", None)
    if subscribe is not None:
        for each in threads:
            subscribe(each.wake)
