"""What goes into one request: a claim alone, or several where an API takes batches.

Of a record only its first operation is ever ready, and a child not before its parent's create is
through; so claims that are ready at once may share a request.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from bytelyst_sync.rules.ids import is_local
from bytelyst_sync.state.claims import Claim
from bytelyst_sync.transport.answers import Answer
from bytelyst_sync.transport.batches import Batch
from bytelyst_sync.transport.mapping import Mapper

__all__ = ["Outcome", "Packer", "Parcel", "Sent", "halves"]

Parcel = tuple[Claim, ...]
Sent = tuple[Claim, Answer]
_MOST_CHARACTERS = 4 * 1024 * 1024


@attrs.frozen
class Outcome:
    """What became of a parcel: claims with their answers, and parcels to send in its stead."""

    sent: list[Sent]
    instead: list[Parcel] = attrs.field(factory=list)


@attrs.define
class _Growing:
    """A parcel that is being packed."""

    claims: list[Claim] = attrs.field(factory=list)
    records: set[str] = attrs.field(factory=set)
    characters: int = 0

    def has_room(self, claim: Claim, batch: Batch) -> bool:
        """Whether one more may go with these."""
        if len(self.claims) >= batch.size:
            return False
        if claim.item.record in self.records and batch.finds_by_record(claim.operation):
            return False
        return self.characters + len(claim.item.data) <= _MOST_CHARACTERS

    def add(self, claim: Claim) -> None:
        """Puts it in, in any case."""
        self.claims.append(claim)
        self.records.add(claim.item.record)
        self.characters += len(claim.item.data)


class Packer:
    """Makes parcels. ``give_up`` may be called from any sender thread: it only adds to a set."""

    def __init__(self, mappers: Mapping[str, Mapper], batches: Mapping[str, Batch]) -> None:
        self._mappers = mappers
        self._batches = batches
        self._given_up: set[str] = set()

    @property
    def capacity(self) -> int:
        """How many claims one request may carry at most."""
        return max((each.size for each in self._batches.values()), default=1)

    def pack(self, claims: list[Claim]) -> list[Parcel]:
        """The claims as parcels, in the order of their first ones."""
        if not self._batches:
            return [(claim,) for claim in claims]
        parcels: list[_Growing] = []
        open_ones: dict[int, _Growing] = {}
        for claim in claims:
            batch = self._batch_for(claim)
            parcel = None if batch is None else open_ones.get(id(batch))
            if parcel is None or batch is None or not parcel.has_room(claim, batch):
                parcel = _Growing()
                parcels.append(parcel)
            if batch is not None:
                open_ones[id(batch)] = parcel
            parcel.add(claim)
        return [tuple(parcel.claims) for parcel in parcels]

    def _batch_for(self, claim: Claim) -> Batch | None:
        """The batch that this claim may be part of.

        One whose earlier attempt may have been processed goes alone: if it is what the server
        cannot bear, it fails alone.
        """
        item = claim.item
        batch = self._batches.get(item.entity)
        if batch is None or item.frozen or item.retries or batch.url in self._given_up:
            return None
        mapper = self._mappers[item.entity]
        operation, state = claim.operation, claim.state
        if mapper.reads_first(operation, state) or mapper.checks(operation, state):
            return None
        local = mapper.entity.server_ids and is_local(item.record)
        return batch if batch.takes(operation, local=local) else None

    def batch(self, parcel: Parcel) -> Batch:
        """The endpoint for a parcel of several claims."""
        return self._batches[parcel[0].item.entity]

    def give_up(self, batch: Batch) -> None:
        """The endpoint is not there: claims go one by one from now on."""
        self._given_up.add(batch.url)


def halves(claims: list[Claim]) -> list[Parcel]:
    """A parcel that was refused as a whole, as two; a claim that was left is sent alone."""
    middle = len(claims) // 2
    return [tuple(part) for part in (claims[:middle], claims[middle:]) if part]
