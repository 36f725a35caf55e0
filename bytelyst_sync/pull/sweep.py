"""Ends a listing of everything: handles the records that are missing in it.

| the reason for the listing | a missing record |
|---|---|
| another query, or a filter | leaves the view, but does not count as deleted |
| the cursor has expired | is deleted; with queued edits this is a conflict |
| the server was restored | is deleted, unless edits are queued |
| ``reconcile``, or there are no cursors | is read first, at once or later (``batch_size``) |

If too many are missing (``max_vanish``), nothing is removed. This is reported until a listing lacks
fewer records, or the program accepts it. A record whose state was stored after the listing began
may be newer than the listing, or deleted: it is marked to be read.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import TransportError
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.protocol.paging import Pager
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.pull.page_commits import PageCommits
from bytelyst_sync.pull.results import PullResult
from bytelyst_sync.pull.server_reader import ServerReader
from bytelyst_sync.replica.cursors import EXPIRED, FIRST, QUERY, RESTORED, PullProgress
from bytelyst_sync.replica.reconcile import (
    ListingSurvey,
    each_page,
    lacking_keys,
    leave_view,
    prune_tombstones,
    remove_lacking,
    survey_page,
)
from bytelyst_sync.replica.server_state import mark_stale
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.state.commit_effects import CommitEffects
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import RECORDS

__all__ = ["Sweep"]

_DAY_S = 86_400.0
_KEPT_DAYS = 30


class Sweep:
    """Ends listings of everything. Safe to use from several threads."""

    def __init__(self, commits: PageCommits, server: ServerReader, config: SyncConfig) -> None:
        self._commits = commits
        self._server = server
        self._batch_size = config.batch_size

    def settle(
        self, pager: Pager, progress: PullProgress, result: PullResult, *, accept: bool
    ) -> tuple[PullProgress, str | None]:
        """Ends the listing; returns the progress of the pull, and a message for the status."""
        listing = progress.listing or 0
        survey = self._survey(pager, progress, listing)
        guarded = not accept and progress.reason != QUERY
        empty_is = progress.reason in (EXPIRED, RESTORED)
        if guarded and survey.is_implausible(pager.entity.max_vanish, empty_is=empty_is):
            return self._end(
                pager, progress, held_back=(listing, survey.lacking, survey.held)
            ), None
        wiped = survey.lacking > 0 and survey.listed == 0
        note = None
        if wiped and progress.reason == FIRST:
            note = f"{pager.entity.name}: the server lists no records any more; was it wiped?"
        self._remove(pager, progress, listing, result, accept=accept)
        return self._end(pager, progress, held_back=None), note

    def _survey(self, pager: Pager, progress: PullProgress, listing: int) -> ListingSurvey:
        survey = ListingSurvey()
        state, entity, since = self._commits.state, pager.entity, progress.listed

        def page(after: str | None) -> str | None:
            end = state.read(lambda tx: survey_page(tx, entity, listing, since, after, survey))
            if survey.uncertain:
                state.write(lambda work: _mark_all(work, pager, survey.uncertain))
                survey.uncertain.clear()
            return end

        each_page(page)
        return survey

    def _remove(
        self,
        pager: Pager,
        progress: PullProgress,
        listing: int,
        result: PullResult,
        *,
        accept: bool,
    ) -> None:
        entity, reason = pager.entity, progress.reason
        if reason == QUERY or pager.filtered:
            reread = reason != QUERY
            self._each_commit(
                pager,
                progress,
                result,
                lambda work, after: leave_view(work, entity, listing, after, reread_queued=reread),
            )
        elif accept or reason in (EXPIRED, RESTORED):
            changes, keeps = self._commits.remote_changes, reason == RESTORED
            self._each_commit(
                pager,
                progress,
                result,
                lambda work, after: remove_lacking(
                    work, entity, changes, listing, after, keep_queued=keeps, may_be_lost=not accept
                ),
            )
        else:
            self._read_lacking(pager, progress, listing, result)

    def _each_commit(
        self,
        pager: Pager,
        progress: PullProgress,
        result: PullResult,
        rule: Callable[[UnitOfWork, str | None], str | None],
    ) -> None:
        def commit(after: str | None) -> str | None:
            def run(work: UnitOfWork) -> tuple[CommitEffects, str | None]:
                end = rule(work, after)
                return work.effects, end

            effects, end = self._commits.commit(pager.entity, progress, run)
            result.count(effects)
            return end

        each_page(commit)

    # --- reading missing records

    def _read_lacking(
        self, pager: Pager, progress: PullProgress, listing: int, result: PullResult
    ) -> None:
        """Reads the records that the listing lacks, up to ``batch_size``; marks the others to be
        read.
        """
        room = self._batch_size
        keep_queued = progress.reason == FIRST

        def page(after: str | None) -> str | None:
            nonlocal room
            state = self._commits.state
            keys, end = state.read(lambda tx: lacking_keys(tx, pager.entity, listing, after))
            keys_to_read = [key for key, queued in keys if not (queued and keep_queued)]
            for key in keys_to_read[:room]:
                self._read(pager.codec, key, result)
            later = keys_to_read[room:]
            room -= min(room, len(keys_to_read))
            if later:
                state.write(lambda work: _mark_all(work, pager, later))
            return end

        each_page(page)

    def _read(self, codec: EntityCodec, key: str, result: PullResult) -> None:
        answer, effects = self.read(codec, key)
        if effects is None:
            raise answer.error or TransportError(f"read of {codec.name}/{key} failed")
        result.count(effects)

    def read(self, codec: EntityCodec, key: str) -> tuple[AttemptResult, CommitEffects | None]:
        """Reads one record and applies it; the effects are ``None`` if it could not be read.

        The answer is dropped if a page with the record was applied meanwhile, because the answer
        may be older. The page has then removed the mark to read the record.
        """
        state = self._commits.state
        began, mark = state.read(lambda tx: (tx.last_number(), _mark_of(tx, codec, key)))
        answer = self._server.read(codec, key)
        if answer.meaning not in (Verdict.DELIVERED, Verdict.GONE):
            return answer, None

        def take(work: UnitOfWork) -> CommitEffects:
            if _mark_of(work.tx, codec, key) == mark:
                work.effects.pulled += self._commits.remote_changes.apply(
                    work, codec.entity, key, answer.record, answer.version, began=began
                )
            return work.effects

        return answer, state.write(take)

    # --- the end

    def _end(
        self, pager: Pager, progress: PullProgress, *, held_back: tuple[int, int, int] | None
    ) -> PullProgress:
        """Ends the listing."""
        number = self._commits.state.read(lambda tx: tx.last_number())
        listed = progress.listed if held_back is not None else number
        new = attrs.evolve(progress, listing=None, reason=None, held_back=held_back, listed=listed)
        return self._commits.advance(pager.entity, progress, new)

    def prune(self, pager: Pager, progress: PullProgress, now: float) -> PullProgress:
        """After a successful pull at ``now`` (wall clock): deletes the tombstones of records that
        were deleted before a pull 30 days ago.
        """
        state, entity = self._commits.state, pager.entity
        number = state.read(lambda tx: tx.last_number())
        old = [each for each in progress.checkpoints if each[0] <= now - _KEPT_DAYS * _DAY_S]
        recent = [each for each in progress.checkpoints if each not in old]
        if not recent or recent[-1][1] != number:
            if recent and recent[-1][0] // _DAY_S == now // _DAY_S:
                recent.pop()
            recent.append((now, number))
        if old:
            each_page(
                lambda after: state.write(
                    lambda work: prune_tombstones(work.tx, entity, old[-1][1], after)
                )
            )
        return self._commits.advance(
            entity, progress, attrs.evolve(progress, checkpoints=tuple(recent))
        )


def _mark_all(work: UnitOfWork, pager: Pager, keys: list[str]) -> None:
    for key in keys:
        mark_stale(work.tx, pager.entity, key)


def _mark_of(tx: Reader, codec: EntityCodec, key: str) -> int | None:
    """The mark that a record must be read again."""
    row = tx.get(RECORDS, codec.name, key)
    return None if row is None else row.needs_refresh
