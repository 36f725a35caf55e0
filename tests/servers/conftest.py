"""Real servers for tests: started on first use, one of each kind for a test process, then kept.

A test gets its server empty and running. What a server wrote during a test that failed is shown.
"""

from collections.abc import Generator, Iterator
from typing import Protocol, TypeVar

import pytest

from tests.servers.couchdb import CouchDB
from tests.servers.drf import Drf
from tests.servers.json_server import JsonServer
from tests.servers.kinto import Kinto
from tests.servers.process import RealServer

KINDS = (Kinto, Drf, JsonServer, CouchDB)
ServerT = TypeVar("ServerT", bound=RealServer)

USED = pytest.StashKey[list[tuple[RealServer, int]]]()


class GetServer(Protocol):
    """``get_server(Kinto)``: the server of that kind, empty; skips the test if it cannot run."""

    def __call__(self, kind: type[ServerT]) -> ServerT: ...


@pytest.fixture(scope="session")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[type[RealServer], RealServer]]:
    """By kind: those started so far."""
    started: dict[type[RealServer], RealServer] = {}
    yield started
    for server in started.values():
        server.stop(kill=True)


@pytest.fixture
def get_server(
    request: pytest.FixtureRequest,
    servers: dict[type[RealServer], RealServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> GetServer:
    def get(kind: type[ServerT]) -> ServerT:
        if reason := kind.missing():
            pytest.skip(reason)
        if kind not in servers:
            servers[kind] = kind(tmp_path_factory.mktemp(kind.name))
        server = servers[kind]
        assert isinstance(server, kind)
        used = request.node.stash.setdefault(USED, [])
        used.append((server, server.log.stat().st_size))
        if not server.running:
            server.start()
        server.wipe()
        return server

    return get


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server, start in item.stash.get(USED, []):
            report.sections.append((f"{server.name} wrote", server.output(start)))
    return report


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def real_server(request: pytest.FixtureRequest, get_server: GetServer) -> RealServer:
    """Each kind in turn."""
    kind: type[RealServer] = request.param
    return get_server(kind)


@pytest.fixture
def kinto_server(get_server: GetServer) -> Kinto:
    return get_server(Kinto)


@pytest.fixture
def drf_server(get_server: GetServer) -> Drf:
    return get_server(Drf)


@pytest.fixture
def json_server(get_server: GetServer) -> JsonServer:
    return get_server(JsonServer)


@pytest.fixture
def couchdb_server(get_server: GetServer) -> CouchDB:
    return get_server(CouchDB)
