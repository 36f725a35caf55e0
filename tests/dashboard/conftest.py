"""An engine with something in every state, and the pages of it."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bytelyst_sync import Conflict, SyncEngine, SyncItem, create_sync_engine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.fleet import FleetCommands
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Reply, SyncServer
from tests.dashboard.browser import Window, chromium
from tests.dashboard.client import OPERATOR, PREFIX, Client
from tests.dashboard.heartbeats import MASTER
from tests.dashboard.hosts import KINDS, Host
from tests.dashboard.in_thread import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from typing_extensions import Self

EVERY_HOST = os.environ.get("BROWSER_HOSTS") == "all"


class Stage:
    """A server, an engine on it, and what a test does with them."""

    def __init__(self, server: SyncServer, engine: SyncEngine) -> None:
        self.server, self.engine = server, engine

    def fail(
        self, *records: Json, entity: str = "orders", error: str = "title is too long"
    ) -> list[SyncItem]:
        """Has the server refuse the creates of these records; returns the items."""
        before = {item.id for item in self.engine.failed()}
        self.server.script(
            *[Reply(422, {"error": error}) for _ in records], match=f"POST /{entity}"
        )
        for record in records:
            self.engine.push(entity, record)
        self.engine.flush(10)
        found = [item for item in self.engine.failed() if item.id not in before]
        assert len(found) == len(records)
        return found

    def conflict(self, record_id: str = "c-7", *, entity: str = "customers") -> Conflict:
        """Has both sides change a record; returns the conflict."""
        base = {"id": record_id, "name": "Mira", "email": "old@example.com", "city": "Oslo"}
        self.server.put(entity, base)
        self.engine.pull()
        self.engine.push(
            entity, {"id": record_id, "email": "here@example.com", "city": "Bergen"}, "update"
        )
        self.server.patch(entity, record_id, {"email": "there@example.com", "phone": "555"})
        self.engine.pull()
        return next(each for each in self.engine.conflicts() if each.record_id == record_id)


@pytest.fixture(params=["app.db"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == ":memory:" else str(tmp_path / request.param)


@pytest.fixture
def entities() -> Json:
    return {"orders": "/orders", "customers": "/customers"}


@pytest.fixture
def engine(server: SyncServer, storage: str, entities: Json) -> Iterator[SyncEngine]:
    made = create_sync_engine(
        base_url=server.url,
        entities=entities,
        storage=storage,
        conflict="manual",
        auto_flush=False,
        probe=None,
        retry_delay=1e-5,
        max_retry_delay=1e-5,
        batch_size=1,
    )
    yield made
    made.close()


@pytest.fixture
def stage(server: SyncServer, engine: SyncEngine) -> Stage:
    return Stage(server, engine)


@pytest.fixture
def client(engine: SyncEngine) -> Client:
    return Client(ops_app(engine, authorize=lambda environ: OPERATOR))


# --- a real browser, and the programs that serve the pages


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every browser test runs on every host if ``BROWSER_HOSTS=all``; else those that name them."""
    named = [each.args[0] for each in metafunc.definition.iter_markers("parametrize")]
    if "site" in metafunc.fixturenames and "host" not in named and EVERY_HOST:
        metafunc.parametrize("host", ["here", *KINDS], indirect=True)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    # not for the whole session: while Playwright runs, asyncio.run() fails in this thread
    with chromium() as started:
        yield started


@pytest.fixture
def host(request: pytest.FixtureRequest) -> str:
    """What serves the pages: this process, unless the test names another one."""
    return str(getattr(request, "param", "here"))


@pytest.fixture
def authorize() -> Callable[[Json], Actor]:
    return lambda environ: OPERATOR


class Site(str):
    """The address of pages, and the cookies of somebody who may see them."""

    __slots__ = ("cookies",)

    cookies: list[Any]

    def __new__(cls, address: str, cookies: Iterable[Json] = ()) -> "Self":
        site = super().__new__(cls, address)
        site.cookies = list(cookies)
        return site


@pytest.fixture
def site(
    engine: SyncEngine,
    host: str,
    server: SyncServer,
    entities: Json,
    authorize: Callable[[Json], Actor],
    tmp_path: Path,
) -> Iterator[Site]:
    """The pages of the engine in this process, or those of a program beside it, on its store."""
    if host == "here":
        yield from served_here(engine, authorize, "commands" in entities)
        return
    with closing(Host(host, tmp_path, server, entities=entities)) as running:
        with running.open_session() as session:
            cookies = [
                {"name": each.name, "value": each.value, "domain": "127.0.0.1", "path": each.path}
                for each in session.cookies
            ]
        yield Site(running.url, cookies)


def served_here(engine: SyncEngine, authorize: Any, issues_commands: bool) -> Iterator[Site]:
    commands = FleetCommands("commands", MASTER) if issues_commands else None
    app = ops_app(engine, authorize=authorize, fleet_commands=commands)

    def mounted(environ: Json, start_response: Any) -> Any:
        path = environ["PATH_INFO"].removeprefix(PREFIX)
        return app({**environ, "SCRIPT_NAME": PREFIX, "PATH_INFO": path}, start_response)

    with served(mounted) as address:
        yield Site(f"{address}{PREFIX}")


@pytest.fixture
def window(browser: "Browser", site: Site) -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_one(**options: Any) -> Window:
        view = Window(browser, **{"viewport": {"width": 1280, "height": 800}, **options})
        view.context.add_cookies(site.cookies)
        opened.append(view)
        return view

    yield open_one
    complaints = [text for each in opened for text in each.complaints]
    for each in opened:
        each.close()
    assert complaints == []
