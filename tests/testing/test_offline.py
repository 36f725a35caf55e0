"""`offline`: no network, for an engine or for all of the package."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from bytelyst_sync import (
    EngineClosedError,
    HttpProbe,
    OfflineError,
    SyncEngine,
    TcpProbe,
    create_sync_engine,
)
from bytelyst_sync.http.requests_transport import HttpTransport
from bytelyst_sync.http.transport import Request, Response
from bytelyst_sync.testing import EngineFactory, SyncServer, offline
from tests.typed import present

PATIENCE_S = 10.0


@pytest.fixture
def make(server: SyncServer) -> Iterator[Callable[..., SyncEngine]]:
    with EngineFactory(server.url) as factory:

        def build(**settings: Any) -> SyncEngine:
            return factory(entities={"notes": "/notes"}, auto_flush=False, **settings)

        yield build


class Own:
    """A transport of a user's own."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, request: Request) -> Response:
        self.sent += 1
        return Response(204 if request.method != "GET" else 404)


class Fixed:
    __slots__ = ()

    def send(self, request: Request) -> Response:
        return Response(204)


@pytest.mark.parametrize("named", [True, False], ids=["one engine", "all"])
@pytest.mark.parametrize("probe", [None, "auto", lambda: True], ids=["none", "auto", "own"])
def test_nothing_is_sent_and_nothing_is_lost(
    server: SyncServer,
    make: Callable[..., SyncEngine],
    named: bool,
    probe: str | Callable[..., bool] | None,
) -> None:
    engine = make(probe=probe)
    with offline(engine) if named else offline():
        engine.push("notes", {"id": "1"})
        result = engine.flush(timeout=PATIENCE_S)
        assert (result.success, result.offline, result.remaining) == (False, True, 1)
        assert engine.pull(timeout=PATIENCE_S).offline
        assert engine.flush(timeout=PATIENCE_S).offline
        assert not engine.is_online
        assert engine.status.status == "offline"
        assert next(engine.queue()).retry_count == 0
        assert "a test is offline" in present(engine.status.last_error) or probe is not None
        assert server.requests == []
    assert engine.flush(timeout=PATIENCE_S).success
    assert engine.is_online
    assert list(server.records("notes")) == ["1"]


def test_the_engine_comes_back_by_itself(
    server: SyncServer, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    engine.close()
    with EngineFactory(server.url) as factory:
        engine = factory(entities={"notes": "/notes"})
        with offline(engine):
            item = engine.push("notes", {"id": "1"})
            engine.flush(timeout=PATIENCE_S)
        assert engine.wait(item, timeout=PATIENCE_S) == "delivered"


def test_other_engines_stay_online(server: SyncServer, make: Callable[..., SyncEngine]) -> None:
    one, other = make(), make()
    with offline(one):
        other.push("notes", {"id": "1"})
        assert other.flush(timeout=PATIENCE_S).success
        one.push("notes", {"id": "2"})
        assert one.flush(timeout=PATIENCE_S).offline
    assert list(server.records("notes")) == ["1"]


def test_several_engines(server: SyncServer, make: Callable[..., SyncEngine]) -> None:
    engines = [make(), make(), make()]
    with offline(*engines[:2]):
        assert [engine.pull(timeout=PATIENCE_S).offline for engine in engines] == [
            True,
            True,
            False,
        ]
    assert [engine.pull(timeout=PATIENCE_S).offline for engine in engines] == [False] * 3


def test_an_engine_that_is_made_meanwhile(
    server: SyncServer, make: Callable[..., SyncEngine]
) -> None:
    with offline():
        engine = make()
        assert engine.pull(timeout=PATIENCE_S).offline
    assert engine.pull(timeout=PATIENCE_S).success


def test_probes_and_transports_find_nothing(server: SyncServer) -> None:
    tcp, http = TcpProbe("127.0.0.1", server.port), HttpProbe(server.url)
    assert tcp()
    assert http()
    with offline():
        assert not tcp()
        assert not http()
        with pytest.raises(
            OfflineError, match=r"no connection to 127.0.0.1:\d+: a test is offline"
        ):
            HttpTransport().send(Request("GET", f"{server.url}/notes?token=x"))
    assert tcp()
    assert http()


def test_what_others_do_is_not_touched(server: SyncServer) -> None:
    with offline():
        assert requests.get(f"{server.url}/notes", timeout=5).ok


@pytest.mark.parametrize("named", [True, False], ids=["one engine", "all"])
def test_a_transport_of_ones_own(make: Callable[..., SyncEngine], named: bool) -> None:
    transport = Own()
    engine = make(transport=transport)
    engine.push("notes", {"id": "1"})
    with offline(engine) if named else offline():
        assert engine.flush(timeout=PATIENCE_S).offline
    assert transport.sent == 0
    assert engine.flush(timeout=PATIENCE_S).success
    assert transport.sent == 1
    assert "send" not in vars(transport)


def test_a_transport_that_cannot_be_replaced(make: Callable[..., SyncEngine]) -> None:
    engine = make(transport=Fixed())
    with (
        pytest.raises(TypeError, match="cannot be replaced: raise OfflineError"),
        offline(engine),
    ):
        pass
    engine.push("notes", {"id": "1"})
    assert engine.flush(timeout=PATIENCE_S).success


def test_a_closed_engine(make: Callable[..., SyncEngine]) -> None:
    engine = make()
    engine.close()
    with pytest.raises(EngineClosedError), offline(engine):
        pass
    with offline():
        pass


def test_blocks_in_blocks(server: SyncServer, make: Callable[..., SyncEngine]) -> None:
    engine = make()
    with offline(engine):
        with offline(), offline(engine):
            assert engine.pull(timeout=PATIENCE_S).offline
        assert engine.pull(timeout=PATIENCE_S).offline
    assert engine.pull(timeout=PATIENCE_S).success


def test_blocks_that_overlap_in_threads(
    server: SyncServer, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with offline(engine), offline():
            entered.set()
            leave.wait(PATIENCE_S)

    before = HttpTransport.send, TcpProbe.__call__
    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(PATIENCE_S)
    with offline(engine), offline():
        leave.set()
        thread.join(PATIENCE_S)
        assert engine.pull(timeout=PATIENCE_S).offline
    assert engine.pull(timeout=PATIENCE_S).success
    assert before == (HttpTransport.send, TcpProbe.__call__)


def test_an_error_in_the_block_restores(
    server: SyncServer, make: Callable[..., SyncEngine]
) -> None:
    engine = make()
    with pytest.raises(ZeroDivisionError), offline(engine), offline():
        _ = 1 / 0
    assert engine.pull(timeout=PATIENCE_S).success


def test_an_engine_that_was_at_work_all_along(server: SyncServer) -> None:
    with create_sync_engine(
        base_url=server.url,
        entities={"notes": "/notes"},
        storage=":memory:",
        workers=4,
        probe=lambda: True,
        retry_delay=0.01,
        max_retry_delay=0.05,
    ) as engine:
        for round_ in range(5):
            with offline(engine):
                engine.push_many("notes", [{"id": f"{round_}-{number}"} for number in range(20)])
            assert engine.flush(timeout=PATIENCE_S).success
    assert len(server.journal) == 100
