"""Real servers for tests: started on first use, one of each kind for a test process, then kept.

A test gets its server empty and running. What a server wrote during a test that failed is shown.
"""

import pytest

from tests.servers.couchdb import CouchDB
from tests.servers.drf import Drf
from tests.servers.json_server import JsonServer
from tests.servers.kinto import Kinto

KINDS = (Kinto, Drf, JsonServer, CouchDB)

USED = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """By kind: those started so far."""
    started = {}
    yield started
    for server in started.values():
        server.stop(kill=True)


@pytest.fixture
def get_server(request, servers, tmp_path_factory):
    """``get_server(Kinto)``: the server of that kind, empty; skips the test if it cannot run."""

    def get(kind):
        if reason := kind.missing():
            pytest.skip(reason)
        if kind not in servers:
            servers[kind] = kind(tmp_path_factory.mktemp(kind.name))
        server = servers[kind]
        used = request.node.stash.setdefault(USED, [])
        used.append((server, server.log.stat().st_size))
        if not server.running:
            server.start()
        server.wipe()
        return server

    return get


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        for server, start in item.stash.get(USED, []):
            report.sections.append((f"{server.name} wrote", server.output(start)))
    return report


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def real_server(request, get_server):
    """Each kind in turn."""
    return get_server(request.param)


@pytest.fixture
def kinto_server(get_server):
    return get_server(Kinto)


@pytest.fixture
def drf_server(get_server):
    return get_server(Drf)


@pytest.fixture
def json_server(get_server):
    return get_server(JsonServer)


@pytest.fixture
def couchdb_server(get_server):
    return get_server(CouchDB)
