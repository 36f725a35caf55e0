"""`offline`: no network, for some engines or for all of the package in this process.

While it holds, whatever would reach the network is replaced by what reaches nothing. The lock
guards the table of what is replaced, and is held for the swap alone. Blocks may be nested, and
overlap in threads: the first to come replaces, the last to go restores.

This is the one place of the kit that looks inside an engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bytelyst_sync import runtime
from bytelyst_sync.errors import OfflineError
from bytelyst_sync.flows import lifecycle
from bytelyst_sync.probes import TcpProbe
from bytelyst_sync.transport.base import Request
from bytelyst_sync.transport.failures import server_name
from bytelyst_sync.transport.http import HttpTransport

if TYPE_CHECKING:
    from bytelyst_sync.engine import SyncEngine

__all__ = ["offline"]


@contextmanager
def offline(*engines: SyncEngine) -> Iterator[None]:
    """Inside of the block there is no network: no connection is made, ``OfflineError``.

    Given engines are offline, with their transports and probes; given none, every engine in this
    process is, and so are ``HttpProbe`` and ``TcpProbe``. (An engine that is made inside of the
    block with a ``transport`` of its own is not: name it.) Requests under way are still answered,
    and what others do with ``requests`` is not touched.

    As in life, an engine learns of it from its next request or probe, and learns that the network
    is back from ``flush()``, or from its next probe or try.

    Raises ``EngineClosedError`` for a closed engine, ``TypeError`` for one whose ``transport``
    does not let its ``send`` be replaced.
    """
    with ExitStack() as stack:

        def put(target: Any, name: str, value: object) -> None:
            stack.enter_context(_replaced(target, name, value))

        for engine in engines:
            run = engine._running()  # noqa: SLF001
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
    """What stands for the engine's probe; one without is left without."""
    return None if engine.config.probe is None else lambda: False


def _transports_of_users() -> list[Any]:
    with lifecycle._lock:  # noqa: SLF001
        living: list[Any] = list(lifecycle._engines)  # noqa: SLF001
    found = [each.config.transport for each in living if not each._closed]  # noqa: SLF001
    return [transport for transport in found if transport is not None]


@dataclass
class _Replaced:
    """What was there before (`_NOTHING`: the class's), and how many blocks need it gone."""

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
