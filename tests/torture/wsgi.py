"""A web application that pushes through one engine.

``GET /NUMBER/SLOT`` pushes, and answers with the process id and the seconds that the push took.
The environment says where the queue and the server are, and with ``TORTURE_BUSY`` the engine has
been at work before any fork.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterable

from tests.torture.kill_work import made, push_one

__all__ = ["make"]

Environ = dict[str, str]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


def make() -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    """The application."""
    # Python 3.12 warns of what is tried here
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    place = {"base_url": os.environ["TORTURE_URL"], "storage": os.environ["TORTURE_QUEUE"]}
    engine = made({**place, "exit_timeout": 0.5})
    if os.environ.get("TORTURE_BUSY"):
        engine.push("events", {"id": f"before-{os.getpid()}"})
        engine.flush(timeout=10)

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        number, slot = environ["PATH_INFO"].strip("/").split("/")
        began = time.monotonic()
        push_one(engine, int(number), slot)
        took = time.monotonic() - began
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d %f" % (os.getpid(), took)]

    return application
