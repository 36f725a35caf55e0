"""One call of an engine, made again and again by a main thread that is interrupted, beside a worker
that delivers.

Prints one line of JSON: how often it was interrupted, what it was told is queued and did not
arrive, and whether the engine came to rest and closed.
"""

import json
import sys

from interrupting import call_interrupted

from bytelyst_sync import EntityConfig, create_sync_engine
from bytelyst_sync.transport.base import Response

path, call, longest, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
arrived, told = [], []


class Instant:
    """Takes everything at once."""

    def send(self, request):
        arrived.append(json.loads(request.body)["id"])
        return Response(201, {}, request.body, request.url)


engine = create_sync_engine(
    base_url="http://nowhere.invalid",
    entities={"notes": EntityConfig("/notes", replica=False)},
    storage=path,
    durability="normal",
    transport=Instant(),
    probe=None,
    exit_timeout=0,
)


def push(number):
    engine.push("notes", {"id": str(number)})
    told.append(str(number))


calls = {"push": push, "resume": lambda _: engine.resume(), "flush": lambda _: engine.flush()}
push(0)
interrupts = call_interrupted(
    calls[call], seconds=seconds, least_s=0.000005, longest_s=longest, rest_s=0.0003
)
remaining = engine.flush(timeout=20).remaining
found = {
    "interrupts": interrupts,
    "lost": len(set(told) - set(arrived)),
    "doubled": len(arrived) - len(set(arrived)),
    "remaining": remaining,
    "closed": engine.close(),
}
sys.stdout.write(json.dumps(found) + "\n")
