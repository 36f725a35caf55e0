"""The outcome of one request with claims."""

from __future__ import annotations

import attrs

from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.queue.claims import Claim

__all__ = ["ClaimGroup", "Outcome", "Sent"]

ClaimGroup = tuple[Claim, ...]
"""The claims that are sent in one request."""
Sent = tuple[Claim, AttemptResult]


@attrs.frozen
class Outcome:
    """The claims with their results, and the groups to send instead of a batch that was refused."""

    sent: list[Sent]
    instead: list[ClaimGroup] = attrs.field(factory=list)
