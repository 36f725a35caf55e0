"""Devices with a clock that is moved by hand, on a server in process."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import EntityConfig, RemoteCommands, Request, SyncEngine
from bytelyst_sync.fleet import device_key
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock, Seen
from bytelyst_sync.testing.store import Rules, Store
from tests.conftest import Wire
from tests.typed import NewEngine, present

MASTER = b"the master key that stays at the server"
INTERVAL_S = 300.0
AGENT = "bytelyst-sync-agent"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Server(Wire):
    """A server in process. ``answers`` has what it answers instead, by the beginning of a path:
    a status and headers, an exception, or a function of the request that returns one, or ``None``.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(Store(Rules(clock=clock.wall)), clock=clock.wall)
        self.answers: dict[str, Any] = {}

    def send(self, request: Request) -> Response:
        path = request.url.partition("://")[2].partition("/")[2]
        for prefix, scripted in list(self.answers.items()):
            if not path.startswith(prefix) or not self.online:
                continue
            given: Any = scripted(request) if callable(scripted) else scripted
            if given is not None:
                self.before(request)
                if isinstance(given, BaseException):
                    raise given
                status, headers = given
                body = json.dumps({"error": "no"}).encode()
                return Response(status, headers, body, request.url)
        return super().send(request)

    def put(self, collection: str, record: Json) -> Json:
        """Stores a record as somebody else would."""
        return present(self.store.change(collection, "replace", record))

    def written(self, collection: str) -> list[Seen]:
        """The requests that wrote records of a collection."""
        return [
            each
            for each in self.seen
            if each.path.startswith(f"/{collection}") and each.method != "GET"
        ]


@pytest.fixture
def wire(clock: ManualClock) -> Server:
    return Server(clock)


@pytest.fixture
def new_device(
    new_engine: NewEngine, wire: Server, clock: ManualClock
) -> Callable[..., SyncEngine]:
    """Makes engines that report, and carry out commands if given ``commands=True``."""

    def make(*, commands: bool = False, **settings: Any) -> SyncEngine:
        entities: Json = {"notes": "/notes", "fleet": EntityConfig("/fleet", replica=False)}
        if commands:
            entities["commands"] = "/commands"
            settings.setdefault(
                "remote_commands", RemoteCommands("commands", lambda each: device_key(MASTER, each))
            )
        options = {
            "entities": entities,
            "transport": wire,
            "clock": clock,
            "heartbeat": "fleet",
            "heartbeat_interval": INTERVAL_S,
            **settings,
        }
        return new_engine(**options)

    return make
