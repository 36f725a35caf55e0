"""Processes by the hundred: forked from one that has everything imported and nothing in use.

A fork takes a millisecond where an interpreter's start takes two hundred, so that a thousand kills
fit into a minute. The fork_server itself is forked before the trial has any thread, never makes an
engine, and has one thread: to the package, each child is a program that has just begun.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.torture.harness import BrokenPromise, check

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ForkServer", "read_lines", "teller"]

BOUND_S = 120.0
"""Longer than any child that is not killed may take."""
FAILED = 3


class ForkServer:
    """Starts children that run ``function(*arguments)`` of a module; a context manager.

    To be made before any thread is started. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            self._line.close()
            _serve(theirs)
        theirs.close()
        self._line.settimeout(BOUND_S)
        self._answers = self._line.makefile("r")
        self._living: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [*self._living, self._pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._line.close()

    def start(self, function: Callable[..., object], *arguments: object) -> int:
        """Has a child run it; returns its process id."""
        return self.start_by_name(function.__module__, function.__name__, *arguments)

    def start_by_name(self, module: str, name: str, *arguments: object) -> int:
        """The same for a function of a module that only the fork server and its children import."""
        pid = self._ask("start", module, name, arguments)
        self._living.add(pid)
        return pid

    def reap(self, pid: int) -> int:
        """Waits for its end; returns the exit status, negative for a signal."""
        try:
            status = self._ask("reap", pid)
        except TimeoutError:
            os.kill(pid, signal.SIGABRT)
            promise = f"a process that nobody killed ends within {BOUND_S:g} s"
            raise BrokenPromise(promise) from None
        self._living.discard(pid)
        return status

    def kill(self, pid: int) -> int:
        """SIGKILL; returns how it ended, which may have been before."""
        os.kill(pid, signal.SIGKILL)
        status = self.reap(pid)
        check(status in (0, -signal.SIGKILL), f"a child ended by itself with status {status}")
        return status

    def _ask(self, *question: object) -> int:
        self._line.sendall(json.dumps(question).encode() + b"\n")
        return int(self._answers.readline())


def _serve(line: socket.socket) -> None:
    """The fork_server's own process; never returns."""
    # a parent that is gone ends it: its line does
    for question in line.makefile("r"):
        verb, *rest = json.loads(question)
        if verb == "reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(rest[0], 0)[1])
        else:
            module, name, arguments = rest
            function = getattr(importlib.import_module(module), name)
            sys.stdout.flush()
            answer = os.fork()
            if not answer:
                line.close()
                _run(function, arguments)
        line.sendall(b"%d\n" % answer)
    os._exit(0)


def _run(function: Callable[..., object], arguments: list[object]) -> None:
    try:
        function(*arguments)
    except BaseException:  # noqa: BLE001 - it must not become another fork_server
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)
    os._exit(0)


def teller(path: str) -> Callable[[object], None]:
    """For a child: writes a line of JSON at once, so that a kill takes back nothing told."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(news: object) -> None:
        os.write(descriptor, json.dumps(news, default=str).encode() + b"\n")

    return tell


def read_lines(path: Path) -> list[Any]:
    """What a child told; a last line that a kill cut short was not told."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]
