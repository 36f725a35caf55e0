"""Three clients that meet again agree with each other and with a server that shares no code with
them. The long form is the scenario ``convergence`` of ``tests/torture``.
"""

import random

import pytest

from bytelyst_sync.model import ConflictName
from tests.convergence.history import (
    STRATEGIES,
    History,
    HistoryWithOthers,
    HistoryWithRestores,
    HistoryWithServerIds,
    HistoryWithUniqueNames,
    live_through,
)

CHUNK = 80
CHUNKS = 5
FEW = 16
"""With ``STRATEGIES``, 2,000 histories of ids that clients give, and a quarter of that of the
server's.
"""


@pytest.fixture(autouse=True)
def steady_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flush tries again what it has just tried, and by the next one the backoff is over."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_clients_that_meet_again_agree_with_each_other_and_the_server(
    strategy: ConflictName, chunk: int
) -> None:
    numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    conflicts, edits = live_through(History, strategy, numbers)
    assert conflicts > CHUNK, "these histories hardly ever meet in a conflict"
    assert strategy != "merge" or edits > CHUNK, "these histories have too few one-sided edits"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_clients_of_a_server_that_gives_the_ids_agree_too(strategy: ConflictName) -> None:
    conflicts, _ = live_through(HistoryWithServerIds, strategy, range(CHUNK))
    assert conflicts > CHUNK // 4, "these histories hardly ever meet in a conflict"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", [HistoryWithOthers, HistoryWithRestores, HistoryWithUniqueNames])
def test_they_agree_whatever_else_happens_at_the_server(
    kind: type[HistoryWithOthers | HistoryWithRestores | HistoryWithUniqueNames],
    strategy: ConflictName,
) -> None:
    conflicts, _ = live_through(kind, strategy, range(FEW))
    assert conflicts > 0
