"""The dialects of large APIs on the page ``connect``: what they ask for, and how they take answers
as the documentation of each API shows them.
"""

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs
import pytest

from bytelyst_sync import Dialect, SyncEngine
from bytelyst_sync.testing import Seen
from tests.protocol.loopback import Loopback
from tests.typed import present

PAGE = (Path(__file__).parents[2] / "docs/connect.rst").read_text("utf-8")
CODE = re.search(r":name: large-apis\n\n((?:(?:   .*)?\n)+)", PAGE)
AT = "2026-05-06T07:08:0{}.000+0000"


@attrs.frozen
class Api:
    """What one API answers: a first and a last page, and a created record."""

    first: Any
    last: Any
    second: str
    """What is asked for after the first page; the body of a POST stands behind it."""
    again: str
    """What the next pull asks for first."""
    created: Any
    sent: Any
    """The body of a create of ``{field: "new"}``."""
    update: str
    """The request line of an update of the record ``a1``."""
    field: str = "title"
    id_field: str = "id"


def hub(key: str, *, archived: bool = False) -> dict[str, Any]:
    return {"id": key, "properties": {"title": key}, "updatedAt": "t", "archived": archived}


def notion(key: str, *, archived: bool = False) -> dict[str, Any]:
    name = {"title": [{"text": {"content": key}, "plain_text": key}]}
    return {"object": "page", "id": key, "archived": archived, "properties": {"Name": name}}


def account(key: str, second: int) -> dict[str, Any]:
    kind = {"type": "Account", "url": f"/sobjects/Account/{key}"}
    return {"attributes": kind, "Id": key, "Name": key, "LastModifiedDate": AT.format(second)}


def ticket(key: int, status: str = "open") -> dict[str, Any]:
    return {"id": key, "subject": str(key), "status": status}


NOTION_TITLE = {"Name": {"title": [{"text": {"content": "new"}}]}}
CURSOR = "SELECT FIELDS(ALL) FROM Account WHERE LastModifiedDate >= {} ORDER BY LastModifiedDate"
EPOCH, LAST = CURSOR.format("1970-01-01T00:00:00.000Z"), CURSOR.format(AT.format(3))
FRAPPE = 'GET /notes?fields=["*"]&order_by=modified asc, name asc'
APIS = {
    "stripe": Api(
        {"object": "list", "data": [{"id": "a1"}, {"id": "a2"}], "has_more": True},
        {"object": "list", "data": [{"id": "a3"}], "has_more": False},
        "GET /notes?starting_after=a2",
        "GET /notes",
        {"id": "new", "object": "note", "title": "new"},
        {"title": "new"},
        "POST /notes/a1",
    ),
    "hubspot": Api(
        {"results": [hub("a1"), hub("a2")], "paging": {"next": {"after": "2", "link": "/x?a=2"}}},
        {"results": [hub("a3"), hub("a4", archived=True)]},
        "GET /notes?after=2",
        "GET /notes",
        hub("new"),
        {"properties": {"title": "new"}},
        "PATCH /notes/a1",
    ),
    "notion": Api(
        {"results": [notion("a1"), notion("a2")], "has_more": True, "next_cursor": "a3"},
        {"results": [notion("a3")], "has_more": False, "next_cursor": None},
        'POST /databases/DATABASE/query {"start_cursor": "a3"}',
        "POST /databases/DATABASE/query {}",
        notion("new"),
        {"parent": {"database_id": "DATABASE"}, "properties": NOTION_TITLE},
        "PATCH /notes/a1",
    ),
    "salesforce": Api(
        {
            "totalSize": 3,
            "done": False,
            "nextRecordsUrl": "/query/01g-2",
            "records": [account("a1", 1), account("a2", 2)],
        },
        {"totalSize": 3, "done": True, "records": [account("a3", 3)]},
        "GET /query/01g-2",
        f"GET /query?q={LAST}",
        {"id": "new", "success": True, "errors": []},
        {"Name": "new"},
        "PATCH /notes/a1",
        field="Name",
        id_field="Id",
    ),
    "zendesk": Api(
        {
            "tickets": [ticket(1), ticket(2)],
            "count": 2,
            "end_of_stream": False,
            "end_time": 1714979289,
            "next_page": "/incremental/notes.json?start_time=1714979289",
        },
        {
            "tickets": [ticket(3), ticket(4, "deleted")],
            "count": 2,
            "end_of_stream": True,
            "end_time": 1714979299,
            "next_page": "/incremental/notes.json?start_time=1714979299",
        },
        "GET /incremental/notes.json?per_page=2&start_time=1714979289",
        "GET /incremental/notes.json?per_page=2&start_time=1714979299",
        {"ticket": ticket(9), "audit": {"id": 4, "ticket_id": 9}},
        {"ticket": {"subject": "new"}},
        "PUT /notes/1.json",
        field="subject",
    ),
    "graph": Api(
        {"value": [{"id": "a1"}, {"id": "a2"}], "@odata.nextLink": "/notes/delta?$skiptoken=t"},
        {
            "value": [{"id": "a3"}, {"id": "a4", "@removed": {"reason": "deleted"}}],
            "@odata.deltaLink": "/notes/delta?$deltatoken=d",
        },
        "GET /notes/delta?$skiptoken=t",
        "GET /notes/delta?$deltatoken=d",
        {"id": "new", "@odata.etag": 'W/"1"'},
        {"title": "new"},
        "PATCH /notes/a1",
    ),
    "frappe": Api(
        {"data": [{"name": f"a{n}", "modified": f"2026-05-06 07:08:0{n}.0"} for n in (1, 2)]},
        {"data": [{"name": "a3", "modified": "2026-05-06 07:08:03.0"}]},
        f"{FRAPPE}&limit_page_length=2&limit_start=2",
        f'{FRAPPE}&filters=[["modified",">=","2026-05-06 07:08:03.0"]]&limit_page_length=2',
        {"data": {"name": "new", "modified": "2026-05-06 07:08:09.0"}},
        {"title": "new"},
        "PUT /notes/a1",
        id_field="name",
    ),
}


@pytest.fixture(scope="module")
def dialects() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(textwrap.dedent(present(CODE)[1]), "docs/connect.rst, large-apis", "exec"), names)
    return names


def test_all_are_tested(dialects: dict[str, Any]) -> None:
    made = {name for name, each in dialects.items() if isinstance(each, Dialect)}
    assert made == {*APIS, "unversioned"}


@pytest.mark.parametrize("name", APIS)
def test_a_large_api(
    dialects: dict[str, Any],
    loopback: Callable[..., Loopback],
    connect: Callable[..., SyncEngine],
    name: str,
) -> None:
    api, dialect = APIS[name], dialects[name]
    by_number = name in ("frappe", "zendesk")
    lists = re.compile(r"POST /databases|GET /(notes(/delta)?(\?|$)|query|incremental)")
    empty = {key: [] if isinstance(value, list) else value for key, value in api.last.items()}
    empty |= {"totalSize": 0} if "totalSize" in empty else {}
    first, opening = [True], list[str]()

    def shown(request: Seen) -> str:
        line = unquote(f"{request.method} {request.target}")
        return f"{line} {json.dumps(request.body)}" if line.startswith("POST /databases") else line

    def handle(request: Seen) -> Any:
        line = shown(request)
        if line == api.second:
            return 200, api.last
        if lists.match(line):
            opening[:] = opening or [line]
            return 200, api.first if first[0] and line == opening[0] else empty
        if request.method == "GET":
            return 404, {"message": "none"}
        return (201, api.created) if api.sent == request.body else (204, None)

    server = loopback(handle)

    def said() -> list[str]:
        return [shown(request) for request in server.requests]

    engine = connect(
        server,
        dialect,
        id_source="server",
        id_field=api.id_field,
        page_size=2 if by_number else None,
    )
    assert engine.pull().success, engine.status.last_error
    assert said()[1] == api.second
    held = {str(row[api.id_field]) for row in engine.records("notes")}
    assert held == ({"1", "2", "3"} if name == "zendesk" else {"a1", "a2", "a3"})
    server.requests.clear()
    first[0] = False
    engine.pull()
    assert said()[0] == api.again
    server.requests.clear()
    item = engine.push("notes", {api.field: "new"})
    assert engine.flush(timeout=10).success, engine.status.last_error
    assert server.requests[-1].body == api.sent
    assert present(engine.get("notes", item.record_id))[api.field]
    unchecked = dialect.evolve(check_before_write=False)
    other = connect(
        server,
        unchecked,
        id_source="server",
        id_field=api.id_field,
        page_size=2 if by_number else None,
    )
    first[0] = True
    assert other.pull().success
    other.update("notes", "1" if name == "zendesk" else "a1", {api.field: "changed"})
    assert other.flush(timeout=10).success, other.status.last_error
    assert said()[-1] == api.update
