"""Claims, sends and settles, in slices; holds the right to deliver while it does.

Owned by the worker's thread, as is everything it uses but the storage and the status board. What
was answered and not yet settled, or claimed and not sent, is kept here until a commit has it: a
full disk loses no answer, and the right is never given back with a claim open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from bytelyst_sync.clock import FOREVER_S, Clock
from bytelyst_sync.errors import SyncError, TransportError
from bytelyst_sync.flows.connectivity import Connectivity
from bytelyst_sync.flows.credentials import Refusal
from bytelyst_sync.flows.origin import OriginPause
from bytelyst_sync.flows.parcels import Sent
from bytelyst_sync.flows.pipeline import Pipeline
from bytelyst_sync.flows.status import StatusBoard
from bytelyst_sync.flows.telling import log_raised
from bytelyst_sync.model import SyncStatus
from bytelyst_sync.rules.classify import Meaning
from bytelyst_sync.state.claims import Claim, Claims
from bytelyst_sync.state.effects import Effects
from bytelyst_sync.state.settlement import Settlement
from bytelyst_sync.storage.base import DeliveryRight, Reader, Storage, Transaction
from bytelyst_sync.transport.answers import Answer, failure

__all__ = ["Deliverer"]

logger = logging.getLogger("bytelyst_sync.deliverer")

_NO_NETWORK = (Meaning.OFFLINE, Meaning.PORTAL)


class Deliverer:
    """The way from the queue to the server and back, a slice at a time.

    ``stopped`` says whether to send no more, ``publish`` is told what a commit did.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        claims: Claims,
        settlement: Settlement,
        pipeline: Callable[[], Pipeline],
        connectivity: Connectivity,
        refusal: Refusal,
        origin: OriginPause,
        board: StatusBoard,
        clock: Clock,
        publish: Callable[[Effects], None],
        new_effects: Callable[[], Effects],
        own_questions: Callable[[], frozenset[int]],
    ) -> None:
        self._storage = storage
        self._claims = claims
        self._settlement = settlement
        self._new_pipeline = pipeline
        self._connectivity = connectivity
        self._refusal = refusal
        self._origin = origin
        self._board = board
        self._clock = clock
        self._publish = publish
        self._new_effects = new_effects
        self._own_questions = own_questions
        self._made: Pipeline | None = None
        self._right: DeliveryRight | None = None
        self._unsettled: list[Sent] = []
        self._unsent: list[Claim] = []
        self.held_since = 0.0
        self.trouble = False
        """Whether the latest round of sending met any."""

    @property
    def _pipe(self) -> Pipeline:
        if self._made is None:
            self._made = self._new_pipeline()
        return self._made

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._made is not None and self._made.in_flight > 0

    # --- the right to deliver

    def acquire(self) -> bool:
        """Takes the right if it is free; takes over what a dead holder was sending."""
        if self._right is None:
            self._right = self._storage.delivery_right()
        if self._right.held:
            return True
        if not self._right.acquire():
            return False
        self.held_since = self._clock.monotonic()

        def take_over(tx: Transaction) -> int:
            self._origin.load(tx)
            return self._claims.recover(tx, self._own_questions())

        recovered = self._storage.write(take_over)
        if recovered:
            message = (
                "%d queued item(s) were being sent when their sender ended; they are sent again"
            )
            logger.info(message, recovered)
        return True

    def release(self) -> None:
        """Gives the right back, but not while anything claimed is open."""
        if self._right is not None and not (self._unsettled or self._unsent or self.busy):
            self._right.release()

    # --- slices

    def ready(self) -> bool:
        """Whether there is anything to do."""
        if self._unsettled or self._unsent:
            return True
        now = self._clock.wall()
        held = self._right is not None and self._right.held

        def look(tx: Reader) -> bool:
            due = self._claims.next_due(tx, now)
            return (
                (due is not None and due <= 0)
                or self._claims.ready(tx)
                or (not held and self._claims.orphans(tx, self._own_questions()))
            )

        return self._storage.read(look)

    def advance(self, stopped: Callable[[], bool], go_on: Callable[[], bool]) -> bool:
        """Sends a slice; one commit settles it and claims the next.

        ``stopped`` ends the slice early, ``go_on`` is asked before more is claimed. False when
        nothing is under way any more.
        """
        self._collect(stopped)
        room = self._pipe.room() if go_on() else 0
        if not go_on():
            self._unsent += self._pipe.abandon()
        if room or self._unsettled or self._unsent:
            self.commit(room)
        return self.busy

    def gather(self, stopped: Callable[[], bool]) -> None:
        """Waits for what is under way; each request is bounded. Takes back what need not go."""
        while self.busy:
            if stopped():
                self._unsent += self._pipe.abandon()
            self._collect(stopped)

    def commit(self, room: int) -> bool:
        """Settles what was answered, puts back what was not sent, claims up to ``room`` more;
        true if that brought something to send.
        """
        sent, unsent = list(self._unsettled), list(self._unsent)

        def work(tx: Transaction) -> tuple[Effects, list[Claim]]:
            effects = self._new_effects()
            now = self._clock.wall()
            self._settlement.settle_all(tx, sent, effects, now)
            self._claims.unclaim(tx, unsent)
            self._origin.save(tx)
            return effects, self._claims.claim(tx, room, now) if room else []

        try:
            effects, claims = self._storage.write(work)
        except SyncError:
            raise
        except Exception:
            if not sent:
                raise
            self._settle_each(sent)
            return self.commit(room)
        self._origin.saved()
        del self._unsettled[: len(sent)], self._unsent[: len(unsent)]
        self.trouble = self.trouble or effects.errors > 0
        for item in effects.failed:
            logger.warning("%s of %s failed and waits for a decision", item.operation, item.entity)
        if effects.conflicts:
            logger.info("%d conflict(s) met", effects.conflicts)
        self._publish(effects)
        if claims:
            self._pipe.submit(claims)
            self._board.change(SyncStatus.SYNCING)
        return bool(claims)

    def _settle_each(self, sent: list[Sent]) -> None:
        """One of these answers cannot be settled: it alone spends a try, the others are settled."""
        for claim, answer in sent:
            try:
                effects = self._settle(claim, answer)
            except SyncError:
                raise
            except Exception as error:  # noqa: BLE001 - an answer may hold what no rule can bear
                effects = self._settle(claim, _hopeless(claim, error))
            del self._unsettled[0]
            self.trouble = self.trouble or effects.errors > 0
            self._publish(effects)

    def _settle(self, claim: Claim, answer: Answer) -> Effects:
        def work(tx: Transaction) -> Effects:
            effects = self._new_effects()
            self._settlement.settle(tx, claim, answer, effects, self._clock.wall())
            return effects

        return self._storage.write(work)

    def forget(self) -> None:
        """After a fault of its own: taking over anew treats what was under way as a crash."""
        self._unsettled, self._unsent = [], []

    def close(self) -> None:
        """Settles and puts back what can be, ends the sender threads, gives the right back."""
        try:
            self.gather(lambda: True)
            if self._unsettled or self._unsent:
                self.commit(room=0)
        finally:
            if self._made is not None:
                self._made.close(FOREVER_S)
            if self._right is not None:
                self._right.release()

    # --- what the answers say about the network, the server and the credentials

    def _collect(self, stopped: Callable[[], bool]) -> None:
        sent = self._pipe.collect(stopped)
        self._unsettled += sent
        unreached = False
        for _, answer in sent:
            # a batch that met no network is one attempt, not as many as it carried
            if not (unreached and answer.meaning in _NO_NETWORK):
                self._digest(answer)
            unreached = answer.meaning in _NO_NETWORK

    def _digest(self, answer: Answer) -> None:
        if answer.error is not None:
            self._board.note_error(str(answer.error))
        if answer.meaning in _NO_NETWORK:
            self.go_offline(str(answer.error))
            return
        if answer.status is not None:
            self.go_online()
            self._connectivity.reached()
        self._origin.hear(answer)
        if answer.meaning is Meaning.CREDENTIALS:
            self.trouble = True
            self._refusal.note()
        elif answer.meaning is Meaning.DELIVERED:
            self._refusal.forgive()
            self._board.note_sync()

    def go_offline(self, reason: str) -> None:
        """There is no network."""
        if self._board.online:
            # a user's `auth` or `transport` may have given the reason, with whatever is in it
            logger.info("offline; why is in status.last_error")
        self._connectivity.lost()
        self._board.online = False
        self._board.note_error(reason)

    def go_online(self) -> None:
        """There is one."""
        if not self._board.online:
            logger.info("online again")
        self._board.online = True


def _hopeless(claim: Claim, error: Exception) -> Answer:
    """What stands for an answer that cannot be settled."""
    kind, entity = type(error).__name__, claim.item.entity
    log_raised(logger, error, "an answer of %s cannot be settled", entity)
    text = f"{entity} {claim.item.record}: what the server answered cannot be dealt with ({kind})"
    told = TransportError(text, entity=entity, record_id=claim.item.record)
    return failure(Meaning.UNKNOWN, told)
