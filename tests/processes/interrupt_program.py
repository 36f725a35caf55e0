"""Pushes from seven threads, and from a main thread that is interrupted again and again.

Prints one line of JSON: how often it was interrupted, and what differs between what the threads
were told and what the store holds.
"""

import json
import random
import signal
import sys
import threading
import time
from collections import Counter

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import all_rows, make_item

path, durability, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
storage = SQLiteStorage(path, durability=durability)
told = Counter()
stop = threading.Event()


def push(record):
    def work(tx):
        number = tx.next_number()
        tx.insert(ITEMS, make_item(number, record=record))
        return number

    return storage.write(work)


def pushing(name):
    count = 0
    while not stop.is_set():
        count += 1
        push(f"{name}-{count}")
        told[f"{name}-{count}"] = 1


def interrupt(*_):
    raise KeyboardInterrupt


push("first")
threads = [threading.Thread(target=pushing, args=(name,), daemon=True) for name in range(7)]
for thread in threads:
    thread.start()
signal.signal(signal.SIGALRM, interrupt)
interrupts = count = 0
deadline = time.monotonic() + seconds
while time.monotonic() < deadline:
    count += 1
    try:
        try:
            longest = 0.004 if durability == "full" else 0.0012
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, longest))
            push(f"main-{count}")
            told[f"main-{count}"] = 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0)
stop.set()
for thread in threads:
    thread.join(20)
hung = sum(thread.is_alive() for thread in threads)
held = Counter(row.record for row in all_rows(storage, ITEMS))
found = {
    "interrupts": interrupts,
    "told": len(told),
    "hung": hung,
    "lost": len(told.keys() - held.keys()),
    "doubled": sum(number > 1 for number in held.values()),
    "counted": storage.read(lambda reader: reader.count(ITEMS)) == held.total(),
}
sys.stdout.write(json.dumps(found) + "\n")
storage.close()
