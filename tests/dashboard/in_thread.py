"""A server of WSGI applications in a thread of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import waitress
from waitress.channel import HTTPChannel

BOUND_S = 20


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """The address at which the application is served until the block ends."""
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown(timeout=BOUND_S)
        # its connections belong to its thread, which ends when the last of them is closed
        server.trigger.pull_trigger(lambda: close_all(server))
        thread.join(BOUND_S)
    assert not thread.is_alive()


def close_all(server: Any) -> None:
    for each in list(server._map.values()):
        if isinstance(each, HTTPChannel):
            each.handle_close()
    server.close()
