"""Clients that edit apart, under every strategy and on servers of every kind, agree in the end."""

import os
import random
from concurrent.futures import ProcessPoolExecutor

from bytelyst_sync.model import ConflictName
from tests.convergence.history import KINDS as ALL_KINDS
from tests.convergence.history import STRATEGIES, live_through
from tests.torture.harness import Trial, check, scenario

CHUNK, SHORT_CHUNK = 50, 5
Job = tuple[str, ConflictName, int, int]
KINDS = {kind.__name__: kind for kind in ALL_KINDS}


def live(job: Job) -> tuple[int, int]:
    """A chunk of histories; how many conflicts and one-sided edits were in them."""
    kind, strategy, first, count = job
    random.random = lambda: 0.5  # backoff without jitter, which a flush need not wait for
    return live_through(KINDS[kind], strategy, range(first, first + count))


@scenario(
    "conflicts",
    "three clients and the server agree, whatever the strategy, the server and the network",
    limit_s=3600.0,
)
def convergence(trial: Trial) -> dict[str, object]:
    """20,000 histories in the full form, over all cores."""
    chunks = trial.rounds(1, 20_000 // (CHUNK * len(STRATEGIES) * len(KINDS)))
    begin = trial.random.randrange(10**6) * CHUNK
    count = SHORT_CHUNK if trial.short else CHUNK
    jobs = [
        (kind, strategy, begin + number * count, count)
        for number in range(chunks)
        for strategy in STRATEGIES
        for kind in KINDS
    ]
    with ProcessPoolExecutor(1 if trial.short else os.cpu_count() or 1) as pool:
        done = list(pool.map(live, jobs))
    conflicts, edits = (sum(each) for each in zip(*done, strict=True))
    check(conflicts > len(jobs) * count // 4, "the histories meet in conflicts")
    return {"histories": len(jobs) * count, "conflicts": conflicts, "one-sided edits": edits}
