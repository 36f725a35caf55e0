"""Local ids stay here: references to oneself, undeclared ones, and ids that were forgotten."""

import json

import pytest

from bytelyst_sync import EntityConfig, InvalidDataError, SyncItem
from bytelyst_sync.model import Json
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.replica.queries import compile_query
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.storage.schema import Lane
from tests.queue.conftest import Queue
from tests.typed import present

REJECTED = AttemptResult(meaning=Verdict.REJECTED, status=422, unprocessed=True)


def server_entity(endpoint: str, **references: str) -> EntityConfig:
    return EntityConfig(endpoint, id_source="server", references=references)


def data_of(queue: Queue, item: SyncItem) -> Json:
    found: Json = json.loads(present(queue.item(item)).data)
    return found


@pytest.fixture
def folders(make_queue: type[Queue]) -> Queue:
    return make_queue(folders=server_entity("/f", root="folders", related="folders"))


@pytest.fixture
def tree(make_queue: type[Queue]) -> Queue:
    """Tasks that refer to projects without saying so."""
    return make_queue(
        projects=server_entity("/projects"),
        tasks=EntityConfig("/tasks"),
        notes=server_entity("/notes"),
    )


def test_an_update_follows_a_create_that_refers_to_itself(folders: Queue) -> None:
    item = folders.push("folders", {"name": "top"})
    local = item.record_id
    edit = {"id": local, "root": local, "related": [local, 5]}
    folders.push("folders", edit, "update")
    assert folders.view("folders", local) == {"name": "top", **edit}
    folders.deliver(server_id=7, record={"id": 7, "name": "top"}, version="1")
    (update,) = folders.rows_of("folders", "7")
    assert (update.seq, update.operation, update.lane) == (item.seq, "update", Lane.READY)
    assert (update.version, update.retries, update.frozen) == ("1", 0, 0)
    assert json.loads(update.data) == {"id": 7, "root": 7, "related": [7, 5]}
    assert update.id != item.id
    for key in ("7", local):
        assert folders.view("folders", key) == {
            "id": 7,
            "name": "top",
            "root": 7,
            "related": [7, 5],
        }
    assert folders.effects.pushed == 0
    folders.deliver(record={"id": 7, "name": "top", "root": 7, "related": [7, 5]})
    assert folders.rows() == []
    assert folders.effects.pushed == 1


def test_what_waited_for_the_create_waits_for_it_alone(folders: Queue) -> None:
    item = folders.push("folders", {"name": "top"})
    local = item.record_id
    folders.push("folders", {"id": local, "root": local}, "update")
    child = folders.push("folders", {"name": "inner", "root": local})
    (claim,) = folders.claim()
    later = folders.push("folders", {"id": local, "name": "renamed"}, "update")
    assert folders.lane(child) is folders.lane(later) is Lane.BLOCKED
    folders.deliver(claim, server_id=7)
    assert folders.lane(child) is Lane.READY
    assert folders.lane(later) is Lane.BLOCKED
    assert present(folders.view("folders", "7"))["name"] == "renamed"
    folders.deliver()
    assert folders.lane(later) is Lane.READY


@pytest.mark.parametrize("delivered", [False, True], ids=["queued", "delivered"])
@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"project": "{}"}, "$.project"),
        ({"lines": [{"of": "{}"}]}, "$.lines[0].of"),
        ({"url": "/projects/{}/edit"}, "$.url"),
        ({"by project": {"{}": 1}}, '$["by project"]["local-'),
    ],
    ids=["a field", "nested", "within a text", "a name"],
)
def test_an_undeclared_local_id_is_held_back_and_reported(
    tree: Queue, data: Json, path: str, delivered: bool
) -> None:
    local = tree.push("projects", {"name": "x"}).record_id
    if delivered:
        tree.deliver(server_id=7)
    text = json.dumps({"id": "t", **data}).replace("{}", local)
    child = tree.push("tasks", json.loads(text))
    claims = tree.claim(9)
    assert child.seq not in [claim.item.seq for claim in claims]
    assert tree.lane(child) is Lane.FAILED
    error = present(present(tree.item(child)).error)
    assert error.startswith(f"create of tasks/t was not sent: {path}")
    assert local in error
    assert "projects" in error
    assert [each.id for each in tree.effects.failed] == [child.id]
    assert tree.effects.errors == 1


def test_a_create_under_an_id_of_ones_own_is_held_back_too(tree: Queue) -> None:
    local = tree.push("projects", {"name": "x"}).record_id
    note = tree.push("notes", {"id": "mine", "project": local})
    tree.claim(9)
    assert tree.lane(note) is Lane.FAILED


def test_those_behind_one_that_is_held_back_are_claimed(tree: Queue) -> None:
    local = tree.push("projects", {"name": "x"}).record_id
    tree.deliver(server_id=7)
    tree.push("tasks", {"id": "held", "project": local})
    tree.push("tasks", {"id": "free"})
    (claim,) = tree.claim(1)
    assert claim.item.record == "free"


def test_texts_that_only_look_like_local_ids_are_sent(tree: Queue) -> None:
    strange = "local-" + "0" * 32
    tree.push("tasks", {"id": "t", "text": f"see {strange} or local-area network"})
    assert len(tree.claim()) == 1


@pytest.mark.parametrize("others", [True, False])
def test_an_entity_whose_ids_the_server_no_longer_gives(
    tree: Queue, make_queue: type[Queue], others: bool
) -> None:
    created = tree.push("notes", {"title": "x"})
    tree.push("tasks", {"id": "t", "see": f"/notes/{created.record_id}"})
    projects = server_entity("/projects") if others else EntityConfig("/projects")
    notes, tasks = EntityConfig("/notes"), EntityConfig("/tasks")
    later = make_queue(storage=tree.storage, notes=notes, tasks=tasks, projects=projects)
    assert later.claim() == []
    assert later.lane(created) is Lane.FAILED
    assert "id_source='server'" in present(present(later.item(created)).error)
    again = make_queue(storage=tree.storage, notes=server_entity("/notes"))
    again.run(lambda work: again.control.reprocess(work, None, repair=None))
    assert [claim.item.entity for claim in again.claim()] == ["notes"]


def test_once_declared_the_servers_id_takes_its_place(tree: Queue, make_queue: type[Queue]) -> None:
    local = tree.push("projects", {"name": "x"}).record_id
    tree.deliver(server_id=7)
    child = tree.push("tasks", {"id": "t", "project": {"id": local}})
    tree.claim()
    declared = make_queue(
        storage=tree.storage,
        projects=server_entity("/projects"),
        tasks=EntityConfig("/tasks", references={"project.id": "projects"}),
    )
    declared.run(lambda work: declared.control.reprocess(work, None, repair=None))
    (claim,) = declared.claim()
    assert claim.item.seq == child.seq
    assert json.loads(claim.item.data) == {"id": "t", "project": {"id": 7}}


def test_a_change_names_the_id_that_was_replaced(tree: Queue) -> None:
    tree.watch = True
    item = tree.push("notes", {"title": "x"})
    assert tree.effects.changes[0].previous_id is None
    tree.deliver(server_id=7, record={"id": 7, "title": "x"})
    (change,) = tree.effects.changes
    assert (change.record_id, change.previous_id) == ("7", item.record_id)
    assert (present(change.before)["id"], present(change.after)["id"]) == (item.record_id, 7)
    edit = tree.push("notes", {"id": item.record_id, "title": "y"}, "update")
    assert [each.previous_id for each in tree.effects.changes] == [None]
    assert edit.record_id == "7"


def test_a_pull_that_brought_the_servers_id_first_is_joined(tree: Queue) -> None:
    item = tree.push("notes", {"title": "x"})
    (claim,) = tree.claim()
    tree.arrive("notes", "7", {"id": 7, "title": "x"}, "1")
    later = tree.push("notes", {"id": item.record_id, "title": "z"}, "update")
    other = tree.push("notes", {"id": "7", "done": True}, "update")
    tree.deliver(claim, server_id=7, record={"id": 7, "title": "x"}, version="1")
    assert tree.view("notes", item.record_id) == {"id": 7, "title": "z", "done": True}
    assert [row.seq for row in tree.rows_of("notes", "7")] == [later.seq, other.seq]
    assert [tree.lane(each) for each in (later, other)] == [Lane.READY, Lane.BLOCKED]


def test_an_update_of_a_local_id_that_names_nothing_is_refused(tree: Queue) -> None:
    item = tree.push("notes", {"title": "x"})
    tree.run(lambda work: tree.control.cancel(work, item.seq))
    for operation in ("update", "delete"):
        with pytest.raises(InvalidDataError, match="names no record here"):
            tree.push("notes", {"id": item.record_id, "title": "y"}, operation)
    again = tree.push("notes", item.data)
    assert again.record_id == item.record_id
    assert tree.view("notes", item.record_id) == item.data


def test_a_forgotten_local_id_is_not_created_anew(tree: Queue) -> None:
    item = tree.push("notes", {"title": "x"})
    tree.run(lambda work: tree.control.cancel(work, item.seq))
    tree.now += 31 * 86_400
    with pytest.raises(InvalidDataError, match="names no record here"):
        tree.push("notes", item.data)


def test_a_reference_to_a_local_id_that_names_nothing_is_refused(folders: Queue) -> None:
    item = folders.push("folders", {"name": "x"})
    folders.run(lambda work: folders.control.cancel(work, item.seq))
    with pytest.raises(InvalidDataError, match="root refers to folders/local-"):
        folders.push("folders", {"name": "inner", "root": item.record_id})
    assert folders.rows() == []


def test_an_id_of_ones_own_is_replaced_as_a_local_one(folders: Queue) -> None:
    folders.push("folders", {"id": "mine", "name": "x"})
    folders.push("folders", {"id": "inner", "root": "mine"})
    folders.deliver(server_id=7)
    later = folders.push("folders", {"id": "later", "root": "mine"})
    assert data_of(folders, later)["root"] == 7
    query = compile_query(
        folders.state, folders.entities, folders.entities["folders"], {"root": "mine"}
    )
    assert [each["id"] for each in query.records()] == ["inner", "later"]


def test_a_child_is_reported_when_its_reference_changes(folders: Queue) -> None:
    folders.watch = True
    local = folders.push("folders", {"name": "x"}).record_id
    child = folders.push("folders", {"name": "inner", "root": local})
    folders.deliver(server_id=7, record={"id": 7, "name": "x"})
    changes = {each.record_id: each for each in folders.effects.changes}
    assert set(changes) == {"7", child.record_id}
    assert (
        present(changes[child.record_id].before)["root"],
        present(changes[child.record_id].after)["root"],
    ) == (
        local,
        7,
    )


@pytest.mark.parametrize(("held", "given"), [(7, "7"), ("7", 7)])
def test_an_update_keeps_the_type_of_the_servers_id(
    tree: Queue, held: int | str, given: str | int
) -> None:
    tree.arrive("tasks", "7", {"id": held, "done": False}, "1")
    item = tree.push("tasks", {"id": given, "done": True}, "update")
    assert data_of(tree, item) == {"id": held, "done": True}
    assert item.data["id"] == held


def test_an_undeclared_reference_by_an_id_of_the_callers_own_is_held_back(
    make_queue: type[Queue],
) -> None:
    """The server gives the ids, and the program gave its own until then."""
    queue = make_queue(
        projects=EntityConfig("/projects", id_source="server"), tasks=EntityConfig("/tasks")
    )
    queue.push("projects", {"id": "tmp-1", "name": "x"})
    queue.deliver(server_id=7)
    item = queue.push("tasks", {"id": "t", "lines": [{"project": "tmp-1"}]})
    other = queue.push("tasks", {"id": "u", "title": "about tmp-1 and others"})
    assert [claim.item.seq for claim in queue.claim(10)] == [other.seq]
    assert queue.lane(item) is Lane.FAILED
    assert "$.lines[0].project holds tmp-1" in present(present(queue.item(item)).error)
    assert "projects" in present(present(queue.item(item)).error)


def test_a_declared_reference_by_an_id_of_the_callers_own_is_replaced(
    make_queue: type[Queue],
) -> None:
    queue = make_queue(
        projects=EntityConfig("/projects", id_source="server"),
        tasks=EntityConfig("/tasks", references={"project": "projects"}),
    )
    queue.push("projects", {"id": "tmp-1"})
    queue.push("tasks", {"id": "t", "project": "tmp-1"})
    queue.deliver(server_id=7)
    assert json.loads(queue.deliver().data)["project"] == 7


def test_ids_of_the_callers_own_are_no_local_ids_where_clients_give_them(
    make_queue: type[Queue],
) -> None:
    queue = make_queue(
        projects=EntityConfig("/projects"), tasks=EntityConfig("/tasks", id_source="server")
    )
    queue.push("projects", {"id": "tmp-1"})
    queue.push("tasks", {"title": "tmp-1"})
    assert len(queue.claim(10)) == 2
