"""What holds for every test."""

import threading
import time

import pytest

THREADS = "bytelyst-sync"
GRACE_S = 1.0


@pytest.fixture(autouse=True)
def no_thread_left_behind():
    """Fail a test after which threads of the package, started in it, still run.

    An engine of a wider fixture may keep its threads. The grace is for a thread that was told to
    end, but not waited for.
    """
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    started = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith(THREADS)
    ]
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread.name for thread in started if thread.is_alive()]
    if left:
        pytest.fail(f"threads left behind: {', '.join(left)}", pytrace=False)
