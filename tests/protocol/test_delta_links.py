"""Cursors that are in the last page alone: a link for the next pull, or a token."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bytelyst_sync import ConfigError, Dialect, EntityConfig, SyncEngine
from bytelyst_sync.testing import Seen, SyncServer
from tests.protocol.loopback import Loopback
from tests.typed import NewEngine, present

Connect = Callable[..., SyncEngine]
NewLoopback = Callable[..., Loopback]
PLAIN: dict[str, Any] = {
    "version": None,
    "send_version": None,
    "idempotency": None,
    "page_size": "",
}
LINKS = Dialect(
    **PLAIN,
    items="value",
    next_page="url:@odata.nextLink",
    since=None,
    cursor="url:@odata.deltaLink",
    tombstone="@removed",
)
TOKENS = Dialect(
    **PLAIN,
    items="value",
    next_page="token:nextPageToken",
    query={"pageToken": "{token}"},
    since=("syncToken", "{cursor}"),
    cursor="body:nextSyncToken",
)


class Feed:
    """A server with pages of two rows, and a list of changes by number. ``links``: Microsoft Graph,
    otherwise Google's calendars.
    """

    def __init__(self, *, links: bool) -> None:
        self.links = links
        self.origin = ""
        self.changes: list[dict[str, Any]] = [{"id": str(number)} for number in range(5)]

    def handle(self, request: Seen) -> Any:
        query = {name: each[0] for name, each in parse_qs(urlsplit(request.target).query).items()}
        place = query.get("at") or query.get("pageToken") or query.get("syncToken") or "0"
        begin = int(place.removeprefix("t"))
        if begin > len(self.changes):
            return 410, {"error": {"message": "expired"}}
        rows, end = self.changes[begin : begin + 2], min(begin + 2, len(self.changes))
        body: dict[str, Any] = {"value": rows}
        if self.links:
            name = "@odata.nextLink" if end < len(self.changes) else "@odata.deltaLink"
            body[name] = f"{self.origin}/notes?at={end}"
        else:
            name = "nextPageToken" if end < len(self.changes) else "nextSyncToken"
            body[name] = f"t{end}"
        return 200, body


@pytest.mark.parametrize("links", [True, False])
def test_the_next_pull_begins_where_the_last_page_said(
    loopback: NewLoopback, connect: Connect, links: bool
) -> None:
    feed = Feed(links=links)
    api = loopback(feed.handle)
    engine = connect(api, LINKS if links else TOKENS)
    assert engine.pull().success, engine.status.last_error
    assert engine.count("notes") == 5
    gone = {"@removed": {"reason": "deleted"}} if links else {"deleted": True}
    feed.changes += [{"id": "1", "title": "new"}, {"id": "2", **gone}, {"id": "9"}]
    api.requests.clear()
    assert engine.pull().success, engine.status.last_error
    assert {row["id"] for row in engine.records("notes")} == {"0", "1", "3", "4", "9"}
    asked = "at" if links else "syncToken"
    assert api.said[0] == f"GET /notes?{asked}={'' if links else 't'}5"
    assert len([each for each in api.said if each.startswith("GET /notes?")]) >= 2
    feed.changes = [{"id": "7"}]
    assert engine.pull().success, "the cursor has expired: all is listed again"
    assert present(engine.get("notes", "7"))


def test_a_link_for_the_next_pull_is_stored_with_its_origin(
    loopback: NewLoopback, connect: Connect
) -> None:
    feed = Feed(links=True)
    feed.origin = "https://elsewhere.example.com"
    feed.changes = feed.changes[:2]
    engine = connect(loopback(feed.handle), LINKS)
    assert not engine.pull().success
    assert "the next pull (`url:@odata.deltaLink`) is on" in present(engine.status.last_error)


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        (LINKS.evolve(cursor="url:deltaLink"), "a link for the next pull"),
        (LINKS.evolve(cursor="url:value"), 'anything else is `"body:"`'),
        (TOKENS.evolve(cursor="body:syncToken"), "a string or number"),
    ],
)
def test_a_cursor_that_no_page_has_is_an_error(
    loopback: NewLoopback, connect: Connect, dialect: Dialect, said: str
) -> None:
    links = dialect.next_page == LINKS.next_page
    engine = connect(loopback(Feed(links=links).handle), dialect)
    assert not engine.pull().success
    assert "`cursor` was expected at" in present(engine.status.last_error)
    assert said in present(engine.status.last_error)
    assert engine.status.reason == "mapping"


@pytest.mark.parametrize("next_page", ["more:has_more", "full:limit", "page:page", "offset:skip"])
def test_links_for_the_next_pull_go_with_links(new_engine: NewEngine, next_page: str) -> None:
    with pytest.raises(ConfigError, match="is a link for the next pull"):
        new_engine(dialect=LINKS.evolve(next_page=next_page, since=["since", "{cursor}"]))


def test_the_server_for_tests_gives_such_links(new_engine: NewEngine) -> None:
    dialect = Dialect(next_page="url:next", since=None, cursor="url:delta")
    with SyncServer(dialect=dialect) as server:
        one, two = (
            new_engine(server.url, dialect=dialect, entities={"notes": EntityConfig("/notes")})
            for _ in range(2)
        )
        one.push_many("notes", [{"id": str(number)} for number in range(7)])
        assert one.full_sync(timeout=10).success
        assert two.pull(timeout=10).pulled == 7
        one.delete("notes", "3")
        one.update("notes", "4", {"title": "new"})
        assert one.full_sync(timeout=10).success
        assert two.pull(timeout=10).pulled == 2
        assert two.count("notes") == 6
        assert present(two.get("notes", "4"))["title"] == "new"
