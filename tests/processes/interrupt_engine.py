"""One call of an engine, made again and again by a main thread that is interrupted, beside a worker
that delivers.

Prints one line of JSON: how often it was interrupted, what it was told is queued and did not
arrive, and whether the engine came to rest and closed.
"""

import json
import sys
from collections.abc import Callable

from bytelyst_sync import EntityConfig, Request, create_sync_engine
from bytelyst_sync.http.transport import Response
from tests.processes.interrupting import call_interrupted
from tests.typed import present

path, call, longest, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
arrived: list[str] = []
reported: list[str] = []


class Instant:
    """Takes everything at once."""

    def send(self, request: Request) -> Response:
        body = present(request.body)
        arrived.append(json.loads(body)["id"])
        return Response(201, {}, body, request.url)


engine = create_sync_engine(
    base_url="http://nowhere.invalid",
    entities={"notes": EntityConfig("/notes", replica=False)},
    storage=path,
    durability="normal",
    transport=Instant(),
    probe=None,
    exit_timeout=0,
)


def push(number: int) -> None:
    engine.push("notes", {"id": str(number)})
    reported.append(str(number))


calls: dict[str, Callable[[int], object]] = {
    "push": push,
    "resume": lambda _: engine.resume(),
    "flush": lambda _: engine.flush(),
}
push(0)
interrupts = call_interrupted(
    calls[call], seconds=seconds, least_s=0.000005, longest_s=longest, rest_s=0.0003
)
remaining = engine.flush(timeout=20).remaining
found = {
    "interrupts": interrupts,
    "lost": len(set(reported) - set(arrived)),
    "doubled": len(arrived) - len(set(arrived)),
    "remaining": remaining,
    "closed": engine.close(),
}
sys.stdout.write(json.dumps(found) + "\n")
