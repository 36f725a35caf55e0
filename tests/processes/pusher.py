"""Pushes and delivers until it is killed, and tells of each push that returned.

``pusher.py URL QUEUE FIRST WORKERS``: numbers count up from FIRST, odd ones from a thread of their
own. Every push brings a field of its own name, so that it is found at the server whatever it was
merged with. With ``drain`` in place of FIRST it delivers what is queued, tells how that went, and
ends.
"""

import json
import sys
import threading

from bytelyst_sync import EntityConfig, SyncEngine, create_sync_engine
from bytelyst_sync.model import OperationName

MOST_QUEUED = 40
OUT = threading.Lock()


def push(engine: SyncEngine, number: int) -> None:
    """One push: an edit of one of a few notes, or an event of its own."""
    field = {f"f{number}": number}
    if number % 5 == 0:
        engine.push("events", {"id": f"e{number}", **field})
    else:
        key = f"n{number % 2}{number % 6}"
        operation: OperationName = "create" if engine.get("notes", key) is None else "update"
        engine.push("notes", {"id": key, **field}, operation)


def push_for_ever(engine: SyncEngine, number: int) -> None:
    """Every other number, as long as the queue stays short."""
    news = threading.Event()
    while True:
        push(engine, number)
        with OUT:
            sys.stdout.write(f"{number}\n")
        number += 2
        while engine.queue_length > MOST_QUEUED:
            news.wait(0.002)


def drain(engine: SyncEngine) -> None:
    """Delivers what is queued."""
    engine.start()
    result = engine.flush(timeout=20)
    reported = [result.success, result.remaining, result.duration, engine.status.failed]
    sys.stdout.write(json.dumps(reported) + "\n")
    engine.close()


def main() -> None:
    """Reads the arguments."""
    url, path, first, workers = sys.argv[1:]
    engine = create_sync_engine(
        base_url=url,
        storage=path,
        workers=int(workers),
        entities={"notes": "/notes", "events": EntityConfig("/events", dedup="none")},
        probe=None,
    )
    if first == "drain":
        drain(engine)
        return
    number = int(first)
    threading.Thread(target=push_for_ever, args=(engine, number + 1), daemon=True).start()
    push_for_ever(engine, number)


if __name__ == "__main__":
    main()
