"""Connects the parts of an engine; no other module does. ``wiring.py`` creates some of them.

A runtime is created when the engine is first used, and dropped by ``close`` and in a forked child.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from bytelyst_sync.agent.assembly import agent_of
from bytelyst_sync.agent.thread import look_at_commands
from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import Clock
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.delivery.auth import AuthHold
from bytelyst_sync.delivery.base_url_probe import BaseUrlProbe
from bytelyst_sync.delivery.batching import Batcher
from bytelyst_sync.delivery.context import DeliveryContext, SendConditions
from bytelyst_sync.delivery.deliverer_heartbeat import no_deliverer
from bytelyst_sync.delivery.dispatcher import Dispatcher
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.delivery.lookup import Lookup
from bytelyst_sync.delivery.queue_counts import read_counts
from bytelyst_sync.delivery.send_permission import SendPermission
from bytelyst_sync.delivery.sender import Sender
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.delivery.worker import Worker
from bytelyst_sync.events.conflict_callbacks import CallbackRunner
from bytelyst_sync.events.outcomes import Outcomes
from bytelyst_sync.events.status import QueueCounts, StatusBoard
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.protocol.batch import batches_of
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.pull.monitor import PullMonitor
from bytelyst_sync.pull.page_commits import PageCommits
from bytelyst_sync.pull.puller import Puller
from bytelyst_sync.pull.right import UndividedPullRight
from bytelyst_sync.pull.scheduler import PullScheduler
from bytelyst_sync.pull.stale_records import StaleRecords
from bytelyst_sync.pull.sweep import Sweep
from bytelyst_sync.queue.claims import Claims
from bytelyst_sync.queue.control import QueueControl
from bytelyst_sync.queue.inbox import InboxReads
from bytelyst_sync.queue.line import Line
from bytelyst_sync.queue.opening import ItemMigration, check_order
from bytelyst_sync.queue.outbox import Outbox
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.replica.conflicts import Resolver
from bytelyst_sync.replica.remote_changes import RemoteChanges
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.indexes import Indexes
from bytelyst_sync.state.unit_of_work import StateStore
from bytelyst_sync.storage.base import Reader, Storage
from bytelyst_sync.wiring import (
    closable_storage,
    confirmation_of,
    connectivity_of,
    credentials_of,
    delivery_right,
    retry_policy,
    sender_pool,
    transport_of,
    wake_when_moved,
)

__all__ = ["Runtime"]


class Runtime:
    """The parts of one running engine. ``board`` outlives it: subscriptions are the engine's."""

    def __init__(
        self,
        config: SyncConfig,
        entities: Entities,
        board: StatusBoard,
        clock: Clock,
        storage: Storage,
    ) -> None:
        self.config = config
        self.entities = entities
        self.board = board
        self.clock = clock
        self.closed = False
        self._lock = threading.Lock()
        """Guards ``_ended`` and ``_released``."""
        self._ended: set[int] = set()
        """The ids of the objects whose threads have ended for good."""
        self._released = False
        strict, version = config.order == "strict", config.schema_version
        self.opened = False
        """Whether the queue was checked: see ``open_queue``."""
        self.storage = closable_storage(storage, config, entities, clock)
        self._shared = self.storage if isinstance(self.storage, InboxReads) else None
        """The store, if many machines share it."""
        self.inbox = None if self._shared is None else self._shared.inbox
        """Where pushes wait to be queued, in a store that many machines share."""
        self.transport = transport_of(config)
        private = bool(getattr(config.storage, "seals", False))
        self._indexes = Indexes(entities, private=private)
        self.state = self._state_store(self.publish)
        self._delivery_state = self._state_store(self._publish_delivery)
        self.outcomes = Outcomes()
        self.outbox = Outbox(
            entities, config.max_queue_length, strict=strict, schema_version=version
        )
        self.migration = ItemMigration(self.state, entities, version, config.migrate)
        self.control = QueueControl(entities, version)
        self._policy = retry_policy(config)
        self.throttle = Throttle(clock, self._policy)
        lease_s = None if self._shared is None else self._shared.lease_s
        self.resolver = Resolver(entities, lambda: self.throttle.offset.seconds, lease_s)
        self._remote_changes = RemoteChanges(self.resolver)
        self.claims = Claims(
            entities,
            self.resolver,
            config.max_retry_delay,
            Line(entities, strict=strict, schema_version=version),
            request_deadline=config.request_deadline,
            lease_s=lease_s,
        )
        self._right = delivery_right(config, self.storage, self.claims, clock, self.throttle)
        self.callback_runner = CallbackRunner(self.state, entities, self.resolver, self.wake)
        self.credentials = credentials_of(config, self.transport)
        self.auth_hold = AuthHold(self.credentials, clock, self._policy)
        codecs = {name: EntityCodec(each, config, clock.wall) for name, each in entities.items()}
        batcher = Batcher(codecs, batches_of(codecs))
        transport = self._right.guarded(self.transport)
        exchange = Exchange(transport, self.credentials, clock, self.throttle)
        confirmation = confirmation_of(exchange, self.storage, entities)
        lookup = Lookup(exchange, confirmation, clock, config.request_deadline)
        sender = Sender(exchange, codecs, batcher, confirmation, lookup, board.recorder)
        self._connect_pulls(codecs, sender)
        self._connect_worker(sender, batcher)
        self.agent = agent_of(self, codecs)
        """Sends heartbeats, carries out remote commands; ``None``: the settings ask for neither."""

    # --- the parts

    def _state_store(self, publish: Callable[[CommitEffects], None]) -> StateStore:
        return StateStore(
            self.storage,
            self.entities,
            self.clock,
            watched=self.board.change_subscribers,
            publish=publish,
            indexes=self._indexes,
            inbox=self.inbox,
        )

    def _connect_pulls(self, codecs: Mapping[str, EntityCodec], sender: Sender) -> None:
        config, clock = self.config, self.clock
        shared = self._shared
        self._pull_right = UndividedPullRight() if shared is None else shared.pull_right()
        monitor = PullMonitor(
            right=self._pull_right,
            note=self.board.note_error,
            fault=self.board.note_fault,
            network=self._report_connectivity,
            credentials_refused=self.auth_hold.note,
            random=random.random,
            vanished=self.board.note_vanished,
            allowed=self._may_fetch,
            finished=self._pull_finished,
        )
        commits = PageCommits(self.state, self._remote_changes)
        sweep = Sweep(commits, sender, config)
        self.puller = Puller(
            pagers={name: Pager(each, config.account) for name, each in codecs.items()},
            commits=commits,
            sweep=sweep,
            server=sender,
            clock=clock,
            monitor=monitor,
        )
        self.stale_records = StaleRecords(
            state=self._delivery_state,
            codecs=codecs,
            sweep=sweep,
            clock=clock,
            monitor=monitor,
            max_retry_delay=config.max_retry_delay,
        )
        self.pull_scheduler = PullScheduler(
            puller=self.puller,
            stale_records=self.stale_records,
            entities=self.entities,
            clock=clock,
            config=config,
            monitor=monitor,
        )

    def _connect_worker(self, sender: Sender, batcher: Batcher) -> None:
        config, clock = self.config, self.clock
        probe_server = BaseUrlProbe(self.transport, config)
        context = DeliveryContext(
            storage=self.storage,
            claims=self.claims,
            conditions=SendConditions(
                connectivity=connectivity_of(config, clock, probe_server),
                auth_hold=self.auth_hold,
                throttle=self.throttle,
            ),
            board=self.board,
            clock=clock,
        )
        dispatcher = Dispatcher(
            context,
            state=self._delivery_state,
            settlement=Settlement(
                self.entities,
                self.resolver,
                self._remote_changes,
                self._policy,
                config.request_deadline,
            ),
            sender_pool=lambda: sender_pool(config, sender, batcher, self._right),
            pending_decisions=lambda: self.callback_runner.pending,
            right=self._right,
        )
        self.send_permission = SendPermission(
            context, dispatcher, probe_server=probe_server, auto_flush=config.auto_flush
        )
        self.worker = Worker(
            context,
            dispatcher=dispatcher,
            permission=self.send_permission,
            pull_scheduler=self.pull_scheduler,
            migrate_items=self.migration.run,
            shared=self._shared,
        )
        wake_when_moved(clock, self.worker, self.pull_scheduler)
        if self.board.paused:
            self.worker.pause(True)

    def begin_flush(self) -> FlushRequest:
        """Requests a flush of what is queued now, without waiting."""
        if self.inbox is None:
            request = FlushRequest(self.storage.read(lambda tx: tx.last_number()))
        else:
            request = FlushRequest(self.inbox.fold_all(self.state))
        self.worker.start()
        self.worker.add(request)
        return request

    def report_to_board(self) -> None:
        """From now on the status tells the pauses and the next pull of this runtime."""
        self.board.pauses = self._pauses
        self.board.next_reading = self.pull_scheduler.next_attempt_s

    def open_queue(self) -> None:
        """Checks the queue and migrates its items, before it is used.

        Raises ``ConfigError`` if the store keeps its queue in another order.
        """
        check_order(self.state, self.config.order)
        self.migration.run_once()
        self.opened = True

    @property
    def delivers(self) -> bool:
        """Whether this engine delivers what is queued without being asked to. One on a shared store
        with ``auto_flush=False`` leaves that to workers, and runs no thread.
        """
        return self.inbox is None or self.config.auto_flush

    def wake(self) -> None:
        """Starts the worker if needed, and a round of delivery."""
        if self.delivers:
            self.worker.start()
        self.worker.wake()

    def start_delivery(self) -> None:
        """A push was refused. Starts the worker if needed: if the queue or the disk is full, there
        is room again only after items that are queued were delivered.
        """
        if self.delivers and not (self.inbox is not None and self.inbox.joined):
            self.worker.wake_after_push()

    def wake_after_push(self) -> None:
        """Something was queued."""
        if self.inbox is not None:
            self.inbox.notify()
        if self.delivers:
            self.worker.wake_after_push()
        else:
            self.worker.wake()

    # --- what pulls report; the worker is created after them

    def _report_connectivity(self, online: bool, portal: bool) -> None:
        self.send_permission.report_connectivity(online, portal)
        self.worker.wake()

    def _may_fetch(self) -> bool:
        return self.send_permission.may_fetch() and self._pull_right.keep()

    def _pull_finished(self, well: bool) -> None:
        if well:
            self.board.note_sync(well=True)
            look_at_commands(self.agent)
        self.worker.wake()

    def _publish_delivery(self, effects: CommitEffects) -> None:
        self.worker.count(effects)
        self.publish(effects)

    def publish(self, effects: CommitEffects) -> None:
        """Reports the effects of a commit to waiting threads, status, telemetry and callbacks."""
        if effects.outcomes or effects.moved:
            self.outcomes.add(effects)
        self.board.recorder.committed(effects, self.clock.monotonic() - effects.began)
        if effects.failed or effects.changes:
            self.board.publish(effects)
        for entity, message in effects.vanished.items():
            self.board.note_vanished(entity, message)
        for message in effects.id_problems.values():
            self.board.note_error(message, passing=False)
        for decision in effects.pending_decisions:
            self.callback_runner.submit(decision)

    def _pauses(self) -> tuple[float, float]:
        """Seconds for which nothing is sent, and for which some entity sends nothing."""
        whole, entity = self.throttle.pauses()
        if self.auth_hold.active:
            whole = max(whole, self.auth_hold.wait_s())
        return whole, entity

    def fold_inbox(self) -> None:
        """Queues what is in the inbox of a shared store, outside of the application's transactions:
        each item then has its final place.
        """
        if self.inbox is not None and not self.inbox.joined:
            self.inbox.fold_all(self.state)

    def current_seq(self, tx: Reader, seq: int) -> int:
        """The ``seq`` of the item that a ``SyncItem`` names by this one now."""
        seq = self.outcomes.follow(seq)
        return seq if self.inbox is None else self.inbox.seq_of(tx, seq)

    def counts(self) -> QueueCounts:
        """Exact numbers of the queue at this instant, and whether anybody delivers it."""
        counts = read_counts(self.storage, self.outbox, self.claims, self.clock.wall())
        if self._shared is None or self.config.auto_flush:
            return counts
        return attrs.evolve(counts, no_deliverer=no_deliverer(self._shared, counts.queued))

    def close(self, left: Callable[[], float]) -> bool:
        """Ends the threads, then closes the store and the network; ``left`` returns the seconds
        that may be spent.

        False if a thread did not end in time: then the store is closed when it does.
        """
        self.closed = True
        ended = [
            each
            for each in self._threads()
            if each.close(left(), partial(self._thread_ended, each))
        ]
        self.callback_runner.close(left())
        for each in ended:
            self._thread_ended(each)
        return len(ended) == len(self._threads())

    def _threads(self) -> tuple[BackgroundThread, ...]:
        threads = self.worker, self.pull_scheduler
        return threads if self.agent is None else (*threads, self.agent)

    def _thread_ended(self, thread: object) -> None:
        with self._lock:
            self._ended.add(id(thread))
            last = len(self._ended) == len(self._threads()) and not self._released
            self._released = self._released or last
        if last:
            self._release()

    def _release(self) -> None:
        # before the store is closed: the last status has counts that are read from it
        self.board.change(SyncStatus.CLOSED)
        close = getattr(self.transport, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self.storage.close()

    def after_fork(self) -> None:
        """In a forked child: forgets files and connections, which belong to the parent."""
        self.storage.after_fork()
        forked = getattr(self.transport, "after_fork", None)
        if forked is not None:
            forked()
