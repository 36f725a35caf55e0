"""Groups claims into requests: one claim each, or several where an API takes batches.

Only the first operation of a record is ready, and a child is not ready before the create of its
parent was delivered. So claims that are ready at the same time may share a request.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from bytelyst_sync.protocol.batch import Batch
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.queue.claims import Claim
from bytelyst_sync.queue.outcome import ClaimGroup
from bytelyst_sync.rules.ids import is_local

__all__ = ["Batcher", "halves"]

_MOST_CHARACTERS = 4 * 1024 * 1024


@attrs.define
class _OpenGroup:
    """A group that can take more claims."""

    claims: list[Claim] = attrs.field(factory=list)
    records: set[str] = attrs.field(factory=set)
    characters: int = 0

    def has_room(self, claim: Claim, batch: Batch) -> bool:
        """Whether another claim fits into this group."""
        if len(self.claims) >= batch.size:
            return False
        if claim.item.record in self.records and batch.finds_by_record(claim.operation):
            return False
        return self.characters + len(claim.item.data) <= _MOST_CHARACTERS

    def add(self, claim: Claim) -> None:
        """Adds a claim."""
        self.claims.append(claim)
        self.records.add(claim.item.record)
        self.characters += len(claim.item.data)


class Batcher:
    """Groups claims. Any sender thread may call ``give_up``: it only adds to a set."""

    def __init__(self, codecs: Mapping[str, EntityCodec], batches: Mapping[str, Batch]) -> None:
        self._codecs = codecs
        self._batches = batches
        self._given_up: set[str] = set()

    @property
    def capacity(self) -> int:
        """The largest number of claims in one request."""
        return max((each.size for each in self._batches.values()), default=1)

    def pack(self, claims: list[Claim]) -> list[ClaimGroup]:
        """The claims in groups, in the order of the first claim of each group."""
        if not self._batches:
            return [(claim,) for claim in claims]
        groups: list[_OpenGroup] = []
        open_ones: dict[int, _OpenGroup] = {}
        for claim in claims:
            batch = self._batch_for(claim)
            group = None if batch is None else open_ones.get(id(batch))
            if group is None or batch is None or not group.has_room(claim, batch):
                group = _OpenGroup()
                groups.append(group)
            if batch is not None:
                open_ones[id(batch)] = group
            group.add(claim)
        return [tuple(group.claims) for group in groups]

    def _batch_for(self, claim: Claim) -> Batch | None:
        """The batch that this claim may join. A claim whose earlier attempt may have been processed
        is sent alone: if the server fails because of it, no other claim fails with it.
        """
        item = claim.item
        batch = self._batches.get(item.entity)
        if batch is None or item.frozen or item.retries or batch.url in self._given_up:
            return None
        codec = self._codecs[item.entity]
        operation, state = claim.operation, claim.state
        if codec.reads_first(operation, state) or codec.checks(operation, state):
            return None
        local = codec.entity.server_ids and is_local(item.record)
        return batch if batch.takes(operation, local=local) else None

    def batch(self, group: ClaimGroup) -> Batch:
        """The batch endpoint for a group of several claims."""
        return self._batches[group[0].item.entity]

    def give_up(self, batch: Batch) -> None:
        """Sends claims one by one from now on: the server has no such endpoint."""
        self._given_up.add(batch.url)


def halves(claims: list[Claim]) -> list[ClaimGroup]:
    """Two halves of a group that was refused as a whole; the last claims are sent alone."""
    middle = len(claims) // 2
    return [tuple(part) for part in (claims[:middle], claims[middle:]) if part]
