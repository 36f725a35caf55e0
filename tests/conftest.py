"""What holds for every test, and engines on a transport that answers as it is told."""

import contextlib
import json
import threading
import time

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.transport.base import Response

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


class Scripted:
    """A transport that answers with what it was given: responses, exceptions, or functions of
    the request. The last one stays.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def send(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def new_engine():
    """Makes engines that are closed after the test and deliver only in ``flush`` unless told."""
    with contextlib.ExitStack() as stack:

        def make(url="http://server.invalid", **settings):
            options = {
                "base_url": url,
                "entities": {"notes": "/notes"},
                "storage": ":memory:",
                "auto_flush": False,
                "probe": None,
                "retry_delay": 1e-5,
                "max_retry_delay": 1e-5,
                "timeout": 10.0,
                **settings,
            }
            engine = create_sync_engine(**options)
            stack.callback(engine.close)
            return engine

        yield make


@pytest.fixture(name="scripted", scope="session")
def scripted_class():
    return Scripted


@pytest.fixture(scope="session")
def page():
    """A response that is a page of records, or any other JSON."""

    def make(*items, status=200, headers=None, **members):
        body = {"items": list(items), "cursor": "c1", "has_more": False, **members}
        return Response(status, headers or {}, json.dumps(body).encode(), "")

    return make
