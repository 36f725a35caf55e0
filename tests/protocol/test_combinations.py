"""The fields of a dialect combine: on whatever server a combination describes, two clients that
create, update, delete and collide end up with what the server holds.

``Api`` is a server that behaves as its ``Traits`` say, and refuses what does not fit them;
``dialect_of`` names the same traits as a user would. Hypothesis draws the combinations.
"""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, unquote

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bytelyst_sync import (
    Dialect,
    EntityConfig,
    Request,
    SyncItem,
    SyncResult,
    TransportError,
    create_sync_engine,
)
from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json, OperationName
from tests.typed import present

URL = "http://server.invalid/v1"
SIZE = 2
MEETINGS = 12


Answer = tuple[int, Any, Json]
"""Status, body and headers."""


@attrs.frozen(kw_only=True)
class Traits:
    """How an API speaks; each name is that of the fields which say so."""

    wrapper: object = ""
    extra: bool = False
    record: str = ""
    id_field: str = "id"
    server_ids: str | None = None
    """Where a create's answer has the id that the server gave; ``None``: clients give ids."""
    version: str | None = "field"
    place: str | None = "header:If-Match"
    quoted: bool = False
    check: bool = False
    patch: str = "shallow"
    create: str = "POST {endpoint}"
    update: str = "PATCH {endpoint}/{id}"
    delete: str = "DELETE {endpoint}/{id}"
    read: str = "GET {endpoint}/{id}"
    conflict: int = 412
    current: str | None = "current"
    answers: str = "whole"
    items: str = "items"
    item: str = ""
    tombstone: str | None = "deleted"
    cursor: str | None = "body"
    pages: str | None = "more"
    keys: str | None = "Idempotency-Key"
    owned: bool = True
    batch: str | None = None
    lossy: bool = False


def sensible(traits: Traits) -> Traits:
    """The nearest combination that an API can have."""
    traits = with_fitting_pages(traits)
    place = None if traits.version is None else traits.place
    traits = attrs.evolve(traits, place=place, check=place is None)
    return with_room_for_keys(with_fitting_answers(traits))


def with_fitting_pages(traits: Traits) -> Traits:
    """A list has no members beside its elements; without a cursor one cannot go on from it."""
    cursor, pages = traits.cursor, traits.pages
    if traits.items == "":
        cursor = "header" if cursor == "body" else cursor
        pages = "rel" if pages in ("more", "url") else pages
    if cursor is None and pages in ("more", "full"):
        pages = "page"
    return attrs.evolve(traits, cursor=cursor, pages=pages)


def with_fitting_answers(traits: Traits) -> Traits:
    """What an answer is asked for is there, and beside the record, not in it."""
    change: Json = {}
    silent = traits.answers in ("nothing", "text")
    if silent and (traits.server_ids or traits.version == "answer"):
        change["answers"] = "part"
    answers = change.get("answers", traits.answers)
    named = traits.server_ids == traits.id_field and answers != "part"
    beside = (traits.server_ids and not named) or traits.version == "answer"
    if beside and traits.record == "":
        change["record"] = "data"
    if traits.server_ids:
        change["create"] = "POST {endpoint}"
        # without keys a create whose answer is lost is made twice, and nobody can help that
        change["lossy"] = traits.lossy and traits.keys is not None
    return attrs.evolve(traits, **change)


def with_room_for_keys(traits: Traits) -> Traits:
    """A batch that lists only keys cannot say a condition."""
    said_in_headers = (traits.place or "").startswith("header:") or "PUT" in traits.create
    if traits.batch == "key" and (traits.keys is None or said_in_headers):
        return attrs.evolve(traits, batch="headers")
    return traits


def shape_of(traits: Traits) -> BatchFormat | None:
    if traits.batch is None:
        return None
    row = {"verb": "{method}", "to": "{absolute_path}", "send": "{body}", "n": "{number}"}
    row["with" if traits.batch == "headers" else "key"] = (
        "{headers}" if traits.batch == "headers" else "{key}"
    )
    return BatchFormat(
        endpoint="PUT /-/many",
        operations="do.all",
        operation=row,
        answers="done",
        match="n",
        status="code",
        headers="heads",
        body="got",
        size=3,
    )


def dialect_of(traits: Traits) -> Dialect:
    """The traits, as configuration."""
    sources = {"header": "header:X-Rev", "field": "field:meta.rev", "answer": "answer:rev.now"}
    return Dialect(
        create=traits.create,
        update=traits.update,
        delete=traits.delete,
        read=traits.read,
        pull="GET {endpoint}/-/changes",
        patch=traits.patch,
        content_type={"update": "application/x-update+json"},
        answer="any" if traits.answers == "text" else "json",
        body=traits.wrapper,
        extra={"api": 2} if traits.extra else {},
        record=traits.record,
        partial_answer=traits.answers == "part",
        id_in_answer=traits.server_ids,
        items=traits.items,
        item=traits.item,
        query={"limit": SIZE, "sort": "changed"},
        since=None if traits.cursor is None else ("after", "({cursor})"),
        first_cursor=None,
        cursor={"body": "body:at.cursor", "header": "header:X-At", "max": "max:changed"}.get(
            traits.cursor or ""
        ),
        next_page={
            "more": "more:at.more",
            "url": "url:at.next",
            "header": "header:X-Next",
            "rel": "rel:next",
            "page": "page:page",
            "offset": "offset:skip",
            "full": "full:limit",
        }.get(traits.pages or ""),
        # pages and readings have the version in the record
        version=None
        if traits.version is None
        else [*({sources[traits.version]} - {"field:meta.rev"}), "field:meta.rev"],
        send_version=traits.place,
        quote_version=traits.quoted,
        current=traits.current,
        conflict=traits.conflict,
        check_before_write=traits.check,
        tombstone=traits.tombstone,
        server_fields=("changed", "meta") if traits.owned else ("changed",),
        updated_at="changed",
        idempotency=traits.keys,
        batch=shape_of(traits),
        headers={"X-Api": "2"},
    )


class RefusedError(Exception):
    """Ends a request with an error."""

    def __init__(self, status: int, body: Json | None = None) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class Api:
    """The server: a transport. ``lose`` says whether a write's answer is lost once it is done."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.rows: dict[Any, Any] = {}
        self.clock = 0
        self.named = 0
        self.replays: dict[Any, Any] = {}
        self.lost = random.Random(7)
        self.losing = False
        self.complaints: list[Any] = []
        self.batches = 0

    # --- the wire

    def send(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.expect(headers.get("x-api") == "2", "headers")
        target = request.url.removeprefix("http://server.invalid")
        if target == "/v1/-/many":
            self.expect(request.method == "PUT", "batch.endpoint")
            rows = json.loads(present(request.body))["do"]["all"]
            self.expect(1 < len(rows) <= 3, "batch.size")
            self.batches += 1
            answers = [self.part(row) for row in rows]
            status = 200
            body: Any = {"done": answers[::-1]}
            sent: Json = {}
        else:
            given = None if request.body is None else json.loads(request.body)
            status, body, sent = self.handle(request.method, target, headers, given)
        if request.method != "GET" and self.losing and self.lost.random() < 0.4:
            raise TransportError("the answer was lost")
        content = b"" if body is None else body if isinstance(body, bytes) else encoded(body)
        return Response(status, sent, content, request.url)

    def part(self, row: Json) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in row.get("with", {}).items()}
        if "key" in row and self.traits.keys:
            headers[self.traits.keys.lower()] = row["key"]
        if "send" in row and "with" not in row:
            headers["content-type"] = None
        status, body, sent = self.handle(row["verb"], row["to"], headers, row.get("send"))
        body = body.decode() if isinstance(body, bytes) else body
        return {"n": row["n"], "code": status, "heads": sent, "got": body}

    def handle(
        self, method: str, target: str, headers: dict[str, str], body: Json | None
    ) -> Answer:
        path, _, query = target.removeprefix("/v1").partition("?")
        parameters = {name: each[0] for name, each in parse_qs(query).items()}
        if (method, path) == ("GET", "/things/-/changes"):
            found: Answer = self.listing(parameters)
            return found
        key = headers.get((self.traits.keys or "-").lower())
        wrote = method != "GET"
        self.expect(not wrote or (key is None) == (self.traits.keys is None), "idempotency")
        if wrote and key in self.replays:
            result: Answer = self.replays[key]
            return result
        try:
            answer = self.route(method, path, parameters, headers, body)
        except RefusedError as refused:
            answer = (refused.status, refused.body, {})
        if wrote and key is not None:
            self.replays[key] = answer
        return answer

    def expect(self, fits: bool, field: str) -> None:
        """A request that is not as the dialect says is a mistake, not an error of the API."""
        if not fits:
            self.complaints.append(field)

    # --- writes and readings

    def route(
        self, method: str, path: str, query: Json, headers: dict[str, str], body: Json | None
    ) -> Answer:
        for operation in ("create", "update", "delete", "read"):
            verb, template = getattr(self.traits, operation).split(" ")
            start, named, end = template.replace("{endpoint}", "/things").partition("{id}")
            fits = path.startswith(start) and path.endswith(end) if named else path == start
            inner = path[len(start) : len(path) - len(end)] if named else ""
            if verb == method and fits and "/" not in inner and (bool(inner) == bool(named)):
                name = unquote(inner) if named else None
                found: Answer = getattr(self, operation)(name, query, headers, body)
                return found
        self.expect(False, f"no such route: {method} {path}")
        raise RefusedError(405)

    def fields(self, operation: str, body: Json, headers: dict[str, str]) -> Json:
        """The record in a body."""
        typed = "application/x-update+json" if operation == "update" else "application/json"
        self.expect(headers.get("content-type") in (typed, None), "content_type")
        self.expect((body or {}).get("api") == (2 if self.traits.extra else None), "extra")
        wrapper = self.traits.wrapper
        key: Any = wrapper.get(operation, "") if isinstance(wrapper, dict) else wrapper
        self.expect(not key or key in body, "body")
        found = dict(body[key] if key else body)
        found.pop("api", None)
        self.expect("changed" not in found, "server_fields")
        self.expect(not self.traits.owned or "meta" not in found, "server_fields")
        found.pop("meta", None)
        return found

    def condition(self, operation: str, query: Json, headers: dict[str, str], found: Json) -> Any:
        kind, _, name = (self.traits.place or "").partition(":")
        value = {
            "header": headers.get(name.lower()),
            "query": query.get(name),
            "body": found.pop(name, None),
        }.get(kind)
        if kind == "header" and value is not None and self.traits.quoted:
            self.expect(value[:1] == value[-1:] == '"', "quote_version")
            value = value.strip('"')
        return value

    def held(self, name: str, given: str | None = None) -> Json:
        row = self.rows.get(str(name))
        if row is None or row["gone"]:
            raise RefusedError(404, {"error": "nothing there"})
        if given is not None and str(given) != str(row["rev"]):
            raise RefusedError(self.traits.conflict, self.current(row))
        found: Json = row
        return found

    def current(self, row: Json) -> Json:
        at = self.traits.current
        body: Json = {"error": "it has changed"}
        for step in reversed(at.split(".") if at else []):
            assert at is not None
            body = {step: body if step != at.split(".")[-1] else self.shown(row)}
        return body

    def create(self, name: None, query: Json, headers: dict[str, str], body: Json) -> Answer:
        found = self.fields("create", body, headers)
        field = self.traits.id_field
        if self.traits.server_ids:
            self.expect(field not in found, "a create that the server names")
            self.named += 1
            found[field] = self.named
        self.expect(name is None or str(found[field]) == name, "create")
        conditional = headers.get("if-none-match") == "*"
        if self.traits.batch != "key":
            self.expect(conditional == ("PUT" in self.traits.create), "If-None-Match")
        row = self.rows.get(str(found[field]))
        if row is not None and not row["gone"]:
            raise RefusedError(self.traits.conflict, self.current(row))
        return self.stored(201, str(found[field]), found)

    def update(self, name: str, query: Json, headers: dict[str, str], body: Json) -> Answer:
        found = self.fields("update", body, headers)
        given_version = self.condition("update", query, headers, found)
        name = str(found[self.traits.id_field]) if name is None else name
        row = self.held(name, given_version)
        if self.traits.patch == "full":
            self.expect("kept" in found or "kept" not in row["data"], "patch=full")
            return self.stored(200, name, found)
        merge = self.traits.patch == "merge-patch"
        return self.stored(200, name, merged(row["data"], found) if merge else row["data"] | found)

    def delete(
        self, name: str | None, query: Json, headers: dict[str, str], body: Json | None
    ) -> tuple[int, None, Json]:
        found = {} if body is None else self.fields("delete", body, headers)
        given_version = self.condition("delete", query, headers, found)
        name = str(found.pop(self.traits.id_field)) if name is None else name
        found.pop(self.traits.id_field, None)
        self.expect(found == {}, "delete")
        row = self.held(name, given_version)
        self.stored(200, name, row["data"], gone=True)
        return 204, None, {}

    def read(self, name: str, query: Json, headers: dict[str, str], body: None) -> Answer:
        row = self.held(name)
        return 200, self.enveloped(self.shown(row)), self.rev_header(row)

    def stored(self, status: int, name: str, data: Json, *, gone: bool = False) -> Answer:
        self.clock += 1
        rev = self.rows[name]["rev"] + 1 if name in self.rows else 1
        row = {"data": data, "rev": rev, "seq": self.clock, "gone": gone}
        self.rows[name] = row
        kind = self.traits.answers
        if kind == "nothing":
            return 204, None, self.rev_header(row)
        if kind == "text":
            return status, b"done and dusted", self.rev_header(row)
        shown = self.shown(row)
        if kind == "part":
            shown = {name: shown[name] for name in ("changed", "meta") if name in shown}
        if kind == "id":
            shown = {self.traits.id_field: data[self.traits.id_field]}
        body = self.enveloped(shown)
        if self.traits.record:
            body["rev"] = {"now": rev}
            if self.traits.server_ids:
                *outer, last = self.traits.server_ids.split(".")
                place = body
                for step in outer:
                    place = place.setdefault(step, {})
                place[last] = data[self.traits.id_field]
        return status, body, self.rev_header(row)

    def enveloped(self, shown: Json) -> Json:
        if self.traits.record == "rows.0":
            return {"rows": [shown], "count": 1}
        return {self.traits.record: shown} if self.traits.record else dict(shown)

    def rev_header(self, row: Json) -> dict[str, str]:
        return {"x-rev": str(row["rev"])} if self.traits.version == "header" else {}

    def shown(self, row: Json) -> Json:
        versions = self.traits.version is not None
        meta = {"meta": {"rev": row["rev"]}} if versions else {}
        return {**row["data"], **meta, "changed": moment(row["seq"])}

    # --- pulls

    def listing(self, query: Json) -> Any:
        traits = self.traits
        self.expect(query.get("sort") == "changed", "query")
        self.expect((query.get("after") is None) or traits.cursor is not None, "since")
        after = query.get("after", "")[1:-1]
        rows = sorted(self.rows.values(), key=lambda row: row["seq"])
        if traits.tombstone is None:
            rows = [row for row in rows if not row["gone"]]
        if after and traits.cursor == "max":
            rows = [row for row in rows if moment(row["seq"]) >= after]
        elif after:
            rows = [row for row in rows if row["seq"] > int(after)]
        size = SIZE if traits.pages else len(rows)
        start = int(query.get("skip", (int(query.get("page", 1)) - 1) * SIZE))
        window = rows[start : start + size]
        more = len(rows) > start + size
        resumes = traits.pages in ("more", "full")
        at = str(
            window[-1]["seq"]
            if resumes and more
            else max(self.clock, int(after or 0) if traits.cursor != "max" else 0)
        )
        pairs = {name: each for name, each in query.items() if name != "skip"}
        following = "&".join(f"{name}={each}" for name, each in pairs.items())
        link = f"/v1/things/-/changes?{following}&skip={start + SIZE}"
        sent = {}
        if traits.cursor == "header":
            sent["x-at"] = at
        if traits.pages == "header" and more:
            sent["x-next"] = f"http://server.invalid{link}"
        if traits.pages == "rel" and more:
            sent["link"] = f'<{link}>; rel="next"'
        elements = [self.element(row) for row in window]
        if traits.items == "":
            return 200, elements, sent
        body: Json = {"at": {"cursor": at, "more": more, "next": link if more else None}}
        *outer, last = traits.items.split(".")
        place = body
        for step in outer:
            place = place.setdefault(step, {})
        place[last] = elements
        return 200, body, sent

    def element(self, row: Json) -> Json:
        shown = self.shown(row)
        if row["gone"]:
            field = self.traits.id_field
            shown = {field: row["data"][field], "changed": shown["changed"]}
            *outer, last = present(self.traits.tombstone).split(".")
            place = shown
            for step in outer:
                place = place.setdefault(step, {})
            place[last] = True
        return {self.traits.item: shown, "seq": row["seq"]} if self.traits.item else shown


def encoded(body: Json) -> bytes:
    return json.dumps(body).encode()


def moment(seq: int) -> str:
    at = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=seq)
    return at.isoformat()


def merged(target: Json, patch: Json) -> Json:
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


class Client:
    """One engine on the server."""

    def __init__(self, api: Api) -> None:
        traits = self.traits = api.traits
        self.engine = create_sync_engine(
            base_url=URL,
            entities={
                "things": EntityConfig(
                    "/things",
                    id_field=traits.id_field,
                    id_source="server" if traits.server_ids else "client",
                )
            },
            storage=":memory:",
            durability="normal",
            dialect=dialect_of(traits),
            transport=api,
            conflict="merge",
            auto_flush=False,
            probe=None,
            retry_delay=1e-5,
            max_retry_delay=1e-5,
            max_retries=100,
        )

    def push(self, data: Json, operation: OperationName = "create") -> SyncItem | None:
        if "id" in data:
            data = {**data, self.traits.id_field: data["id"]}
            if self.traits.id_field != "id":
                del data["id"]
        return self.engine.push("things", data, operation)

    def meet(self, *, pull: bool = True) -> SyncResult:
        """Sends all, and hears of all."""
        for _ in range(MEETINGS):
            result = self.engine.full_sync(timeout=10) if pull else self.engine.flush(timeout=10)
            if self.traits.tombstone is None and pull:
                self.engine.reconcile("things")
            if result.success:
                return result
        raise AssertionError(self.engine.status.last_error)

    def view(self) -> Json:
        """By the name that the scenario gave; without what the server adds."""
        return {
            each["name"]: {
                name: value for name, value in each.items() if name not in ("meta", "changed")
            }
            for each in self.engine.records("things")
        }


def named(traits: Traits, number: int) -> Json:
    """What a create says of its id."""
    return {} if traits.server_ids else {"id": f"r {number}/ü"}


def scenario(api: Api) -> None:
    """Two clients: apart, in collision, and together again. All that both did is there."""
    traits = api.traits
    one, two = clients = [Client(api), Client(api)]
    try:
        api.losing = traits.lossy
        made = [
            one.push({**named(traits, n), "name": f"n{n}", "kept": n, "tags": {"a": 1}})
            for n in range(5)
        ]
        one.meet(pull=False)
        ids = [
            present(one.engine.get("things", present(item).record_id))[traits.id_field]
            for item in made
        ]
        one.meet()
        two.meet()
        assert set(two.view()) == {f"n{n}" for n in range(5)}
        one.push({"id": ids[0], "title": "by one"}, "update")
        one.push({"id": ids[1], "tags": {"a": 2}}, "update")
        one.push({"id": ids[2]}, "delete")
        one.meet(pull=False)
        two.push({"id": ids[0], "body": "by two"}, "update")
        two.push({"id": ids[3], "title": "by two"}, "update")
        two.push({"id": ids[4]}, "delete")
        two.push({**named(traits, 5), "name": "n5", "tags": {}})
        two.meet()
        one.push({"id": ids[3], "body": "by one"}, "update")
        one.meet()
        two.meet()
        one.meet()
        api.losing = False
        assert one.view() == two.view() == held_by(api)
        view = one.view()
        assert set(view) == {"n0", "n1", "n3", "n5"}
        assert (view["n0"]["title"], view["n0"]["body"]) == ("by one", "by two")
        assert (view["n3"]["title"], view["n3"]["body"]) == ("by two", "by one")
        assert view["n1"]["tags"] == {"a": 2}
        assert [each["kept"] for name, each in sorted(view.items()) if name != "n5"] == [0, 1, 3]
        quiet = [client.engine.full_sync(timeout=10) for client in clients]
        assert [(each.pushed, each.pulled, each.conflicts) for each in quiet] == [(0, 0, 0)] * 2
        assert list(two.engine.conflicts(resolved=True)), "they did collide"
        assert bool(api.batches) == (traits.batch is not None)
        assert api.complaints == []
    finally:
        for client in clients:
            client.engine.close()


def held_by(api: Api) -> Json:
    return {row["data"]["name"]: row["data"] for row in api.rows.values() if not row["gone"]}


CHOICES: dict[str, list[Any]] = {
    "wrapper": ["", "data", {"create": "row", "update": "change"}],
    "extra": [False, True],
    "record": ["", "data", "rows.0"],
    "id_field": ["id", "uid"],
    "server_ids": [None, "id", "objectId", "made.key"],
    "version": ["field", "header", "answer", None],
    "place": ["header:If-Match", "header:X-Base", "body:base", "query:rev", None],
    "quoted": [False, True],
    "patch": ["shallow", "merge-patch", "full"],
    "create": ["POST {endpoint}", "PUT {endpoint}/{id}", "POST {endpoint}/-/insert"],
    "update": ["PATCH {endpoint}/{id}", "PUT {endpoint}/{id}/-/update", "PUT {endpoint}"],
    "delete": ["DELETE {endpoint}/{id}", "POST {endpoint}/-/delete", "POST {endpoint}/{id}/bin"],
    "read": ["GET {endpoint}/{id}", "GET {endpoint}/{id}/-/read"],
    "conflict": [409, 412, 422],
    "current": ["current", "details.existing", None],
    "answers": ["whole", "part", "id", "nothing", "text"],
    "items": ["items", "data.rows", ""],
    "item": ["", "doc"],
    "tombstone": ["deleted", "gone.yes", None],
    "cursor": ["body", "header", "max", None],
    "pages": ["more", "url", "header", "rel", "page", "offset", "full", None],
    "keys": ["Idempotency-Key", "X-Key", None],
    "owned": [True, False],
    "batch": [None, "headers", "key"],
    "lossy": [False, True],
}
ANY = st.builds(Traits, **{name: st.sampled_from(each) for name, each in CHOICES.items()})


@pytest.fixture(autouse=True, scope="module")
def short_backoffs() -> Iterator[None]:
    """What was lost is due again by the next flush."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "random", lambda: 0.5)
        yield


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in CHOICES.items() for value in values],
    ids=str,
)
def test_one_trait_at_a_time(name: str, value: Any) -> None:
    scenario(Api(sensible(Traits(**{name: value}))))


@settings(
    max_examples=200, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate]
)
@given(ANY.map(sensible))
def test_traits_combine(traits: Traits) -> None:
    scenario(Api(traits))
