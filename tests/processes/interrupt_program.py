"""Pushes from seven threads, and from a main thread that is interrupted again and again.

Prints one line of JSON: how often it was interrupted, and what differs between what the threads
were told and what the store holds.
"""

import json
import sys
import threading
from collections import Counter

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import all_rows, make_item
from tests.processes.interrupting import call_interrupted

path, durability, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
storage = SQLiteStorage(path, durability=durability)
reported: Counter[str] = Counter()
stop = threading.Event()


def push(record: str) -> int:
    def work(tx: Transaction) -> int:
        number = tx.next_number()
        tx.insert(ITEMS, make_item(number, record=record))
        return number

    return storage.write(work)


def pushing(name: int) -> None:
    count = 0
    while not stop.is_set():
        count += 1
        push(f"{name}-{count}")
        reported[f"{name}-{count}"] = 1


def push_and_tell(number: int) -> None:
    push(f"main-{number}")
    reported[f"main-{number}"] = 1


push("first")
threads = [threading.Thread(target=pushing, args=(name,), daemon=True) for name in range(7)]
for thread in threads:
    thread.start()
longest_s = 0.004 if durability == "full" else 0.0012
interrupts = call_interrupted(push_and_tell, seconds=seconds, least_s=0.00002, longest_s=longest_s)
stop.set()
for thread in threads:
    thread.join(20)
hung = sum(thread.is_alive() for thread in threads)
held = Counter(row.record for row in all_rows(storage, ITEMS))
found = {
    "interrupts": interrupts,
    "told": len(reported),
    "hung": hung,
    "lost": len(reported.keys() - held.keys()),
    "doubled": sum(number > 1 for number in held.values()),
    "counted": storage.read(lambda reader: reader.count(ITEMS)) == held.total(),
}
sys.stdout.write(json.dumps(found) + "\n")
storage.close()
