"""``offline``: no network, for some engines or for all of the package in this process.

Inside of the block, the functions that use the network are replaced. The lock guards the table of
the replaced functions. Blocks may be nested, and overlap in threads: the first one replaces, the
last one restores.

This is the only module of the test tools that uses the inside of an engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bytelyst_sync import process_hooks, runtime
from bytelyst_sync.delivery.probes import TcpProbe
from bytelyst_sync.errors import OfflineError
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Request
from bytelyst_sync.http.urls import server_name

if TYPE_CHECKING:
    from bytelyst_sync.engine import SyncEngine

__all__ = ["offline"]


@contextmanager
def offline(*engines: SyncEngine) -> Iterator[None]:
    """Inside of the block there is no network: no connection is made, ``OfflineError``.

    These engines are offline, with their transports and probes; without arguments, every engine in
    this process is, and so are ``HttpProbe`` and ``TcpProbe``. (An engine that is created inside of
    the block with its own ``transport`` is not: pass it.) Requests under way are still answered,
    and other code that uses ``requests`` is not affected.

    An engine notices it at its next request or probe, and notices that the network is back at
    ``flush()``, or at its next probe or attempt.

    Raises ``EngineClosedError`` for a closed engine, ``TypeError`` for one whose ``transport``
    does not let its ``send`` be replaced.
    """
    with ExitStack() as stack:

        def put(target: Any, name: str, value: object) -> None:
            stack.enter_context(_replaced(target, name, value))

        for engine in engines:
            run = engine._core.running()  # noqa: SLF001
            put(run.transport, "send", _refuse)
            put(run.worker._connectivity, "_probe", _probed(engine))  # noqa: SLF001
        if not engines:
            put(HttpTransport, "send", staticmethod(_refuse))
            put(TcpProbe, "__call__", _nothing_there)
            put(runtime, "_asked", _nothing_there)
            for transport in _transports_of_users():
                put(transport, "send", _refuse)
        yield


def _refuse(request: Request) -> NoReturn:
    raise OfflineError(f"no connection to {server_name(request.url)}: a test is offline")


def _nothing_there(_: object) -> bool:
    return False


def _probed(engine: SyncEngine) -> Callable[[], bool] | None:
    """The replacement of the engine's probe; ``None`` if it has none."""
    return None if engine.config.probe is None else lambda: False


def _transports_of_users() -> list[Any]:
    with process_hooks._lock:  # noqa: SLF001
        living: list[Any] = list(process_hooks._engines)  # noqa: SLF001
    transports = [each.config.transport for each in living if not each.closed]
    return [transport for transport in transports if transport is not None]


@dataclass
class _Replaced:
    """The former attribute (``_NOTHING``: that of the class), and how many blocks replace it."""

    target: object
    before: object
    blocks: int = 1


_NOTHING: Final = object()
_lock = threading.Lock()
_table: dict[tuple[int, str], _Replaced] = {}


@contextmanager
def _replaced(target: Any, name: str, value: object) -> Iterator[None]:
    key = id(target), name
    with _lock:
        if key in _table:
            _table[key].blocks += 1
        else:
            before = getattr(target, "__dict__", {}).get(name, _NOTHING)
            try:
                setattr(target, name, value)
            except AttributeError:
                raise TypeError(
                    f"{name} of {target!r} cannot be replaced: raise OfflineError in it instead"
                ) from None
            _table[key] = _Replaced(target, before)
    try:
        yield
    finally:
        with _lock:
            entry = _table[key]
            entry.blocks -= 1
            if not entry.blocks:
                del _table[key]
                if entry.before is _NOTHING:
                    delattr(target, name)
                else:
                    setattr(target, name, entry.before)
