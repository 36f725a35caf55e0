"""push(key=...): the caller's own idempotency key."""

from typing import Any

import pytest

from bytelyst_sync import EntityConfig, InvalidDataError, ItemState
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import KEYS
from bytelyst_sync.testing import SyncServer
from tests.queue.conftest import Queue
from tests.typed import NewEngine, present

DAY = 86_400.0
REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


@pytest.fixture
def orders(make_queue: type[Queue]) -> Queue:
    return make_queue(
        orders=EntityConfig("/orders"), carts=EntityConfig("/carts", id_source="server")
    )


def test_it_is_sent_as_the_idempotency_key(new_engine: NewEngine, sync_server: SyncServer) -> None:
    engine = new_engine(sync_server.url)
    item = engine.push("notes", {"id": "a"}, key="order-17")
    assert item.id == "order-17"
    assert engine.flush(timeout=10).success
    (request,) = [each for each in sync_server.requests if each.method == "POST"]
    assert request.headers["idempotency-key"] == "order-17"


@pytest.mark.parametrize("entity", ["orders", "carts"])
def test_the_same_key_returns_the_same_item(orders: Queue, entity: str) -> None:
    first = orders.push(entity, {"total": 5}, key="k")
    again = orders.push(entity, {"total": 5}, key="k")
    assert (again.id, again.seq, again.record_id) == (first.id, first.seq, first.record_id)
    named = orders.push(entity, {"id": first.record_id, "total": 5}, key="k")
    assert named.seq == first.seq
    assert len(orders.rows()) == 1


def test_the_same_key_returns_the_same_item_for_30_days_after_delivery(orders: Queue) -> None:
    first = orders.push("orders", {"total": 5}, key="k")
    orders.deliver()
    orders.now += 29 * DAY
    again = orders.push("orders", {"total": 5}, key="k")
    assert again.state is ItemState.SETTLED
    assert (again.id, again.record_id, again.data["id"]) == ("k", first.record_id, first.record_id)
    assert orders.rows() == []
    orders.now += 2 * DAY
    assert orders.push("orders", {"total": 5}, key="k").state is ItemState.PENDING


def test_the_record_is_named_by_the_servers_id_once_that_is_known(orders: Queue) -> None:
    orders.push("carts", {"total": 5}, key="k")
    orders.deliver(server_id=7)
    assert orders.push("carts", {"total": 5}, key="k").record_id == "7"


@pytest.mark.parametrize(
    ("entity", "data", "operation"),
    [
        ("orders", {"id": "a", "total": 6}, "create"),
        ("orders", {"id": "b", "total": 5}, "create"),
        ("orders", {"id": "a", "total": 5}, "update"),
        ("carts", {"id": "a", "total": 5}, "create"),
    ],
    ids=["data", "record", "operation", "entity"],
)
@pytest.mark.parametrize("delivered", [False, True], ids=["queued", "delivered"])
def test_other_content_under_the_key_is_refused(
    orders: Queue, entity: str, data: Json, operation: str, delivered: bool
) -> None:
    orders.push("orders", {"id": "a", "total": 5}, key="k")
    if delivered:
        orders.deliver()
    before = orders.rows()
    with pytest.raises(InvalidDataError, match="the key 'k' names another operation on orders/a"):
        orders.push(entity, data, operation, key="k")
    assert orders.rows() == before


def test_the_key_of_a_cancelled_or_discarded_item_is_free(orders: Queue) -> None:
    first = orders.push("orders", {"id": "a", "total": 5}, key="k")
    assert orders.run(lambda work: orders.control.cancel(work, first.seq))
    second = orders.push("orders", {"id": "b", "total": 6}, key="k")
    orders.settle(orders.claim()[0], REJECTED)
    assert orders.run(lambda work: orders.control.discard_failed(work, [second.id])) == 1
    assert orders.push("orders", {"id": "c", "total": 7}, key="k").record_id == "c"


def test_an_item_with_a_key_is_never_merged(orders: Queue) -> None:
    orders.push("orders", {"id": "a", "n": 1}, key="k")
    orders.push("orders", {"id": "a", "n": 2}, "update")
    orders.push("orders", {"id": "a", "n": 3}, "update", key="l")
    orders.push("orders", {"id": "a"}, "delete")
    operations = [row.operation for row in orders.rows()]
    assert operations == ["create", "update", "update", "delete"]


def test_a_reprocessed_item_gets_a_new_id_and_is_found_by_its_key(orders: Queue) -> None:
    first = orders.push("orders", {"id": "a", "n": 1}, key="k")
    orders.settle(orders.claim()[0], REJECTED)
    orders.run(lambda work: orders.control.reprocess(work, ["k"]))
    row = present(orders.item(first))
    assert row.id != "k"
    assert orders.push("orders", {"id": "a", "n": 1}, key="k").id == row.id


def test_a_key_that_looks_like_an_items_id_is_no_other_item(orders: Queue) -> None:
    first = orders.push("orders", {"id": "a"})
    orders.settle(orders.claim()[0], REJECTED)
    orders.push("orders", {"id": "b"}, key=f"x-{first.seq}")
    assert orders.run(lambda work: orders.control.discard_failed(work, [f"x-{first.seq}"])) == 0


def test_old_keys_are_forgotten_with_time(orders: Queue) -> None:
    for number in range(30):
        orders.push("orders", {"id": str(number)}, key=f"k{number}")
        orders.deliver()
    orders.now += 31 * DAY
    for number in range(3):
        orders.push("orders", {"id": f"n{number}"}, key=f"n{number}")
    assert len(orders.rows(KEYS)) == 3


def test_in_a_transaction(new_engine: NewEngine) -> None:
    engine = new_engine()
    with engine.transaction():
        first = engine.push("notes", {"title": "x"}, key="k")
        again = engine.push("notes", {"title": "x"}, key="k")
    assert (again.id, again.record_id) == ("k", first.record_id)
    assert [item.id for item in engine.queue()] == ["k"]


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "a\n", "x" * 256, 7, b"k"], ids=repr)
def test_bad_keys(new_engine: NewEngine, key: Any) -> None:
    engine = new_engine()
    with pytest.raises(InvalidDataError, match="visible ASCII"):
        engine.push("notes", {"id": "a"}, key=key)
    assert engine.queue_length == 0


def test_the_longest_key(new_engine: NewEngine) -> None:
    assert new_engine().push("notes", {"id": "a"}, key="~" * 255).id == "~" * 255
