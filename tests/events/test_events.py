"""Each event of the list: when it is told, how often, and with what in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from bytelyst_sync import Dialect, EntityConfig, Request, SyncEngine, TelemetryEvent
from bytelyst_sync.errors import OfflineError, TransportError
from bytelyst_sync.events.telemetry import EVENTS, OUTCOMES
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json, OperationName
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.testing import ManualClock
from tests.events.conftest import Collected
from tests.typed import NewPage, present

FIELDS = ("entity", "operation", "count", "duration", "status", "outcome")


def reported(event: TelemetryEvent) -> Json:
    """What an event has, but its name and time."""
    return {
        name: value
        for name in FIELDS
        if (value := getattr(event, name)) is not None and (name, value) != ("count", 1)
    }


def of_commit(event: TelemetryEvent) -> Json:
    """The same of an event whose duration is that of a commit: no time passes in one here."""
    values = reported(event)
    assert values.pop("duration") == 0.0
    return values


# --- pushed, coalesced


def test_a_push(engine: Callable[..., SyncEngine], events: Collected, clock: ManualClock) -> None:
    engine().push("notes", {"id": "1"})
    (event,) = events.of("pushed")
    assert of_commit(event) == {"entity": "notes", "operation": "create"}
    assert event.time == clock.now


def test_pushes_of_one_commit_are_one_event_for_each_entity_and_operation(
    engine: Callable[..., SyncEngine], events: Collected
) -> None:
    writer = engine(entities={"notes": "/notes", "tasks": "/tasks"})
    with writer.transaction():
        writer.push("notes", {"id": "1"})
        writer.push("tasks", {"id": "1"})
        writer.push("notes", {"id": "2"})
        writer.delete("notes", "3")
    assert [of_commit(event) for event in events.of("pushed", 3)] == [
        {"entity": "notes", "operation": "create", "count": 2},
        {"entity": "tasks", "operation": "create"},
        {"entity": "notes", "operation": "delete"},
    ]


def test_a_push_that_is_refused_is_none(
    engine: Callable[..., SyncEngine], events: Collected
) -> None:
    writer = engine(max_queue_length=1)
    writer.push("notes", {"id": "1"})
    with pytest.raises(Exception, match="max_queue_length"):
        writer.push_many("notes", [{"id": "2"}, {"id": "3"}])
    writer.close()
    assert [event.count for event in events.of("pushed")] == [1]


def test_pushes_that_meet_a_queued_one(
    engine: Callable[..., SyncEngine], events: Collected
) -> None:
    writer = engine()
    writer.push("notes", {"id": "1"})
    writer.push("notes", {"id": "1", "a": 1}, "update")
    writer.delete("notes", "1")
    assert [of_commit(event) for event in events.of("coalesced", 2)] == [
        {"entity": "notes", "operation": "update"},
        {"entity": "notes", "operation": "delete"},
    ]
    assert len(events.of("pushed")) == 1


def test_equal_content_meets(engine: Callable[..., SyncEngine], events: Collected) -> None:
    writer = engine(entities={"notes": EntityConfig("/notes", dedup="content")})
    for _ in range(3):
        writer.push("notes", {"title": "the same"})
    assert len(events.of("coalesced", 2)) == 2
    assert len(events.of("pushed")) == 1


# --- sent, delivered


def test_a_delivery(
    engine: Callable[..., SyncEngine],
    events: Collected,
    clock: ManualClock,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    writer = engine(answer(201, seconds=0.25))
    writer.push("notes", {"id": "1"})
    clock.advance(60)
    writer.flush(10)
    (sent,) = events.of("sent")
    assert reported(sent) == {
        "entity": "notes",
        "operation": "create",
        "duration": pytest.approx(0.25),
        "status": 201,
        "outcome": "delivered",
    }
    (delivered,) = events.of("delivered")
    assert reported(delivered) == {
        "entity": "notes",
        "operation": "create",
        "duration": pytest.approx(60.25),
    }


def test_the_duration_of_several_deliveries_is_their_mean(
    engine: Callable[..., SyncEngine], events: Collected, clock: ManualClock
) -> None:
    writer = engine(batch_answer(201, 201), dialect=Dialect.kinto())
    writer.push("notes", {"id": "1"})
    clock.advance(30)
    writer.push("notes", {"id": "2"})
    clock.advance(10)
    writer.flush(10)
    (delivered,) = events.of("delivered")
    assert delivered.count == 2
    assert delivered.duration == pytest.approx((40 + 10) / 2)


def test_the_outcomes_are_those_of_the_rules() -> None:
    of_rules = {meaning.name.lower() for meaning in Verdict} - {"state", "lookup", "not_sent"}
    assert set(OUTCOMES) == of_rules | {"mixed", "split"}


ANSWERS: dict[str, Any] = {
    "gone": (404, None),
    "conflict": (409, {"current": {"id": "1", "a": 5}}),
    "rejected": (422, {"error": "no"}),
    "server_error": (500, None),
    "busy": (429, None),
    "outage": (502, None),
    "credentials": (401, None),
    "mapping": None,
    "redirect": (302, None),
    "unknown": TransportError("lost"),
    "unclear": None,
    "found": None,
    "offline": OfflineError("nobody there"),
    "portal": None,
}


def test_every_outcome_is_tried_here() -> None:
    assert set(ANSWERS) | {"delivered", "mixed", "split"} == set(OUTCOMES)


@pytest.mark.parametrize("outcome", [name for name, given in ANSWERS.items() if given is not None])
def test_what_a_request_came_to(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
    page: NewPage,
    outcome: str,
) -> None:
    given = ANSWERS[outcome]
    last = given if isinstance(given, Exception) else answer(*given, location="/elsewhere")
    # that a record is gone is confirmed by the listing, and by a second try
    more = [page({"id": "2"}), last] if outcome == "gone" else []
    writer = engine(page({"id": "1", "a": 1, "version": "v1"}), last, *more)
    writer.pull()
    writer.push("notes", {"id": "1", "a": 2}, "update")
    writer.flush(10)
    (sent,) = events.of("sent")
    assert sent.outcome == outcome
    assert sent.status == (None if isinstance(given, Exception) else given[0])


@pytest.mark.parametrize(
    ("outcome", "operation", "verified"),
    [("unclear", "create", True), ("mapping", "update", True), ("portal", "create", False)],
)
def test_what_a_request_came_to_that_had_no_json(
    engine: Callable[..., SyncEngine],
    events: Collected,
    outcome: str,
    operation: OperationName,
    verified: bool,
) -> None:
    page = Response(200, {"content-type": "text/html"}, b"<html>", "", verified)
    writer = engine(page)
    writer.push("notes", {"id": "1"}, operation)
    writer.flush(10)
    (sent,) = events.of("sent")
    assert (sent.outcome, sent.status) == (outcome, 200)


def test_a_record_that_a_lookup_finds(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    page = Response(201, {"content-type": "text/html"}, b"<html>", "", verified=True)
    dialect = Dialect(lookup="GET {endpoint}?client_ref={key}")
    writer = engine(page, answer(200, {"items": [{"id": "1", "a": 1}]}), dialect=dialect)
    writer.push("notes", {"id": "1", "a": 1})
    writer.flush(10)
    (sent,) = events.of("sent")
    assert (sent.outcome, sent.status) == ("found", 200)
    assert len(events.of("delivered")) == 1


def test_a_record_that_is_read_first_is_not_sent(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    dialect = Dialect(patch="full", update="PUT {endpoint}/{id}")
    writer = engine(answer(200, {"id": "1", "a": 1, "b": 2}), dialect=dialect)
    writer.push("notes", {"id": "1", "a": 2}, "update")
    writer.flush(10)
    writer.flush(10)
    assert len(events.of("delivered")) == 1
    assert len(events.of("sent")) == 1
    assert writer.stats().requests == 1


# --- batches


def batch_answer(*statuses: int) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        asked = json.loads(present(request.body))["requests"]
        shares = [
            {
                "status": status,
                "path": each["path"],
                "body": {"data": each["body"]["data"]},
                "headers": {},
            }
            for status, each in zip(statuses, asked, strict=True)
        ]
        return Response(200, {}, json.dumps({"responses": shares}).encode(), "")

    return respond


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [((201, 201), "delivered"), ((201, 403), "mixed"), ((403, 403), "rejected")],
)
def test_a_batch_is_one_request(
    engine: Callable[..., SyncEngine], events: Collected, statuses: tuple[int, int], outcome: str
) -> None:
    writer = engine(
        batch_answer(*statuses), dialect=Dialect.kinto(), entities={"a": "/a", "b": "/b"}
    )
    with writer.transaction():
        writer.push("a", {"id": "1"})
        writer.push("b", {"id": "1"})
    writer.flush(10)
    (sent,) = events.of("sent")
    assert reported(sent) == {
        "operation": "create",
        "count": 2,
        "duration": 0.0,
        "outcome": outcome,
    }


def test_a_batch_that_is_split(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    writer = engine(answer(400, {"error": "no"}), dialect=Dialect.kinto())
    writer.push_many("notes", [{"id": str(number)} for number in range(4)])
    writer.flush(10)
    outcomes = [(event.count, event.outcome) for event in events.of("sent", 7)]
    assert sorted(outcomes) == [*[(1, "rejected")] * 4, *[(2, "split")] * 2, (4, "split")]


# --- retried, failed


def test_a_retry(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    writer = engine(answer(500), retry_delay=8.0)
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    (retried,) = events.of("retried")
    assert reported(retried) == {
        "entity": "notes",
        "operation": "create",
        "status": 500,
        "duration": pytest.approx(4.0),
    }


def test_a_try_that_is_spent_on_no_answer_has_no_status(
    engine: Callable[..., SyncEngine], events: Collected
) -> None:
    writer = engine(TransportError("lost"))
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    (retried,) = events.of("retried")
    assert retried.status is None


@pytest.mark.parametrize("status", [429, 503])
def test_busy_spends_no_retry(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
    status: int,
) -> None:
    writer = engine(answer(status, **{"retry-after": "60"}))
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    writer.close()
    assert len(events.of("sent")) == 1
    assert [event.name for event in events.all if event.name in ("retried", "failed")] == []


def test_a_refusal(
    engine: Callable[..., SyncEngine],
    events: Collected,
    clock: ManualClock,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    writer = engine(answer(403, {"error": "no"}))
    writer.push("notes", {"id": "1"})
    clock.advance(7)
    writer.flush(10)
    (failed,) = events.of("failed")
    assert reported(failed) == {
        "entity": "notes",
        "operation": "create",
        "status": 403,
        "duration": pytest.approx(7.0),
    }


def test_an_outage_that_is_given_up(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
    clock: ManualClock,
) -> None:
    writer = engine(answer(500), give_up_after=50.0, max_retry_delay=60.0)
    writer.push("notes", {"id": "1"})
    for _ in range(2):
        writer.flush(10)
        clock.advance(60)
    assert len(events.of("failed")) == 1
    assert len(events.of("retried", 1)) == 1


def test_a_child_that_lost_its_parent_has_failed(
    engine: Callable[..., SyncEngine],
    events: Collected,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    entities = {
        "lists": EntityConfig("/lists", id_source="server"),
        "notes": EntityConfig("/notes", references={"list": "lists"}),
    }
    writer = engine(answer(403, {"error": "no"}), entities=entities)
    parent = writer.push("lists", {"name": "a"})
    writer.push("notes", {"id": "1", "list": parent.record_id})
    writer.flush(10)
    writer.discard_failed([parent])
    refused, lost = events.of("failed", 2)
    assert (refused.entity, refused.status) == ("lists", 403)
    assert reported(lost) == {"entity": "notes", "operation": "create"}


# --- conflict, pulled


def test_a_conflict(
    engine: Callable[..., SyncEngine],
    events: Collected,
    clock: ManualClock,
    answer: Callable[..., Callable[[Request], Response]],
    page: NewPage,
) -> None:
    current = {"current": {"id": "1", "a": 5, "version": "v2"}}
    writer = engine(page({"id": "1", "a": 1, "version": "v1"}), answer(412, current))
    writer.pull()
    writer.push("notes", {"id": "1", "a": 2}, "update")
    clock.advance(3)
    writer.flush(10)
    (conflict,) = events.of("conflict")
    assert reported(conflict) == {
        "entity": "notes",
        "operation": "update",
        "duration": pytest.approx(3.0),
    }


def test_a_page(engine: Callable[..., SyncEngine], events: Collected, page: NewPage) -> None:
    reader = engine(page({"id": "1"}, {"id": "2"}, {"id": "3"}))
    reader.pull()
    (pulled,) = events.of("pulled")
    assert of_commit(pulled) == {"entity": "notes", "count": 3}


def test_what_is_known_already_is_no_news(
    engine: Callable[..., SyncEngine], events: Collected, page: NewPage
) -> None:
    reader = engine(page({"id": "1"}))
    reader.pull()
    reader.pull()
    reader.close()
    assert len(events.of("pulled")) == 1


# --- status


def test_each_change_of_the_status(
    engine: Callable[..., SyncEngine],
    events: Collected,
    clock: ManualClock,
    answer: Callable[..., Callable[[Request], Response]],
) -> None:
    writer = engine(answer(201, seconds=2.0))
    writer.start()
    clock.advance(5)
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    clock.advance(1)
    writer.close()
    assert [reported(event) for event in events.of("status", 3)] == [
        {"outcome": "syncing", "duration": pytest.approx(5.0)},
        {"outcome": "idle", "duration": pytest.approx(2.0)},
        {"outcome": "closed", "duration": pytest.approx(1.0)},
    ]


def test_going_offline(engine: Callable[..., SyncEngine], events: Collected) -> None:
    writer = engine(OfflineError("nobody there"))
    writer.push("notes", {"id": "1"})
    writer.flush(10)
    assert [event.outcome for event in events.of("status", 2)] == ["syncing", "offline"]


# --- all of them


def test_events_come_in_the_order_of_their_happening(
    engine: Callable[..., SyncEngine], events: Collected
) -> None:
    writer = engine()
    writer.push("notes", {"id": "1"})
    writer.push("notes", {"id": "1", "a": 1}, "update")
    writer.flush(10)
    writer.close()
    assert [event.name for event in events.all] == [
        "pushed",
        "coalesced",
        "status",
        "sent",
        "delivered",
        "status",
        "status",
    ]


def test_every_event_of_the_list_is_tried_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert {name for name in EVENTS if f'events.of("{name}"' in text} == set(EVENTS)


def test_an_event_is_a_value(events: Collected, engine: Callable[..., SyncEngine]) -> None:
    engine().push("notes", {"id": "1"})
    (event,) = events.of("pushed")
    assert event == attrs.evolve(event)
    assert repr(event).startswith("TelemetryEvent(name='pushed'")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.name = "other"  # type: ignore[misc]  # wrong on purpose
    with pytest.raises(TypeError):
        TelemetryEvent("pushed", event.time)  # type: ignore[call-arg]  # wrong on purpose
