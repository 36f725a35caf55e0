"""What is decided on the pages: retry, repair, discard and undo, cancel, resolve, recover."""

import json

import pytest

from bytelyst_sync import SyncEngine
from bytelyst_sync.dashboard import Actor, ops_app
from bytelyst_sync.dashboard.holds import HELD_S
from bytelyst_sync.testing import ManualClock, Reply, SyncServer
from tests.dashboard.client import OPERATOR, Client
from tests.dashboard.conftest import Stage
from tests.typed import Eventually, NewEngine

REFUSAL = Reply(422, {"error": "still wrong"})


def failed_ids(engine: SyncEngine) -> set[str]:
    return {item.record_id for item in engine.failed()}


def test_failed_items_are_shown_with_their_reasons(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"}, {"id": "2"})
    stage.fail({"id": "3"}, error="no such customer")
    page = client.get("/failed")
    assert "2 HTTP 422 'title is too long'" in page.words
    assert "1 HTTP 422 'no such customer'" in page.words
    only = client.get("/failed?reason=HTTP+422+%27no+such+customer%27")
    assert len(only.values("shown")) == 1


def test_a_field_of_the_payload_filters(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1", "customer": {"id": 7}}, {"id": "2", "customer": {"id": 8}})
    page = client.get("/failed?field=customer.id&equals=8")
    assert page.values("shown") == client.get("/failed").values("shown")[1:]
    assert "Nothing matches" in client.get("/failed?field=customer.name&equals=8").words


def test_secrets_cannot_be_guessed_by_filtering(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1", "auth": {"password": "hunter2"}})
    assert client.get("/failed?field=auth.password&equals=hunter2").values("shown") == []


def test_filtering_by_payload_needs_its_right(engine: SyncEngine, stage: Stage) -> None:
    stage.fail({"id": "1", "n": 1})
    client = Client(ops_app(engine, authorize=lambda _: Actor("eve", ("view", "operate"))))
    assert client.get("/failed?field=n&equals=1").status == 403
    assert client.get("/failed").status == 200


def test_selected_items_are_retried(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"}, {"id": "2"})
    seen = client.get("/failed").values("seen")
    answer = client.post("/failed", {"action": "retry", "seen": seen[0]})
    assert answer.status == 303
    assert "1 change queued again" in client.get(answer.location).words
    assert failed_ids(stage.engine) == {"2"}
    assert stage.engine.flush(10).pushed == 1
    assert set(stage.server.records("orders")) == {"1"}


def test_nothing_selected_changes_nothing(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"})
    for action in ("retry", "discard", "else", ""):
        answer = client.post("/failed", {"action": action})
        assert "Nothing was selected" in client.get(answer.location).words
    assert failed_ids(stage.engine) == {"1"}


def test_what_failed_after_the_page_was_loaded_survives(
    client: Client, stage: Stage, eventually: Eventually
) -> None:
    stage.fail({"id": "1"})
    shown = client.get("/failed").values("shown")
    stage.fail({"id": "2"})
    client.post("/failed", [("action", "discard-shown"), *(("shown", each) for each in shown)])
    eventually(lambda: failed_ids(stage.engine) == {"2"}, timeout=HELD_S + 10)


def test_what_changed_since_it_was_seen_is_left_alone(client: Client, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1"})
    seen = client.get("/failed").values("seen")
    stage.engine.reprocess_failed([item.id], data={"id": "1", "title": "new"})
    stage.server.script(REFUSAL, match="POST /orders")
    stage.engine.flush(10)
    answer = client.post("/failed", {"action": "retry", "seen": seen[0]})
    assert "1 change left alone" in client.get(answer.location).words
    assert failed_ids(stage.engine) == {"1"}


def test_a_discard_is_held_and_can_be_undone(
    client: Client, stage: Stage, engine: SyncEngine
) -> None:
    stage.fail({"id": "1"})
    answer = client.post(
        "/failed", {"action": "discard", "seen": client.get("/failed").values("seen")[0]}
    )
    page = client.get(answer.location)
    assert "1 failed change will be discarded in a few seconds" in page.words
    assert page.values("seen") == []
    (undo,) = {
        part.partition('"')[0] for part in page.text.split('action="')[1:] if "/held/" in part
    }
    # another process may serve the answer: the hold is in the store
    other = Client(ops_app(engine, authorize=lambda _: OPERATOR))
    undone = other.post(undo)
    assert "Undone" in other.get(undone.location).words
    assert failed_ids(stage.engine) == {"1"}
    assert "Too late" in other.get(other.post(undo).location).words


def test_a_discard_takes_the_later_changes_that_were_shown(
    client: Client, stage: Stage, eventually: Eventually
) -> None:
    stage.fail({"id": "1", "title": "a"})
    stage.engine.push("orders", {"id": "1", "title": "b"}, "update", key="later")
    page = client.get("/failed")
    assert "with 1 later change" in page.words
    stage.engine.push("orders", {"id": "1", "title": "c"}, "update", key="not-shown")
    client.post("/failed", {"action": "discard", "seen": page.values("seen")[0]})
    # one more than the page has shown waits behind it: it is not the item that was seen
    assert "with 2 later changes" in client.get("/failed").words
    eventually(lambda: "will be discarded" not in client.get("/failed").words, HELD_S + 10)
    assert failed_ids(stage.engine) == {"1"}


def test_a_discard_that_was_missed_is_dropped(
    server: SyncServer, storage: str, stage: Stage, new_engine: NewEngine
) -> None:
    clock = ManualClock()
    engine = new_engine(server.url, entities={"orders": "/orders"}, clock=clock)
    server.script(REFUSAL, match="POST /orders")
    engine.push("orders", {"id": "1"})
    engine.flush(10)
    app = ops_app(engine, authorize=lambda _: OPERATOR)
    client = Client(app)
    (seen,) = client.get("/failed").values("seen")
    client.post("/failed", {"action": "discard", "seen": seen})
    assert app.site.holds.finish_due() is not None
    clock.advance(HELD_S + 61)
    assert app.site.holds.finish_due() is None
    assert len(list(engine.failed())) == 1
    assert app.site.holds.pending() == []


def test_data_is_edited_and_sent(client: Client, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1", "title": "long", "price": 1.10, "api_token": "s3cr3t"})
    page = client.get(f"/items/{item.seq}?payload=1")
    assert "s3cr3t" not in page.text
    (seen,) = set(page.values("seen"))
    data = {"id": "1", "title": "short", "price": 1.1, "api_token": "[redacted]"}
    answer = client.post(f"/items/{item.seq}/repair", {"seen": seen, "data": json.dumps(data)})
    assert answer.status == 303
    stage.engine.flush(10)
    sent = stage.server.records("orders")["1"]
    assert (sent["title"], sent["api_token"]) == ("short", "s3cr3t")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("{", "this is no JSON"),
        ("[1]", "the record is a JSON object"),
        ('{"id": "2"}', "carries another id"),
        ('{"id": "1", "other": "[redacted]"}', "stands for a value that is not shown"),
        ('{"id": "1", "x": NaN}', "NaN"),
    ],
)
def test_a_wrong_edit_is_refused_and_kept(
    client: Client, stage: Stage, typed: str, says: str
) -> None:
    (item,) = stage.fail({"id": "1", "password": "p"})
    (seen,) = set(client.get(f"/items/{item.seq}?payload=1").values("seen"))
    page = client.post(f"/items/{item.seq}/repair", {"seen": seen, "data": typed})
    assert page.status == 400
    assert says.lower() in page.words.lower()
    assert typed in page.words
    assert failed_ids(stage.engine) == {"1"}


def test_values_are_hidden_until_they_are_asked_for(client: Client, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1", "title": "very private", "lines": [{"sku": "A"}]})
    hidden = client.get(f"/items/{item.seq}")
    assert "very private" not in hidden.text
    assert "sku" in hidden.text
    assert "very private" in client.get(f"/items/{item.seq}?payload=1").text


def test_values_are_not_shown_without_the_right(engine: SyncEngine, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1", "title": "very private"})
    found = stage.conflict()
    eve = Client(ops_app(engine, authorize=lambda _: Actor("eve", ("view", "operate"))))
    assert "very private" not in eve.get(f"/items/{item.seq}?payload=1").text
    assert "here@example.com" not in eve.get(f"/conflicts/{found.id}?payload=1").text
    answer = eve.post(f"/items/{item.seq}/repair", {"data": '{"id": "1"}'})
    assert answer.status == 403


def test_a_queued_change_is_taken_back(client: Client, stage: Stage) -> None:
    item = stage.engine.push("orders", {"id": "5", "title": "x"})
    page = client.get(f"/items/{item.seq}")
    (seen,) = set(page.values("seen"))
    answer = client.post(f"/items/{item.seq}/cancel", {"seen": seen})
    assert "The change was taken back" in client.get(answer.location).words
    assert stage.engine.queue_length == 0
    gone = client.get(f"/items/{item.seq}")
    assert gone.status == 404
    assert "no longer in the queue" in gone.words


def test_a_change_that_was_merged_since_is_not_taken_back(client: Client, stage: Stage) -> None:
    item = stage.engine.push("orders", {"id": "5", "title": "x"})
    (seen,) = set(client.get(f"/items/{item.seq}").values("seen"))
    stage.engine.push("orders", {"id": "5", "title": "y"}, "update")
    answer = client.post(f"/items/{item.seq}/cancel", {"seen": seen})
    assert "not taken back" in client.get(answer.location).words
    assert stage.engine.queue_length == 1


# --- conflicts


def test_a_conflict_is_decided_by_field(client: Client, stage: Stage) -> None:
    found = stage.conflict()
    page = client.get(f"/conflicts/{found.id}")
    assert "Choose a side for email" in page.words
    merged = client.get(f"/conflicts/{found.id}?payload=1&field.email=local")
    assert '"email": "here@example.com"' in merged.words
    assert '"city": "Bergen"' in merged.words
    assert '"phone": "555"' in merged.words
    (seen,) = page.values("seen")
    pairs = {"seen": seen, "action": "merged", "field.email": "local", "field.city": "local"}
    answer = client.post(f"/conflicts/{found.id}", pairs)
    assert "The conflict is settled" in client.get(answer.location).words
    assert stage.engine.flush(10).success
    record = stage.server.records("customers")["c-7"]
    assert record["email"] == "here@example.com"
    assert (record["city"], record["phone"]) == ("Bergen", "555")


@pytest.mark.parametrize(("side", "email"), [("local", "here"), ("remote", "there")])
def test_one_side_is_taken_as_a_whole(client: Client, stage: Stage, side: str, email: str) -> None:
    found = stage.conflict()
    (seen,) = client.get(f"/conflicts/{found.id}").values("seen")
    client.post(f"/conflicts/{found.id}", {"seen": seen, "action": side})
    stage.engine.flush(10)
    assert stage.server.records("customers")["c-7"]["email"] == f"{email}@example.com"


@pytest.mark.parametrize("choice", ["", "base", "nonsense"])
def test_a_field_without_a_choice_is_named(client: Client, stage: Stage, choice: str) -> None:
    found = stage.conflict()
    (seen,) = client.get(f"/conflicts/{found.id}").values("seen")
    pairs = {"seen": seen, "action": "merged", "field.email": choice}
    page = client.post(f"/conflicts/{found.id}", pairs)
    assert page.status == 400
    assert "choose a side for email" in page.words
    assert len(list(stage.engine.conflicts())) == 1


def test_a_conflict_that_changed_since_is_left_alone(client: Client, stage: Stage) -> None:
    found = stage.conflict()
    (seen,) = client.get(f"/conflicts/{found.id}").values("seen")
    stage.server.patch("customers", "c-7", {"email": "again@example.com"})
    stage.engine.pull()
    client.post(f"/conflicts/{found.id}", {"seen": seen, "action": "local"})
    assert len(list(stage.engine.conflicts())) == 1


@pytest.mark.parametrize(("side", "email"), [("local", "here"), ("remote", "there")])
def test_a_settled_conflict_is_recovered(
    client: Client, stage: Stage, side: str, email: str
) -> None:
    found = stage.conflict()
    stage.engine.resolve(found, "remote" if side == "local" else "local")
    stage.engine.flush(10)
    assert "c-7" in client.get("/conflicts/settled").words
    page = client.get(f"/conflicts/{found.id}")
    assert "Recover a side" in page.words
    answer = client.post(f"/conflicts/{found.id}/recover", {"side": side})
    assert "queued again" in client.get(answer.location).words
    stage.engine.flush(10)
    assert stage.server.records("customers")["c-7"]["email"] == f"{email}@example.com"


def test_an_open_conflict_is_not_recovered(client: Client, stage: Stage) -> None:
    found = stage.conflict()
    assert client.post(f"/conflicts/{found.id}/recover", {"side": "local"}).status == 400
    assert client.post("/conflicts/999/recover", {"side": "local"}).status == 400
