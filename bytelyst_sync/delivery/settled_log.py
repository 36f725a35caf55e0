"""What is logged of a commit that settled answers. No payload is."""

from __future__ import annotations

from bytelyst_sync.queue.report import status_shown
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.commit_effects import CommitEffects

__all__ = ["log_settled"]

logger = SafeLogger("bytelyst_sync.deliverer")

_REFUSED = "reprocess_failed() sends it again, discard_failed() drops it"
_UNCLEAR = (
    "the record was probably created, so pull, then discard_failed([{0!r}]);"
    " reprocess_failed([{0!r}]) may create a second one"
)


def log_settled(effects: CommitEffects) -> None:
    """Logs items that failed, answers that were not used, and conflicts."""
    for item in effects.failed:
        # the server's own words may quote the record, so only their status is logged
        logger.warning(
            "%s of %s/%s failed%s: engine.failed() shows why; %s",
            item.operation,
            item.entity,
            item.record_id,
            status_shown(item.last_error),
            _UNCLEAR.format(item.id) if item.id in effects.unclear else _REFUSED,
        )
    if effects.taken_over:
        logger.warning(
            "the answers for %d item(s) were not used: the leases of their claims had ended,"
            " and another process delivers these items now",
            effects.taken_over,
        )
    if effects.conflicts:
        logger.info(
            "%d conflict(s) with the server; see engine.conflicts() and engine.settled_conflicts()",
            effects.conflicts,
        )
