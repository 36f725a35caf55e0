"""create(), update() and save(): pushes with the operation in the name."""

import pytest

from bytelyst_sync import EntityConfig, RecordExistsError, SyncEngine
from tests.typed import NewEngine


@pytest.fixture
def engine(new_engine: NewEngine) -> SyncEngine:
    return new_engine(entities={"notes": "/notes", "kept": EntityConfig("/kept", replica=False)})


def test_a_create_of_a_new_record(engine: SyncEngine) -> None:
    assert engine.create("notes", {"id": "7", "title": "a"}).operation == "create"
    assert engine.create("notes", {"title": "b"}).record_id


def test_a_create_of_a_record_in_the_view_is_refused(engine: SyncEngine) -> None:
    engine.create("notes", {"id": "7", "title": "a"})
    with pytest.raises(RecordExistsError, match=r"notes/7 exists already: .*save\(\)") as caught:
        engine.create("notes", {"id": 7, "title": "b"})
    assert (caught.value.entity, caught.value.record_id) == ("notes", "7")
    assert engine.get("notes", "7") == {"id": "7", "title": "a"}
    assert engine.queue_length == 1


def test_a_create_after_a_delete(engine: SyncEngine) -> None:
    engine.create("notes", {"id": "7", "title": "a"})
    engine.delete("notes", "7")
    assert engine.create("notes", {"id": "7", "title": "b"}).operation == "create"


def test_an_update_names_the_record(engine: SyncEngine) -> None:
    engine.create("notes", {"id": "7", "title": "a"})
    engine.update("notes", "7", {"done": True})
    assert engine.get("notes", "7") == {"id": "7", "title": "a", "done": True}


def test_save_creates_or_updates_by_what_the_view_holds(engine: SyncEngine) -> None:
    created = engine.save("notes", {"id": "7", "title": "a"})
    engine.save("notes", {"id": "7", "done": True})
    assert created.operation == "create"
    assert engine.get("notes", "7") == {"id": "7", "title": "a", "done": True}
    assert engine.queue_length == 1


def test_without_a_view_save_creates(engine: SyncEngine) -> None:
    assert engine.save("kept", {"id": "7"}).operation == "create"
    assert engine.create("kept", {"id": "7"}).operation == "create"


def test_inside_a_transaction_they_see_its_pushes(engine: SyncEngine) -> None:
    with engine.transaction():
        engine.create("notes", {"id": "7", "title": "a"})
        with pytest.raises(RecordExistsError):
            engine.create("notes", {"id": "7"})
        engine.save("notes", {"id": "7", "done": True})
        engine.save("notes", {"id": "8"})
    assert engine.get("notes", "7") == {"id": "7", "title": "a", "done": True}
    assert engine.get("notes", "8") == {"id": "8"}


def test_json_default_is_asked_wherever_data_is_given(new_engine: NewEngine) -> None:
    engine = new_engine(
        entities={"notes": "/notes"},
        json_default=lambda value: {"re": value.real, "im": value.imag},
    )
    encoded = {"re": 1.0, "im": 2.0}
    engine.push("notes", {"id": "1", "z": 1 + 2j})
    engine.update("notes", "1", {"w": 1 + 2j})
    engine.save("notes", {"id": "2", "z": [1 + 2j]})
    assert engine.get("notes", "1") == {"id": "1", "z": encoded, "w": encoded}
    assert [record["id"] for record in engine.records("notes", {"z": 1 + 2j})] == ["1"]
