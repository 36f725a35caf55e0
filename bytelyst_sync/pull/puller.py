"""Pulls: fetches pages, applies them, and commits them with their cursor.

Who owns what: a pull runs in the thread that calls it, the program's or the scheduler's, and never
in the worker's. ``_locks`` has one lock per entity, so that one pull of an entity runs at a time in
this engine. Between engines the stored cursor decides: a page is committed only if the cursor it
was fetched with is still the stored one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import attrs

from bytelyst_sync.clock import FOREVER_S, Clock, SystemClock
from bytelyst_sync.errors import (
    AuthError,
    EngineClosedError,
    OfflineError,
    StorageError,
    SyncError,
    TransportError,
)
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import StatusReason
from bytelyst_sync.protocol.error_messages import MappingError, PortalError
from bytelyst_sync.protocol.page import Page, Position
from bytelyst_sync.protocol.page_limits import PageLimits
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.pull.listing_proofs import ListingProofs
from bytelyst_sync.pull.monitor import PullMonitor
from bytelyst_sync.pull.page_commits import OvertakenError, PageCommits
from bytelyst_sync.pull.results import PullResult
from bytelyst_sync.pull.server_reader import ServerReader
from bytelyst_sync.pull.sweep import Sweep
from bytelyst_sync.replica.cursors import EXPIRED, RECONCILE, RESTORED, PullProgress
from bytelyst_sync.replica.vanishing import held_back_message
from bytelyst_sync.rules.cursors import went_back
from bytelyst_sync.rules.times import zone_named
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["Puller"]

logger = SafeLogger("bytelyst_sync.puller")

_PASSES = 10
"""How often a listing whose rows keep moving is repeated, before the next pull continues it."""
_EXPIRED = 410
_CLOCK = SystemClock()
"""Deadlines use the machine's clock, whatever clock the engine uses."""


class _InterruptedError(Exception):
    """A pull in the background must end."""


@attrs.frozen
class _Call:
    """The arguments of one call of ``pull``, with its deadline on the machine's monotonic clock."""

    deadline: float
    reason: str | None
    accept: bool
    allowed: Callable[[], bool]
    background: bool
    result: PullResult = attrs.field(factory=PullResult)

    def remaining_s(self) -> float:
        """The seconds until the deadline."""
        return max(0.0, min(self.deadline - _CLOCK.monotonic(), FOREVER_S))


class Puller:
    """Pulls changes of others. Safe to use from several threads."""

    def __init__(
        self,
        *,
        pagers: Mapping[str, Pager],
        commits: PageCommits,
        sweep: Sweep,
        server: ServerReader,
        clock: Clock,
        monitor: PullMonitor,
    ) -> None:
        self._pagers = pagers
        self._commits = commits
        self._sweep = sweep
        self._server = server
        self._clock = clock
        self._monitor = monitor
        self._locks = {name: threading.Lock() for name in pagers}
        self._proofs = ListingProofs()

    def pull(
        self,
        names: list[str],
        timeout: float,
        *,
        full: bool = False,
        accept: bool = False,
        background: bool = False,
    ) -> PullResult:
        """Pulls these entities one after the other; a failure of one does not stop the others.

        ``full`` lists everything; ``accept`` applies the listing even if many records are missing.
        A pull in the ``background`` waits for no other pull and can be interrupted; the result
        then names the remaining entities.
        """
        allowed = self._monitor.allowed if background else _always
        reason = RECONCILE if full else None
        call = _Call(_CLOCK.monotonic() + timeout, reason, accept, allowed, background)
        for name in names:
            if not self._pagers[name].entity.replica:
                continue
            if self._locks[name].acquire(timeout=0 if background else call.remaining_s()):
                try:
                    self._pull_guarded(self._pagers[name], call)
                finally:
                    self._locks[name].release()
            elif not background:
                self._fail(call, name, f"{name}: another pull of it did not end in time")
        return call.result

    def restore_status(self) -> None:
        """Reports the listings that an earlier run of the program did not apply."""
        for name, pager in self._pagers.items():
            progress = self._commits.stored(pager.entity)
            if progress.held_back is not None:
                self._monitor.vanished(name, held_back_message(name, progress.held_back))

    def _pull_guarded(self, pager: Pager, call: _Call) -> None:
        """Pulls one entity; counts and reports errors."""
        name, errors = pager.entity.name, call.result.errors
        try:
            while not self._is_pulled(pager, call):
                self._check(name, call)
            self._monitor.network(True, False)
            if call.result.errors == errors and not call.result.skipped.get(name):
                self._monitor.fault("pull", name, None)
        except (StorageError, EngineClosedError):
            raise
        except _InterruptedError:
            call.result.remaining.append(name)
        except SyncError as error:
            if isinstance(error, AuthError):
                self._monitor.credentials_refused()
            elif isinstance(error, OfflineError):
                call.result.offline = True
                self._monitor.network(False, isinstance(error, PortalError))
            else:
                # the server's message may quote a payload: it is stored, and not logged
                status = "" if error.status is None else f", HTTP {error.status}"
                logger.warning("a pull of %s failed (%s%s)", name, type(error).__name__, status)
                call.result.failed.add(name)
            self._fail(call, name, str(error), error)
        skipped = call.result.skipped.get(name)
        if skipped:
            reason = call.result.reasons[name]
            message = f"{name}: {skipped} row(s) skipped, the others taken: {reason}"
            logger.warning("%s: %d row(s) of a pull were skipped", name, skipped)
            self._fail(call, name, message)

    def _fail(self, call: _Call, name: str, message: str, error: SyncError | None = None) -> None:
        call.result.fail(name, message, None if error is None else error.status)
        if isinstance(error, (AuthError, OfflineError)):
            self._monitor.note(message)
        else:
            reason: StatusReason | None = "mapping" if isinstance(error, MappingError) else None
            self._monitor.fault("pull", name, message, reason)

    # --- one entity

    def _is_pulled(self, pager: Pager, call: _Call) -> bool:
        """Pulls one entity. False if another process pulls it at the same time and was faster: its
        pages may have been read before this call, so a program that asked for a pull needs another.
        """
        try:
            self._pull_entity(pager, call)
        except OvertakenError:
            logger.debug("another process is pulling %s", pager.entity.name)
            return call.background
        return True

    def _pull_entity(self, pager: Pager, call: _Call) -> None:
        progress = self._commits.begin(pager, call.reason)
        for _ in range(_PASSES):
            before = attrs.evolve(call.result)
            listing = _Pass(pager, progress)
            call.result.begin_pass(pager.entity.name)
            self._read_pages(listing, call)
            progress = listing.progress
            stable = not pager.is_unstable(listing.pages)
            if stable or self._brought_nothing(pager, progress, before, call.result):
                self._finish(pager, progress, listing.cursor, call)
                return
        raise TransportError(
            f"{pager.entity.name}: rows kept moving between the pages; the next pull goes on",
            entity=pager.entity.name,
        )

    def _read_pages(self, listing: _Pass, call: _Call) -> None:
        """Reads and applies all pages once."""
        begin = self._proofs.begin(listing.pager, listing.progress.cursor)
        position: Position | None = begin
        while position is not None:
            position = self._read_one(listing, position, call)

    def _read_one(self, listing: _Pass, position: Position, call: _Call) -> Position | None:
        """Reads and applies one page; returns the position of the next one."""
        pager, name = listing.pager, listing.pager.entity.name
        self._check(name, call)
        began = self._commits.state.read(lambda tx: tx.last_number())
        request = pager.request(position).within(call.remaining_s())
        response = self._server.fetch(pager.codec, request)
        if response.status == _EXPIRED and position.cursor is not None:
            return self._restart(listing, EXPIRED)
        page = self._page(pager, position, response)
        stored = listing.progress
        zone = zone_named(pager.entity.dialect.time_zone)
        # within a listing of everything the order of cursors is the server's own matter
        comparable = stored.listing is None or listing.pages == 0
        if comparable and went_back(stored.cursor, page.cursor, zone):
            return self._restart(listing, RESTORED)
        if position.is_first:
            listing.first_keys = frozenset(page.keys()) if pager.counts_pages else frozenset()
        page = self._proofs.check(
            pager,
            position,
            page,
            listing.first_keys,
            lambda request: self._server.fetch(pager.codec, request.within(call.remaining_s())),
        )
        self._apply(listing, position, page, began, call)
        return page.next

    def _page(self, pager: Pager, position: Position, response: Response) -> Page:
        try:
            return pager.page(position, response)
        except PortalError:
            if self._server.is_portal(pager.codec):
                raise
            return pager.page(position, response, portal=False)

    def _check(self, name: str, call: _Call) -> None:
        """Raises if the pull must end; called between two requests or commits."""
        if not call.allowed():
            raise _InterruptedError
        if call.remaining_s() <= 0:
            raise TransportError(
                f"{name}: the pull did not end in time; the next one goes on", entity=name
            )

    def _restart(self, listing: _Pass, reason: str) -> Position:
        """Starts a listing of everything, because the cursor cannot be used any more."""
        name = listing.pager.entity.name
        why = "its cursor has expired" if reason == EXPIRED else "the server was wiped or restored"
        message = f"{name}: {why}; all of it is pulled anew"
        self._monitor.note(message, passing=reason == EXPIRED)
        listing.limits.restart()
        listing.progress = self._commits.begin(listing.pager, reason)
        listing.cursor, listing.pages = None, 0
        return self._proofs.begin(listing.pager, None)

    def _apply(
        self, listing: _Pass, position: Position, page: Page, began: int, call: _Call
    ) -> None:
        entity = listing.pager.entity
        listing.pages += 1
        if page.cursor is not None:
            listing.cursor = page.cursor
        last = page.next is None and not listing.pager.is_unstable(listing.pages)
        # a listing may go on with empty pages for ever: a stopped pull continues before them
        storable = page.lacking is None and (last or (page.resumable and page.count > 0))
        listing.progress = self._commits.apply(
            entity,
            listing.progress,
            page,
            began,
            call.result,
            cursor=listing.cursor if storable else None,
            check=lambda: self._check(entity.name, call),
        )
        if page.implausible:
            self._monitor.note(
                f"{entity.name}: {page.implausible} value(s) of `{entity.dialect.cursor}` are far "
                "in the future or of another kind than the others; the cursor does not go there",
                passing=False,
            )
        if page.lacking is not None:
            raise page.lacking
        listing.limits.check(position, page)

    def _brought_nothing(
        self, pager: Pager, progress: PullProgress, before: PullResult, after: PullResult
    ) -> bool:
        """Whether a pass brought nothing new, and cannot have missed a record of the local view."""
        if (after.pulled, after.conflicts) != (before.pulled, before.conflicts):
            return False
        if progress.listing is None or after.sighted == before.sighted:
            return True
        listing = progress.listing
        return not self._commits.state.read(lambda tx: _any_lacking(tx, pager, listing))

    def _finish(
        self, pager: Pager, progress: PullProgress, cursor: str | None, call: _Call
    ) -> None:
        """Stores the cursor if it is not stored yet, and ends a listing of everything."""
        name = pager.entity.name
        if not self._commits.is_mapped(pager.entity, call.result):
            reason = call.result.reasons[name]
            call.result.begin_pass(name)  # the rows are not bad: the mapping is wrong
            raise MappingError(f"{name}: {reason}", entity=name)
        if cursor is not None:
            new = attrs.evolve(progress, cursor=cursor)
            progress = self._commits.advance(pager.entity, progress, new)
        if progress.listing is not None:
            progress, note = self._sweep.settle(pager, progress, call.result, accept=call.accept)
            if note is not None:
                self._monitor.note(note, passing=False)
        message = None
        if progress.held_back is not None:
            message = held_back_message(name, progress.held_back)
            self._fail(call, name, message)
        self._monitor.vanished(name, message)
        self._sweep.prune(pager, progress, self._clock.wall())


@attrs.define
class _Pass:
    """One pass over the pages of an entity."""

    pager: Pager
    progress: PullProgress
    cursor: str | None = attrs.field(init=False)
    """The cursor after the pages so far."""
    pages: int = 0
    limits: PageLimits = attrs.field(init=False)
    first_keys: frozenset[str] = frozenset()
    """The keys of the first page's rows."""

    def __attrs_post_init__(self) -> None:
        self.cursor = self.progress.cursor
        self.limits = PageLimits(self.pager.entity.name)


def _always() -> bool:
    return True


def _any_lacking(tx: Reader, pager: Pager, listing: int) -> bool:
    """Whether the local view has records that the listing lacks."""
    return any(
        row.listed_by != listing and row.changed_seq <= listing and row.state is not None
        for row in tx.scan(RECORDS, None, (pager.entity.name,))
    )
