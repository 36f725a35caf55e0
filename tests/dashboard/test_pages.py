"""What the pages show, and that they show nothing that is not escaped."""

import configparser
import html
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import SyncEngine, SyncOperation, SyncStatusInfo
from bytelyst_sync.dashboard import ops_app
from bytelyst_sync.dashboard.app import build_app
from bytelyst_sync.dashboard.source import Source
from bytelyst_sync.inspection.snapshot import Snapshot
from bytelyst_sync.model import Json
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.schema import ITEMS, Item, Lane
from bytelyst_sync.storage.sqlite.reads import ReadView
from bytelyst_sync.testing import Reply
from tests.dashboard.client import OPERATOR, Client
from tests.dashboard.conftest import Stage
from tests.typed import Eventually, NewEngine, present

ROOT = Path(__file__).parents[2]
PAGES = [
    *("/", "/queue", "/failed", "/conflicts", "/conflicts/settled", "/ab-testing", "/doctor"),
    "/components",
]
PRIVATE = "text of a payload"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    '" autofocus onfocus=alert(1) x="',
    "&lt;b&gt;&#60;script&#62;",
    "\u202egnp.exe",
    "\u2066\u2069\x07\x1b[31m",
    "a\nb\tc",
    "%3Cscript%3E",
    "${alert(1)}",
    "<!--<script>",
    "]]><script>",
]


@pytest.mark.parametrize("storage", ["app.db", ":memory:"], indirect=True)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_an_empty_store(client: Client, path: str) -> None:
    page = client.get(path)
    assert page.status == 200
    assert page.text.count("<h1>") == 1


@pytest.mark.parametrize("path", PAGES)
def test_a_head_request_has_no_body(client: Client, path: str) -> None:
    page = client.request("HEAD", path)
    assert (page.status, page.body) == (200, b"")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_only_text(client: Client, stage: Stage, hostile: str) -> None:
    # ids with control characters are refused by the engine
    mark = "".join(each for each in hostile if each >= " ")
    record = {"id": f"x{mark}", "title": hostile, f"n{hostile}": {"deep": [hostile]}}
    (item,) = stage.fail(record, error=hostile)
    stage.engine.push("orders", {**record, "id": f"y{mark}"})
    paths = [*PAGES, f"/items/{item.seq}", f"/items/{item.seq}?payload=1",
             "/failed?reason=" + "%3Cscript%3Ealert(1)%3C/script%3E"]  # fmt: skip
    for path in paths:
        text = client.get(path).text
        assert "alert(1)" not in _tags(text), path
        assert "<script>" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
    assert "alert(1)" not in hostile or "alert(1)" in client.get("/failed").text


def _tags(text: str) -> str:
    """The tags of a page, without the values of their attributes."""
    found = []
    for part in text.split("<")[1:]:
        tag, quoted = [], None
        for each in part:
            if quoted is None and each == ">":
                break
            if each in "\"'":
                quoted = None if quoted == each else quoted or each
            elif quoted is None:
                tag.append(each)
        found.append("".join(tag))
    return " ".join(found)


def test_hostile_conflicts_are_only_text(client: Client, stage: Stage) -> None:
    bad = "<script>alert(1)</script>"
    stage.server.put("customers", {"id": bad, "email": "a", bad: bad})
    stage.engine.pull()
    stage.engine.push("customers", {"id": bad, "email": bad, bad: f"{bad}1"}, "update")
    stage.server.patch("customers", bad, {"email": f"{bad}2", bad: f"{bad}3"})
    stage.engine.pull()
    (found,) = stage.engine.conflicts()
    for path in ("/conflicts", f"/conflicts/{found.id}", f"/conflicts/{found.id}?payload=1"):
        assert "<script>" not in client.get(path).text


@pytest.mark.parametrize("name", ["done", "n", "payload", "entity", "state", "after", "reason"])
def test_a_hostile_address_is_only_text(client: Client, stage: Stage, name: str) -> None:
    stage.fail({"id": "1"})
    for path in ("/queue", "/failed"):
        page = client.get(f"{path}?{name}=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
        assert page.status == 200
        assert "<script>" not in page.text


def test_the_state_in_words(client: Client, stage: Stage, engine: SyncEngine) -> None:
    assert "Everything is delivered" in client.get().words
    engine.push("orders", {"id": "1"})
    assert "1 change waits" in client.get().words
    engine.flush(10)
    stage.fail({"id": "2"})
    assert "1 change needs a decision" in client.get().words
    engine.pause()
    assert "Paused" in client.get().words


def test_offline_is_said(client: Client, stage: Stage, engine: SyncEngine) -> None:
    engine.push("orders", {"id": "1"})
    with stage.server.outage():
        engine.flush(10)
        assert "Offline, 1 change waits" in client.get().words


def test_beside_another_program_nothing_is_said_that_is_not_known(
    engine: SyncEngine, stage: Stage
) -> None:
    app = build_app(Source(engine, beside=True), lambda _: OPERATOR)
    words = Client(app).get().words
    assert "They cannot know whether the server is reachable" in words
    assert "Delivered per minute" not in words
    metrics = Client(app).get("/metrics").text
    assert "bytelyst_sync_online" not in metrics
    assert "bytelyst_sync_queue_length 0" in metrics


def test_the_queue_is_read_page_by_page(client: Client, engine: SyncEngine) -> None:
    engine.push_many("orders", [{"id": f"{n:04}"} for n in range(120)])
    seen: list[str] = []
    path: str | None = "/queue"
    while path:
        page = client.get(path)
        seen += [part.partition("</bdi>")[0] for part in page.text.split("<span><bdi>")[1:]]
        more = [
            part.partition('"')[0]
            for part in page.text.split('href="')[1:]
            if "after=" in part.partition('"')[0] and "Next page" in part.partition("</a>")[0]
        ]
        path = html.unescape(more[0]) if more else None
    assert seen == [f"{n:04}" for n in range(120)]
    assert "50 of 120 changes shown" in client.get("/queue").words


def test_the_queue_by_entity_and_state(client: Client, stage: Stage, engine: SyncEngine) -> None:
    engine.push("orders", {"id": "1"})
    engine.push("customers", {"id": "2"})
    assert "1 of 1 change shown" in client.get("/queue?entity=orders").words
    assert "Nothing matches" in client.get("/queue?state=retrying").words


def test_an_item_says_what_it_waits_for(client: Client, stage: Stage, engine: SyncEngine) -> None:
    (first,) = stage.fail({"id": "1"})
    later = engine.push("orders", {"id": "1", "n": 1}, SyncOperation.UPDATE, key="k")
    page = client.get(f"/items/{later.seq}")
    assert "Waits for" in page.words
    assert f"/ops/items/{first.seq}" in page.text


def test_a_page_that_is_not_there(client: Client) -> None:
    page = client.get("/nothing")
    assert page.status == 404
    assert "Not found" in page.words
    assert 'href="/ops/"' in page.text
    for path in ("/items/999999", "/conflicts/999999"):
        assert client.get(path).status == 404
    for path in ("/items/x", "/items/" + "9" * 30, "/conflicts/-1", "/items/٣"):
        assert client.request("GET", path).status == 404


def test_an_error_has_a_reference_that_the_log_has(
    client: Client,
    engine: SyncEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Snapshot | SyncStatusInfo) -> None:
        raise RuntimeError(PRIVATE)

    monkeypatch.setattr("bytelyst_sync.dashboard.pages.overview.health", broken)
    monkeypatch.setattr("bytelyst_sync.dashboard.pages.overview._entities", broken)
    with caplog.at_level(logging.ERROR, logger="bytelyst_sync.dashboard"):
        page = client.get()
        again = client.get()
    assert page.status == 500
    reference = page.text.partition("<code>")[2].partition("</code>")[0]
    assert f"(reference {reference})" in caplog.text
    assert "RuntimeError" in caplog.text
    assert PRIVATE not in caplog.text + page.text
    assert "Traceback" not in page.text
    assert f"<code>{reference}</code>" in again.text


def test_metrics_are_of_prometheus_format(client: Client, stage: Stage, engine: SyncEngine) -> None:
    stage.fail({"id": "1"})
    engine.push("orders", {"id": "2"})
    page = client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = page.text.splitlines()
    assert 'bytelyst_sync_items{entity="orders",state="failed"} 1' in lines
    assert "bytelyst_sync_queue_length 1" in lines
    assert "bytelyst_sync_failed 1" in lines
    status = [line for line in lines if line.startswith("bytelyst_sync_status{")]
    assert sum(line.endswith(" 1") for line in status) == 1
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    values = [line for line in lines if not line.startswith("#")]
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in values)


def test_the_doctor_checks_everything_when_asked(client: Client, stage: Stage) -> None:
    assert "SQLite" in client.get("/doctor").words
    page = client.post("/doctor")
    assert page.status == 200
    assert "every page of the store is sound" in page.words
    assert "it fits" in page.words
    assert "every page of the store is sound" not in client.get("/doctor").words


# --- asking for changes


@pytest.mark.parametrize("storage", ["app.db", ":memory:"], indirect=True)
@pytest.mark.parametrize("path", ["/queue", "/failed", "/conflicts", "/conflicts/settled"])
def test_a_poll_is_empty_until_something_changes(
    client: Client, stage: Stage, engine: SyncEngine, path: str
) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    same = client.get(path, if_none_match=tag)
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
    engine.push("orders", {"id": "1"})
    changed = client.get(path, if_none_match=tag)
    assert changed.status == 200
    assert changed.headers["etag"] != tag
    tag = changed.headers["etag"]
    stage.server.script(Reply(422, {"error": "no"}), match="POST /orders")
    engine.flush(10)
    assert client.get(path, if_none_match=tag).status == 200


def test_another_actor_or_address_has_another_tag(engine: SyncEngine) -> None:
    actors = [OPERATOR]
    client = Client(ops_app(engine, authorize=lambda _: actors[-1]))
    tag = client.get("/queue").headers["etag"]
    assert client.get("/queue?entity=orders", if_none_match=tag).status == 200
    actors.append(type(OPERATOR)("eve", ["view"]))
    assert client.get("/queue", if_none_match=tag).status == 200


def test_a_commit_of_another_process_is_noticed(
    client: Client, engine: SyncEngine, storage: str, new_engine: NewEngine
) -> None:
    tag = client.get("/queue").headers["etag"]
    other = new_engine(entities={"orders": "/orders"}, storage=storage)
    other.push("orders", {"id": "from elsewhere"})
    page = client.get("/queue", if_none_match=tag)
    assert page.status == 200
    assert "from elsewhere" in page.words


def test_samples_become_a_chart_with_a_table(
    client: Client, engine: SyncEngine, eventually: Eventually
) -> None:
    engine.push("orders", {"id": "1"})
    client.get()
    site = client.app.site
    eventually(lambda: site.history.version >= 1)
    site.history.sample()
    text = client.get().text
    assert 'aria-label="Queue: now 1 changes, at most 1"' in text
    assert 'id="chart-queue-table"' in text


def test_the_thread_of_the_pages_ends_with_the_engine(client: Client, engine: SyncEngine) -> None:
    client.get()
    background = client.app.site.background
    thread = background._thread
    assert background.running
    assert present(thread).is_alive()
    engine.close()
    assert not background.running
    assert not thread.is_alive()


# --- what they cost


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Counts the rows that are read from a file."""
    numbers = []
    scan = ReadView.scan

    def counted(view: ReadView, *arguments: Any, **options: Any) -> Iterator[Item]:
        for row in scan(view, *arguments, **options):
            numbers.append(1)
            yield row

    monkeypatch.setattr(ReadView, "scan", counted)
    return numbers


def test_a_page_reads_as_much_of_a_long_queue_as_of_a_short_one(
    client: Client, engine: SyncEngine, rows_read: list[Any]
) -> None:
    pages = [*PAGES, "/queue?entity=orders", "/queue?state=ready", "/metrics"]

    def costs() -> Json:
        found = {}
        for path in pages:
            rows_read.clear()
            assert client.get(path).status == 200
            found[path] = len(rows_read)
        return found

    engine.push_many("orders", [{"id": f"a{n}"} for n in range(200)])
    few = costs()
    engine.push_many("orders", [{"id": f"b{n}"} for n in range(4000)])
    assert costs() == few
    assert max(few.values()) > 50


def test_a_page_of_many_failed_items_examines_a_bounded_number(
    client: Client, engine: SyncEngine, rows_read: list[Any]
) -> None:
    engine.push_many("orders", [{"id": f"{n}"} for n in range(2500)])
    engine._core.write(_fail_all)
    rows_read.clear()
    page = client.get("/failed?reason=another")
    assert len(rows_read) < 2100
    assert "None of the first 2,000 failed changes matches" in page.words
    assert "after=" in page.text


def _fail_all(work: UnitOfWork, _: Runtime) -> None:
    for item in list(work.tx.scan(ITEMS, None)):
        work.tx.replace(ITEMS, item, item._replace(lane=Lane.FAILED, error="HTTP 422: no"))


# --- what is installed


def test_every_file_of_the_pages_is_in_the_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["bytelyst_sync.dashboard"].split()
    folder = ROOT / "bytelyst_sync/dashboard"
    packed = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    files = {
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert packed == files
    assert len(files) > 15


def test_vendored_code_is_named_with_its_licence() -> None:
    text = (ROOT / "bytelyst_sync/dashboard/static/LICENSES.txt").read_text("utf-8")
    names = {path.name for path in (ROOT / "bytelyst_sync/dashboard/static/vendor").iterdir()}
    assert all(f"vendor/{name}" in text for name in names)
    assert "Zero-Clause BSD" in text
    assert "ISC License" in text
