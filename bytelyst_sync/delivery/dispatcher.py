"""Claims, sends and settles items, in slices. Holds the right to deliver meanwhile.

Owned by the worker's thread, as is everything it uses but the storage and the status board. It
keeps answers that are not settled, and claims that are not sent, until a commit has stored them: a
full disk loses no answer, and the right is never released with open claims.
"""

from __future__ import annotations

from collections.abc import Callable

from bytelyst_sync.clock import FOREVER_S
from bytelyst_sync.delivery.context import DeliveryContext
from bytelyst_sync.delivery.recovery import Recovery
from bytelyst_sync.delivery.right import DeliveryRight, ReplacedError
from bytelyst_sync.delivery.sender_pool import Room, SenderPool
from bytelyst_sync.delivery.settled_log import log_settled
from bytelyst_sync.errors import SyncError
from bytelyst_sync.model import StatusReason, SyncStatus
from bytelyst_sync.protocol.error_messages import error_about, item_error_text
from bytelyst_sync.protocol.responses import AttemptResult, failure
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.expiry import expire_due, next_expiry
from bytelyst_sync.queue.outage_rule import Outages
from bytelyst_sync.queue.outcome import Sent
from bytelyst_sync.queue.settle import Settlement
from bytelyst_sync.rules.classify import FAILURES, NO_ANSWER, Verdict
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS, Item, Lane

__all__ = ["Dispatcher"]

logger = SafeLogger("bytelyst_sync.deliverer")

_FOLD_AGAIN_S = 0.05
_NO_ROOM = Room(0)
_NO_NETWORK = (Verdict.OFFLINE, Verdict.PORTAL)
_FAULTS: dict[Verdict, StatusReason | None] = {
    **dict.fromkeys([*FAILURES, Verdict.REJECTED, Verdict.REDIRECT]),
    Verdict.MAPPING: "mapping",
    Verdict.UNCLEAR: "mapping",
}
"""The verdicts that say that something is wrong with the entity, and the status's reason."""


class Dispatcher:
    """Moves items from the queue to the server, a slice at a time.

    ``stopped`` says whether to stop sending.
    """

    def __init__(
        self,
        context: DeliveryContext,
        *,
        state: StateStore,
        settlement: Settlement,
        sender_pool: Callable[[], SenderPool],
        pending_decisions: Callable[[], frozenset[int]],
        right: DeliveryRight,
    ) -> None:
        conditions = context.conditions
        self._queue = context.queue
        self._state = state
        self._claims = context.claims
        self._settlement = settlement
        self._new_sender_pool = sender_pool
        self._connectivity = conditions.connectivity
        self._auth_hold = conditions.auth_hold
        self._throttle = conditions.throttle
        self._board = context.board
        self._clock = context.clock
        self.right = right
        self._recovery = Recovery(context, state, right, pending_decisions)
        self._sender_pool: SenderPool | None = None
        self._unsettled: list[Sent] = []
        self._unsent: list[Claim] = []
        self._left_some = False
        """Whether the last claim left ready items to others."""
        self.held_since = 0.0
        self.trouble = False
        """Whether the latest requests failed."""

    @property
    def _pool(self) -> SenderPool:
        if self._sender_pool is None:
            self._sender_pool = self._new_sender_pool()
        return self._sender_pool

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""
        return self._sender_pool is not None and self._sender_pool.in_flight > 0

    # --- the right to deliver

    def acquire(self) -> bool:
        """Takes the right if it is free, and the items that a dead process was sending."""
        if self.right.held:
            return True
        acquired = self.right.acquire()
        self._board.deliverer = self.right.deliverer
        self._board.deliverer_is_silent = self.right.stale
        if not acquired:
            return False
        self.held_since = self._clock.monotonic()

        try:
            self._recovery.run()
        except ReplacedError as error:
            self._step_down(error)
            return False
        return True

    def release(self) -> None:
        """Releases the right, unless there are open claims."""
        if not (self._unsettled or self._unsent or self.busy):
            self.right.release()

    def _step_down(self, error: ReplacedError) -> None:
        """Another process delivers now, and settles what was under way here."""
        logger.warning("%s", error)
        self._board.note_error(str(error))
        self.right.lose()
        self.drain(lambda: True)
        self.forget()

    def expire_items(self, *, fold: bool = False) -> float | None:
        """Fails the items that have expired; returns the seconds until the next one expires.

        ``fold``: queues some of the inbox first, and returns a short time if more is left there.
        Needs no right to deliver: items that are being sent are left alone.
        """
        now = self._clock.wall()

        def look(tx: Reader) -> tuple[float | None, bool]:
            return next_expiry(tx, now), fold and self._queue.is_unfolded(tx)

        expiry, unfolded = self._queue.read(look)
        if expiry == 0.0 or unfolded:
            self._state.write(expire_due)
            expiry, unfolded = self._queue.read(look)
        return _FOLD_AGAIN_S if unfolded else expiry or None

    # --- slices

    def ready(self) -> bool:
        """Whether there is anything to send or to settle."""
        if self._unsettled or self._unsent:
            return True
        now = self._clock.wall()
        gate = self._throttle.gate()

        def look(tx: Reader) -> bool:
            due = self._claims.next_due(tx, now)
            return (
                (due is not None and due <= 0)
                or self._claims.ready(tx, gate)
                or self._queue.is_unfolded(tx)
                or self._recovery.is_needed(tx)
            )

        return self._queue.read(look)

    def has_ready(self, *, or_unfolded: bool = False) -> bool:
        """Whether an item may be sent now, or the inbox may hold one."""
        gate = self._throttle.gate()
        return self._queue.read(
            lambda tx: self._claims.ready(tx, gate) or (or_unfolded and self._queue.is_unfolded(tx))
        )

    def advance(self, stopped: Callable[[], bool], go_on: Callable[[], bool]) -> bool:
        """Sends a slice; one commit settles it and claims the next one.

        ``stopped`` ends the slice early, ``go_on`` is called before more is claimed. False when
        nothing is under way.
        """
        if self.right.held and not self._unsettled and go_on():
            self._recovery.run_if_due()
        failed = self._collect(stopped)
        room = self._pool.room() if go_on() else _NO_ROOM
        if failed or not go_on():
            # after a failure, the outage rule decides what may be tried next
            self._unsent += self._pool.abandon()
        else:
            self._unsent += self._pool.surplus()
        if not (self._unsettled or self._unsent) and (
            room.now == 0 or (self.busy and not self.has_ready(or_unfolded=True))
        ):
            return self.busy
        self.settle_and_claim(room)
        # what was folded may all wait for something, and more of the inbox be ready
        return self.busy or (go_on() and self._queue.has_unfolded())

    def drain(self, stopped: Callable[[], bool]) -> None:
        """Waits for the requests under way; each is bounded. If ``stopped``, takes back claims that
        were not begun.
        """
        while self.busy:
            if stopped():
                self._unsent += self._pool.abandon()
            self._collect(stopped)

    def settle_and_claim(self, room: Room) -> bool:
        """Settles answers, unclaims what was not sent, and claims as many more items as there is
        room for; true if there is something to send.
        """
        sent, unsent = list(self._unsettled), list(self._unsent)

        def settle_and_claim(
            work: UnitOfWork,
        ) -> tuple[CommitEffects, list[Claim], bool, tuple[Outages, str | None]]:
            may_claim = self.right.check(work.tx)
            began_empty = work.tx.count(ITEMS, Lane.READY) == 0
            outages = dict(self._throttle.outages)
            self._settlement.settle_all(work, sent, outages)
            self._claims.unclaim(work.tx, unsent)
            self._settlement.apply_deferred(work, unsent)
            saved = self._throttle.save(work.tx, outages)
            # the answers decide what may be tried next
            gate = self._throttle.gate(outages) if room.now and may_claim else None
            if gate is None:
                return work.effects, [], False, (outages, saved)
            claims = self._claims.claim(work, room.now, gate, ahead=room.ahead)
            left = work.tx.count(ITEMS, Lane.READY) > 0
            others = left and (began_empty or not self._left_some)
            self._left_some = left
            return work.effects, claims, others, (outages, saved)

        try:
            effects, claims, others, adopted = self._state.write(settle_and_claim)
        except ReplacedError as error:
            self._step_down(error)
            return False
        except SyncError:
            raise
        except Exception:
            if not sent:
                raise
            self._settle_each(sent)
            return self.settle_and_claim(room)
        self._throttle.adopt(*adopted)
        del self._unsettled[: len(sent)], self._unsent[: len(unsent)]
        self.trouble = self.trouble or effects.errors > 0
        log_settled(effects)
        if claims:
            self._pool.submit(claims)
            self._board.change(SyncStatus.SYNCING)
        if others:
            self.right.wake_others()
        return bool(claims)

    def _settle_each(self, sent: list[Sent]) -> None:
        """Settles answers one by one, because one of them cannot be settled: that item spends a
        retry.
        """
        for claim, answer in sent:
            try:
                effects = self._settle(claim, answer)
            except SyncError:
                raise
            except Exception as error:  # noqa: BLE001 - an answer may hold what no rule can bear
                effects = self._settle(claim, _unprocessable(claim, error))
            del self._unsettled[0]
            self.trouble = self.trouble or effects.errors > 0

    def _settle(self, claim: Claim, answer: AttemptResult) -> CommitEffects:
        def settle(work: UnitOfWork) -> tuple[CommitEffects, tuple[Outages, str | None]]:
            self.right.check(work.tx)
            outages = dict(self._throttle.outages)
            self._settlement.settle_all(work, [(claim, answer)], outages)
            return work.effects, (outages, self._throttle.save(work.tx, outages))

        effects, adopted = self._state.write(settle)
        self._throttle.adopt(*adopted)
        return effects

    def forget(self) -> None:
        """After an internal error: forgets what was under way, which is then recovered as after a
        crash.
        """
        self._unsettled, self._unsent = [], []

    def close(self) -> None:
        """Settles and unclaims what it can, ends the sender threads, and releases the right."""
        try:
            self.drain(lambda: True)
            if self._unsettled or self._unsent:
                self.settle_and_claim(_NO_ROOM)
        finally:
            if self._sender_pool is not None:
                self._sender_pool.close(FOREVER_S)
            self.right.close()

    # --- what the answers say about the network, the server and the credentials

    def _collect(self, stopped: Callable[[], bool]) -> bool:
        """Collects answers; true if a request got no answer of the API."""
        sent = self._pool.collect(stopped)
        self._unsettled += sent
        before: object = None
        for claim, answer in sent:
            same = _repeated(claim.item.entity, answer)
            if same is None or same != before:
                self._observe(claim.item, answer)
            before = same
        return not NO_ANSWER.isdisjoint([answer.meaning for _, answer in sent])

    def _observe(self, item: Item, answer: AttemptResult) -> None:
        delivered = answer.meaning in (Verdict.DELIVERED, Verdict.FOUND)
        if answer.error is not None:
            text = item_error_text(answer.error, item.operation, item.entity, item.record)
            if answer.meaning in _FAULTS:
                reason = _FAULTS[answer.meaning]
                self._board.note_fault("delivery", item.entity, text, reason)
            else:
                self._board.note_error(text, passing=not delivered)
        elif delivered:
            self._board.note_fault("delivery", item.entity, None)
        if answer.meaning in _NO_NETWORK:
            self.go_offline(str(answer.error), portal=answer.meaning is Verdict.PORTAL)
            return
        if answer.status is not None:
            self.go_online()
            self._connectivity.reached()
        self._throttle.observe(answer)
        if answer.meaning is Verdict.CREDENTIALS:
            self.trouble = True
            self._auth_hold.note()
        elif delivered:
            self._auth_hold.forgive()
            self._board.note_sync()

    def go_offline(self, reason: str | None, *, portal: bool = False) -> None:
        """Sets the engine offline: there is no network, or only a captive portal."""
        self._board.portal = portal
        if self._board.online:
            # the reason may quote a user's ``auth`` or ``transport``, so it is not logged
            logger.info("offline: engine.status.last_error shows the reason; items stay queued")
        self._connectivity.lost()
        self._board.online = False
        if reason is not None:
            self._board.note_error(reason)

    def go_online(self) -> None:
        """Sets the engine online."""
        if not self._board.online:
            logger.info("online: delivery goes on")
        self._board.online = True


def _repeated(entity: str, answer: AttemptResult) -> object:
    """Equal for consecutive answers that say the same, of which only the first is observed;
    ``None`` for any other answer.

    A batch that found no network is one attempt, not as many as it has items. Plain deliveries of
    one entity say the same.
    """
    if answer.meaning in _NO_NETWORK:
        return _NO_NETWORK
    if answer.meaning is Verdict.DELIVERED and answer.error is None and answer.backoff is None:
        return entity, answer.status
    return None


def _unprocessable(claim: Claim, error: Exception) -> AttemptResult:
    """The result for an answer that cannot be settled."""
    kind, entity = type(error).__name__, claim.item.entity
    record = claim.item.record
    logger.failure(error, "the answer for %s/%s cannot be settled", entity, record)
    what = f"the server's answer cannot be processed ({kind}); it is sent again"
    reported = error_about(claim.item.operation, entity, record, what)
    return failure(Verdict.UNKNOWN, reported)
