"""Three clients edit apart, on servers and networks of every kind, and agree in the end.

Each version of Python lives through histories of its own; ``make torture`` has many more.
"""

import random
import sys

import pytest

from bytelyst_sync.model import ConflictName
from tests.convergence.history import (
    KINDS,
    STRATEGIES,
    History,
    HistoryWithOthers,
    HistoryWithRestores,
    HistoryWithServerIds,
    HistoryWithUniqueNames,
    live_through,
)

HISTORIES = 40
"""Of each kind, under each strategy."""
FIRST = 1000 * sys.version_info.minor


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_they_agree(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[
        History
        | HistoryWithServerIds
        | HistoryWithOthers
        | HistoryWithRestores
        | HistoryWithUniqueNames
    ],
    strategy: ConflictName,
) -> None:
    # backoff without jitter, which a flush need not wait for
    monkeypatch.setattr(random, "random", lambda: 0.5)
    conflicts, _ = live_through(kind, strategy, range(FIRST, FIRST + HISTORIES))
    assert conflicts > HISTORIES // 4, "the histories meet in conflicts"
