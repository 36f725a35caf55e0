"""An engine's parts, put together: the one place where everything meets everything.

Built with an engine's first need and thrown away by ``close`` and in a forked child.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from bytelyst_sync.clock import Clock
from bytelyst_sync.config import SyncConfig, is_token_provider
from bytelyst_sync.entity import Entities
from bytelyst_sync.errors import SyncError
from bytelyst_sync.flows.asking import Asker
from bytelyst_sync.flows.chores import Chores
from bytelyst_sync.flows.connectivity import Connectivity
from bytelyst_sync.flows.credentials import Credentials, Refusal
from bytelyst_sync.flows.deliverer import Deliverer
from bytelyst_sync.flows.notifier import call_user
from bytelyst_sync.flows.origin import OriginPause
from bytelyst_sync.flows.outcomes import Outcomes
from bytelyst_sync.flows.parcels import Packer
from bytelyst_sync.flows.pipeline import Pipeline
from bytelyst_sync.flows.puller import Puller
from bytelyst_sync.flows.sender import Sender
from bytelyst_sync.flows.status import StatusBoard, Tally
from bytelyst_sync.flows.worker import Worker
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.state.arrivals import Arrivals
from bytelyst_sync.state.claims import Claims
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.outbox import Outbox
from bytelyst_sync.state.resolver import Resolver
from bytelyst_sync.state.settlement import Settlement
from bytelyst_sync.state.triage import Triage
from bytelyst_sync.storage import MemoryStorage, SQLiteStorage, Storage
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.once import StorageOnce
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.transport.base import Request, Transport
from bytelyst_sync.transport.batches import batches_of
from bytelyst_sync.transport.http import HttpTransport
from bytelyst_sync.transport.mapping import Mapper
from bytelyst_sync.transport.redirects import is_portal

__all__ = ["Runtime"]

_PROBE_TIMEOUT_S = 5.0
_SLICE_S = 0.05
_SYNCED_SLICE_ITEMS, _SLICE_ITEMS = 1000, 25
"""For how long, and how many, answers are gathered for one commit. Where commits are synced, fewer
are better; where they are not, short ones keep pushes waiting less.
"""


class Runtime:
    """The parts of one running engine. ``board`` outlives it: subscriptions are the engine's."""

    def __init__(
        self, config: SyncConfig, entities: Entities, board: StatusBoard, clock: Clock
    ) -> None:
        self.config = config
        self.entities = entities
        self.board = board
        self.clock = clock
        self.closed = False
        self.storage = StorageOnce(_storage(config))
        self.transport = _transport(config)
        self.outcomes = Outcomes()
        self.outbox = Outbox(entities, config.max_queue_length)
        self.triage = Triage(entities)
        self.origin = OriginPause(
            clock,
            random.random,
            retry_delay=config.retry_delay,
            max_retry_delay=config.max_retry_delay,
            told=board.note_pause,
        )
        self.resolver = Resolver(entities, lambda: self.origin.offset.seconds)
        arrivals = Arrivals(self.resolver)
        self.claims = Claims(entities, self.resolver, config.max_retry_delay)
        settlement = Settlement(
            entities,
            self.resolver,
            arrivals,
            max_retries=config.max_retries,
            retry_delay=config.retry_delay,
            max_retry_delay=config.max_retry_delay,
            random=random.random,
        )
        provider = config.auth if is_token_provider(config.auth) else None
        credentials = self.credentials = Credentials(provider)
        mappers = {name: Mapper(each, config, clock.wall) for name, each in entities.items()}
        packer = Packer(mappers, batches_of(mappers))
        sender = Sender(
            self.transport, mappers, credentials, clock, self.origin, packer, board.observer
        )
        self.asker = Asker(
            self.storage, entities, self.resolver, self.publish, self.new_effects, clock, self.wake
        )
        self.puller = Puller(
            storage=self.storage,
            entities=entities,
            mappers=mappers,
            sender=sender,
            arrivals=arrivals,
            publish=self.publish,
            new_effects=self.new_effects,
            clock=clock,
            note=board.note_error,
            heard=self._heard,
            refused=self._refused,
            interrupted=lambda: self.worker.wanted,
        )
        self.chores = Chores(
            storage=self.storage,
            entities=entities,
            mappers=mappers,
            sender=sender,
            arrivals=arrivals,
            puller=self.puller,
            publish=self._delivered,
            new_effects=self.new_effects,
            clock=clock,
            interval=config.pull_interval,
            pulled=lambda: board.note_sync(well=True),
        )
        connectivity = Connectivity(
            self._probe(),
            clock=clock,
            random=random.random,
            probe_interval=config.probe_interval,
            max_retry_delay=config.max_retry_delay,
        )

        refusal = Refusal(credentials, clock, lambda times: settlement.backoff(times, None))
        deliverer = Deliverer(
            storage=self.storage,
            claims=self.claims,
            settlement=settlement,
            pipeline=lambda: _pipeline(config, sender, packer),
            connectivity=connectivity,
            refusal=refusal,
            origin=self.origin,
            board=board,
            clock=clock,
            publish=self._delivered,
            new_effects=self.new_effects,
            own_questions=lambda: self.asker.pending,
        )
        self.refusal = refusal
        self.worker = Worker(
            storage=self.storage,
            claims=self.claims,
            deliverer=deliverer,
            connectivity=connectivity,
            refusal=refusal,
            origin=self.origin,
            board=board,
            clock=clock,
            chores=self.chores,
            knock=self._ask_base_url,
            auto_flush=config.auto_flush,
        )
        subscribe = getattr(clock, "subscribe", None)
        if subscribe is not None:
            # one that is moved by hand says so, for nobody's waiting ends by itself under it
            subscribe(self.worker.wake)
        if board.paused:
            self.worker.pause(True)

    def wake(self) -> None:
        """There may be something to do."""
        self.worker.start()
        self.worker.wake()

    def _refused(self) -> None:
        self.refusal.note()

    def _heard(self, online: bool) -> None:
        self.worker.hear(online)

    def new_effects(self) -> Effects:
        """For one run of a transaction."""
        watch = bool(self.board.change_subscribers.callbacks)
        return Effects(watch=watch, began=self.clock.monotonic())

    def _delivered(self, effects: Effects) -> None:
        self.worker.count(effects)
        self.publish(effects)

    def publish(self, effects: Effects) -> None:
        """Tells everybody what a commit did."""
        if effects.outcomes or effects.moved:
            self.outcomes.add(effects)
        self.board.publish(effects)
        for question in effects.questions:
            self.asker.ask(question)

    def tally(self) -> Tally:
        """Exact numbers of the queue at this instant."""

        def read(tx: Reader) -> Tally:
            queued, failed, conflicts = self.outbox.tally(tx)
            due = self.claims.next_due_at(tx, self.clock.wall())
            ready = tx.count(ITEMS, Lane.READY) > 0
            return Tally(queued, failed, conflicts, ready, due, self.storage.notice)

        return self.storage.read(read)

    def _probe(self) -> Callable[[], bool] | None:
        probe = self.config.probe
        if probe is None:
            return None
        if probe == "auto":
            return self._ask_base_url
        return lambda: _asked(probe)

    def _ask_base_url(self) -> bool:
        """Any answer will do, but not that of a captive portal; without credentials."""
        connect, read = self.config.timeout
        limits = (min(connect, _PROBE_TIMEOUT_S), min(read, _PROBE_TIMEOUT_S))
        url = self.config.base_url
        # some servers send a body after the answer to a HEAD: this connection is not used again
        headers = {"Connection": "close"}
        request = Request("HEAD", url, headers, timeout=limits, authorize=False)
        try:
            return not is_portal(self.transport.send(request), url)
        except SyncError:
            return False

    def close(self, left: Callable[[], float]) -> bool:
        """Stops the worker and lets go of the store and the network; ``left`` is the time to.

        False if the worker did not stop in time: then it lets go of them when it does.
        """
        self.closed = True
        stopped = self.worker.close(left(), self._let_go)
        self.asker.close(left())
        if stopped:
            self._let_go()
        return stopped

    def _let_go(self) -> None:
        # told while there still is a store to read the last numbers from
        self.board.change(SyncStatus.CLOSED)
        close = getattr(self.transport, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self.storage.close()

    def after_fork(self) -> None:
        """In a forked child: what is open belongs to the parent."""
        self.storage.after_fork()
        forked = getattr(self.transport, "after_fork", None)
        if forked is not None:
            forked()


def _asked(probe: Callable[[], Any]) -> bool:
    try:
        return bool(call_user(probe))
    except Exception:  # noqa: BLE001 - a probe that raises has found no network
        return False


def _storage(config: SyncConfig) -> Storage:
    given = config.storage
    if isinstance(given, (str, os.PathLike)):
        if os.fspath(given) == ":memory:":
            return MemoryStorage()
        return SQLiteStorage(given, durability=config.durability)
    storage: Storage = given
    return storage


def _pipeline(config: SyncConfig, sender: Sender, packer: Packer) -> Pipeline:
    slice_items = _SYNCED_SLICE_ITEMS if config.durability == "full" else _SLICE_ITEMS
    return Pipeline(
        sender.send,
        packer,
        workers=config.workers,
        batch_size=config.batch_size,
        slice_s=_SLICE_S,
        slice_items=slice_items,
    )


def _transport(config: SyncConfig) -> Transport:
    if config.transport is not None:
        transport: Transport = config.transport
        return transport
    auth = None if is_token_provider(config.auth) else config.auth
    return HttpTransport(auth=auth, session_factory=config.session_factory)
