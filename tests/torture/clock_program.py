"""Pushes and delivers until it is killed, under whatever clock: ``clock_program.py SETTINGS TOLD
FIRST``. Tells of each push that returned, and once a second of the time that it believes in.
"""

import json
import select
import sys
import threading
import time
from typing import SupportsIndex

from tests.torture.fork_server import teller
from tests.torture.kill_work import made, push_one


def sleep(seconds: float | SupportsIndex) -> None:
    """What libfaketime leaves alone: it breaks ``time.sleep``, which since Python 3.11 waits for an
    instant of the monotonic clock (``EINVAL`` once the wall clock was set).
    """
    select.select([], [], [], float(seconds))


def main() -> None:
    """Reads the arguments."""
    time.sleep = sleep
    settings, reported, first = sys.argv[1:]
    tell = teller(reported)
    tell({"time": time.time()})
    engine = made(json.loads(settings))
    room = threading.Event()
    number = int(first)
    while True:
        push_one(engine, number, "a")
        tell(number)
        number += 1
        room.wait(0.01)
        while engine.queue_length > 30:
            room.wait(0.01)


if __name__ == "__main__":
    main()
