"""What a reading of the record says about a write: whether it may be sent."""

from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback

Connect = Callable[..., SyncEngine]
NewLoopback = Callable[..., Loopback]
CHECKED = Dialect(
    update="PUT {endpoint}/{id}",
    version=None,
    send_version=None,
    check_before_write=True,
    partial_answer=True,
    server_fields="changed",
    since=None,
    cursor=None,
    next_page=None,
)


class Acknowledging:
    """A server that fills in fields of records, and answers a create with the id alone, as Jira
    and Salesforce do.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def handle(self, request: Seen) -> Any:
        key = request.path.rpartition("/")[2]
        if request.method == "POST":
            key = str(len(self.rows) + 1)
            self.rows[key] = {"priority": "low", **request.body, "id": key, "changed": 1}
            return 201, {"id": key}
        if request.path == "/notes":
            return 200, {"items": list(self.rows.values())}
        if request.method == "GET":
            return (200, self.rows[key]) if key in self.rows else (404, {"error": "none"})
        if key not in self.rows:
            return 404, {"error": "no such route"}
        if request.method == "DELETE":
            del self.rows[key]
        elif request.method == "PUT":
            self.rows[key] = {**request.body, "changed": 2}
        else:
            self.rows[key] |= {**request.body, "changed": 2}
        return 204, None


@pytest.mark.parametrize("patch", ["shallow", "full"])
@pytest.mark.parametrize("operation", ["update", "delete"])
def test_what_the_server_filled_in_is_no_change_of_others(
    connect: Connect, loopback: NewLoopback, patch: str, operation: str
) -> None:
    server = Acknowledging()
    verb = "PUT" if patch == "full" else "PATCH"
    dialect = CHECKED.evolve(patch=patch, update=f"{verb} {{endpoint}}/{{id}}")
    engine = connect(loopback(server.handle), dialect, id_source="server")
    item = engine.push("notes", {"title": "mine"})
    assert engine.flush(timeout=10).success
    (key,) = server.rows
    if operation == "delete":
        engine.delete("notes", item.record_id)
    else:
        engine.update("notes", item.record_id, {"title": "again"})
    result = engine.flush(timeout=10)
    assert (result.success, result.conflicts) == (True, 0)
    expected = {key: {"id": key, "title": "again", "priority": "low", "changed": 2}}
    assert server.rows == ({} if operation == "delete" else expected)


@pytest.mark.parametrize("patch", ["shallow", "full"])
@pytest.mark.parametrize(("name", "value"), [("title", "theirs"), ("priority", "high")])
def test_a_change_of_what_was_sent_or_is_written_is_one(
    connect: Connect, loopback: NewLoopback, patch: str, name: str, value: str
) -> None:
    server = Acknowledging()
    engine = connect(loopback(server.handle), CHECKED.evolve(patch=patch), id_source="server")
    item = engine.push("notes", {"title": "mine"})
    assert engine.flush(timeout=10).success
    (key,) = server.rows
    server.rows[key][name] = value
    engine.update("notes", item.record_id, {"priority": "middle"})
    assert engine.flush(timeout=10).conflicts == 1
    assert server.rows[key][name] == value
