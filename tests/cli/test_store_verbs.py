"""status, queue, push and records: what is in the store, without touching the network."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bytelyst_sync import EncryptedStorage, SQLiteStorage, SyncEngine, create_sync_engine
from bytelyst_sync.cli import show
from bytelyst_sync.testing import Reply, Stall, SyncServer
from tests.cli.conftest import Done
from tests.typed import present


def test_a_push_is_saved_and_listed(cli: Callable[..., Done], server: SyncServer) -> None:
    done = cli("push", "notes", '{"id": "1", "title": "x"}')
    assert "queued: create notes 1" in done.out
    assert "1 item waiting" in done.err
    (item,) = cli("queue", "--json").lines
    assert item["entity"] == "notes"
    assert item["record_id"] == "1"
    assert item["operation"] == "create"
    assert item["state"] == "pending"
    assert "data" not in item
    assert not server.requests


def test_the_payload_only_if_asked_for(cli: Callable[..., Done]) -> None:
    cli("push", "notes", '{"id": "1", "title": "very private"}')
    for arguments in (["queue"], ["queue", "--json"], ["status"], ["status", "--json"]):
        assert "very private" not in cli(*arguments).out
    assert "very private" in cli("queue", "--data").out
    assert cli("queue", "--json", "--data").lines[0]["data"]["title"] == "very private"


@pytest.mark.parametrize("how", ["argument", "file", "input"])
def test_data_in_three_ways(cli: Callable[..., Done], tmp_path: Path, how: str) -> None:
    text = '{"id": "7", "title": "é"}'
    (tmp_path / "x.json").write_text(text, "utf-8")
    given = {"argument": text, "file": "@x.json", "input": "-"}[how]
    cli("push", "notes", given, stdin=text)
    assert cli("records", "notes").lines == [{"id": "7", "title": "é"}]


def test_update_and_delete(cli: Callable[..., Done]) -> None:
    cli("push", "notes", '[{"id": "1"}, {"id": 2}, {"id": "a b"}]')
    cli("push", "notes", "--update", '{"id": "1", "done": true}')
    assert "took back" in cli("push", "notes", "--delete", "2").out
    cli("push", "notes", "--delete", '{"id": "a b"}')
    assert cli("records", "notes").lines == [{"id": "1", "done": True}]


def test_a_push_with_json_answers_with_its_items(cli: Callable[..., Done]) -> None:
    done = cli("push", "notes", "[{}, {}]", "--json")
    assert [item["operation"] for item in done.lines] == ["create", "create"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["notes", "{title: 1}"], "is not JSON (Expecting property name"),
        (["notes", "[" * 100_000], "is nested too deeply"),
        (["notes", "@missing.json"], "missing.json cannot be read"),
        (["notes", "7"], "object"),
        (["notes", '{"n": NaN}'], "$.n"),
        (["nots", "{}"], "unknown entity 'nots'; configured are 'notes', 'tasks'"),
        (["notes", "--update", "{}"], "id"),
        (["notes"], "Missing argument"),
        (["notes", "{}", "--updat"], "--update"),
    ],
)
def test_bad_data_is_told_in_a_line(
    cli: Callable[..., Done], arguments: list[str], said: str
) -> None:
    err = cli("push", *arguments, code=2).err
    assert said in err
    assert err.count("\n") == 1
    assert cli("status", "--json").json["queue_length"] == 0


def test_bytes_that_are_no_text(cli: Callable[..., Done]) -> None:
    assert "not UTF-8 (byte 7)" in cli("push", "notes", "-", stdin=b'{"id":"\xff"}', code=2).err


def test_an_update_behind_a_delete_is_refused(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer
) -> None:
    server.put("notes", {"id": "1"})
    engine.pull()
    cli("push", "notes", "--delete", "1")
    assert "its delete is queued" in cli("push", "notes", "--update", '{"id": "1"}', code=1).err


def test_status_of_nothing_makes_nothing(cli: Callable[..., Done], tmp_path: Path) -> None:
    done = cli("status", "--json")
    assert done.json["exists"] is False
    assert done.json["queue_length"] == 0
    assert "is not there yet" in done.err
    cli("queue")
    cli("failed", "list")
    cli("conflicts", "list")
    cli("records", "notes")
    cli("export", "--all")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bytelyst-sync.toml"]


def test_status_counts(cli: Callable[..., Done], engine: SyncEngine, server: SyncServer) -> None:
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.method == "POST" else None
    engine.push("notes", {"id": "1"})
    engine.flush()
    engine.push("tasks", {"id": "1"})
    found = cli("status", "--json").json
    assert found["queue_length"] == 1
    assert found["failed"] == 1
    assert found["entities"]["tasks"]["ready"] == 1
    assert found["entities"]["notes"]["failed"] == 1
    assert "422" in found["last_error"]
    assert found["oldest"] is not None
    assert found["online"] is None
    out = cli("status").out
    assert "all: waiting 1, sending 0, retrying 0, blocked 0, failed 1, conflicts 0" in out


def test_status_asks_the_server_only_if_told_to(
    cli: Callable[..., Done], server: SyncServer
) -> None:
    assert cli("status", "--json", "--probe").json["online"] is True
    with server.outage():
        assert cli("status", "--json", "--probe").json["online"] is False
        assert "(no answer)" in cli("status", "--probe").out


def test_looking_takes_no_right_and_sends_nothing(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer, tmp_path: Path
) -> None:
    engine.push("notes", {"id": "1"})
    right = SQLiteStorage(tmp_path / "app.db").delivery_right()
    assert right.acquire()
    for verb in (["status"], ["queue"], ["records", "notes"], ["export", "--all"]):
        cli(*verb)
    right.release()
    cli("push", "notes", '{"id": "2"}')
    assert right.acquire()
    right.release()
    assert not server.requests


def test_the_queue_of_one_entity_and_its_beginning(cli: Callable[..., Done]) -> None:
    cli("push", "notes", "[{}, {}, {}]")
    cli("push", "tasks", "{}")
    assert len(cli("queue", "--json").lines) == 4
    assert len(cli("queue", "notes", "--json", "--limit", "2").lines) == 2
    rows = [line.split("\t") for line in cli("queue", "tasks").out.splitlines()]
    assert rows[0][:4] == ["no.", "entity", "record", "operation"]
    assert [row[1] for row in rows[1:]] == ["tasks"]


def test_options_may_stand_on_either_side(cli: Callable[..., Done], tmp_path: Path) -> None:
    cli("--storage", "other.db", "push", "notes", "{}")
    assert cli("status", "--json", "--storage", "other.db").json["queue_length"] == 1
    assert cli("--json", "--storage", "x.db", "status", "--storage", "other.db").json["exists"]


def test_quiet_says_the_result_only(cli: Callable[..., Done]) -> None:
    assert cli("-q", "push", "notes", "{}").err == ""


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (["done=true"], ["1"]),
        (["done=false", "n=7"], [2]),
        (["n=7"], [2, "3"]),
        (["id=2"], [2]),
        (["tags=[]"], ["3"]),
        (["no=1"], []),
    ],
)
def test_records_that_equal(
    cli: Callable[..., Done], where: list[str], ids: list[str | int]
) -> None:
    rows = [
        {"id": "1", "done": True},
        {"id": 2, "done": False, "n": 7},
        {"id": "3", "n": "7", "tags": []},
    ]
    cli("push", "notes", json.dumps(rows))
    flags = [part for each in where for part in ("--where", each)]
    assert [row["id"] for row in cli("records", "notes", *flags).lines] == ids


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (["--where", "n__gte=2"], ["2", "10"]),
        (["--where", "n__gt=1", "--where", "n__lt=3"], ["2"]),
        (["--where", "title__contains=ea"], ["1", "10"]),
        (["--where", "title__in=tea,milk"], ["1", "2"]),
        (["--where", 'title__in=["tea"]'], ["1"]),
        (["--where", "n__in=1,3"], ["1", "10"]),
        (["--where", "n__ne=1"], ["2", "10"]),
        (["--where", "id__in=1,10"], ["1", "10"]),
        (["--where", "id__eq=10"], ["10"]),
        (["--where", "done__isnull=true"], ["2", "10"]),
        (["--order-by", "-n"], ["10", "2", "1"]),
        (["--order-by", "-n", "--limit", "2"], ["10", "2"]),
        (["--order-by", "kind", "--order-by", "-n"], ["10", "1", "2"]),
    ],
)
def test_queries(cli: Callable[..., Done], flags: list[str], ids: list[str]) -> None:
    rows = [
        {"id": "1", "n": 1, "title": "tea", "kind": "a", "done": True},
        {"id": "2", "n": 2, "title": "milk", "kind": "b"},
        {"id": "10", "n": 3, "title": "bread", "kind": "a"},
    ]
    cli("push", "notes", json.dumps(rows))
    found = [row["id"] for row in cli("records", "notes", *flags).lines]
    assert (found if "--order-by" in flags else sorted(found, key=int)) == ids


def test_records_with_their_state(cli: Callable[..., Done], engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1"})
    engine.flush()
    cli("push", "notes", '{"id": "2"}')
    shown = {
        each["record"]["id"]: each["state"] for each in cli("records", "notes", "--state").lines
    }
    assert shown == {"1": "synced", "2": "pending"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--where", "done"], "FIELD=VALUE"),
        (["--where", "=1"], "FIELD=VALUE"),
        (["--where", "n__above=1"], "'n__above' names no operator"),
        (["--where", "n__isnull=1"], "give True or False"),
        (["--where", "n=1", "--where", "n=2"], "n is given twice"),
        (["--where", "n__gt=null"], "no order"),
        (["--order-by", "-"], "order_by"),
    ],
)
def test_a_query_that_is_wrong(cli: Callable[..., Done], flags: list[str], said: str) -> None:
    cli("push", "notes", '{"id": "1", "n": 1}')
    assert said in cli("records", "notes", *flags, code=2).err


# --- sign-out


def test_sign_out_empties_the_store(cli: Callable[..., Done], engine: SyncEngine) -> None:
    engine.push("notes", {"id": "1"})
    engine.flush()
    engine.close()
    assert cli("sign-out", "--yes", "--json").json == {"wiped": True}
    assert cli("records", "notes").out == ""


def test_sign_out_keeps_what_was_not_delivered(cli: Callable[..., Done]) -> None:
    cli("push", "notes", '{"id": "1"}')
    assert "1 queued" in cli("sign-out", "--yes", code=1).err
    assert len(cli("records", "notes").lines) == 1
    cli("sign-out", "--yes", "--force")
    assert cli("records", "notes").out == ""


def test_sign_out_asks(cli: Callable[..., Done]) -> None:
    assert "nobody is signed in" in cli("sign-out", code=2).err
    cli("push", "notes", '{"id": "1"}')
    assert "confirm with --yes" in cli("sign-out", "--force", code=2).err
    assert len(cli("records", "notes").lines) == 1


# --- who delivers


def test_status_names_the_deliverer(
    cli: Callable[..., Done], server: SyncServer, tmp_path: Path
) -> None:
    with create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage=str(tmp_path / "app.db")
    ) as engine:
        server.script(Stall(20.0), match="POST")
        engine.push("notes", {"id": "1"})
        assert server.wait_for(lambda: any(seen.method == "POST" for seen in server.in_flight))
        found = cli("status", "--json").json
        assert found["deliverer"].startswith(f"process {os.getpid()} on ")
        assert found["reason"] is None
        assert f"deliverer: process {os.getpid()}" in cli("status").out
        long_ago = time.time() - 3600
        os.utime(tmp_path / "app.db.deliver", (long_ago, long_ago))
        assert cli("status", "--json").json["reason"] == "deliverer"
        assert "held up: the deliverer gives no sign of life" in cli("status").out
        assert "kill -CONT" in cli("doctor", "--no-network").out
        server.stop()
    assert cli("status", "--json").json["deliverer"] is None


def test_status_says_what_blocks_the_line(
    cli: Callable[..., Done], toml: Callable[..., Path], server: SyncServer, tmp_path: Path
) -> None:
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.body else None
    toml("order = 'strict'")
    cli("push", "notes", '{"id": "1"}')
    cli("push", "notes", '{"id": "2"}')
    assert cli("status", "--json").json["reason"] is None
    done = cli("flush", "--json", code=1)
    assert done.json["reason"] == "blocked"
    assert cli("status", "--json").json["reason"] == "blocked"
    assert "waits for a decision" in cli("status").out


# --- what steers a terminal


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2066", "\u2028"]
)
def test_no_output_has_characters_that_steer_a_terminal(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer, character: str
) -> None:
    text = f"a{character}b"
    engine.push("tasks", {"id": "1"})
    engine.push("notes", {"id": "1", "title": text, text: 1})
    server.reject = lambda seen: Reply(422, {"error": text}) if "notes" in seen.path else None
    engine.flush()
    engine.close()
    shown = ""
    for verb in (
        ["status"], ["status", "--json"], ["queue", "--data"], ["queue", "--json", "--data"],
        ["failed", "list", "--data"], ["failed", "list", "--json", "--data"],
        ["records", "notes"], ["export", "--all"], ["doctor", "--no-network"],
        ["-vv", "status"],
    ):  # fmt: skip
        done = cli(*verb)
        shown += done.out + done.err
    assert character not in shown
    (record,) = cli("records", "notes").lines
    assert record == {"id": "1", "title": text, text: 1}, "JSON reads as it was"


def test_what_steers_a_terminal_is_shown_and_not_obeyed(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer
) -> None:
    evil = Reply(422, {"error": "a\x1b[2Jb\u202ec"})
    server.reject = lambda seen: evil if seen.method == "POST" else None
    engine.push("notes", {})
    engine.flush()
    for verb in (["failed", "list"], ["status"], ["doctor", "--no-network"]):
        out = cli(*verb).out
        assert "a\\x1b[2Jb\\u202ec" in out
        assert "\x1b" not in out


def test_half_a_character_is_told_in_a_line(cli: Callable[..., Done]) -> None:
    err = cli("push", "notes", '{"id": "1", "title": "\\ud800"}', code=2).err
    assert "lone surrogate" in err


# --- failed


@pytest.fixture
def refused(engine: SyncEngine, server: SyncServer) -> None:
    """Two failed items, and a server that takes them from now on."""
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.method == "POST" else None
    engine.push_many("notes", [{"id": "1", "title": "secret"}, {"id": "2"}])
    engine.flush()
    server.reject = None


@pytest.mark.usefixtures("refused")
def test_failed_items_are_listed_with_the_reason(cli: Callable[..., Done]) -> None:
    items = cli("failed", "list", "--json").lines
    assert [item["record_id"] for item in items] == ["1", "2"]
    said = "create of notes/1 rejected: HTTP 422 'no'; see engine.failed()"
    assert items[0]["last_error"] == said
    out = cli("failed", "list").out
    assert "HTTP 422 'no'" in out
    assert "rejected" not in out, "the columns show the record and the operation"
    assert "secret" not in out


@pytest.mark.usefixtures("refused")
def test_all_are_tried_again(cli: Callable[..., Done], server: SyncServer) -> None:
    assert "2 items queued again" in cli("failed", "retry").out
    cli("flush")
    assert set(server.records("notes")) == {"1", "2"}


@pytest.mark.usefixtures("refused")
def test_one_is_repaired(cli: Callable[..., Done], server: SyncServer) -> None:
    number = cli("failed", "list", "--json").lines[0]["number"]
    repaired = '{"id": "1", "title": "short"}'
    assert cli("failed", "retry", f"#{number}", "--data", repaired, "--json").json["requeued"] == 1
    assert "1 item failed" in cli("flush", code=1).err
    assert server.records("notes")["1"]["title"] == "short"
    assert len(cli("failed", "list", "--json").lines) == 1


@pytest.mark.usefixtures("refused")
def test_discarding_is_asked_for(cli: Callable[..., Done]) -> None:
    assert "say --yes" in cli("failed", "discard", code=2).err
    assert len(cli("failed", "list", "--json").lines) == 2
    first = cli("failed", "list", "--json").lines[0]["id"]
    assert "1 item discarded" in cli("failed", "discard", first, "--yes").out
    assert cli("failed", "discard", "--yes", "--json").json == {"discarded": 1}


@pytest.mark.usefixtures("refused")
def test_an_item_that_is_not_there(cli: Callable[..., Done]) -> None:
    for verb in ("retry", "discard"):
        assert "no failed item 99" in cli("failed", verb, "99", code=2).err
    assert "exactly one" in cli("failed", "retry", "--data", "{}", code=2).err


# --- conflicts


@pytest.fixture
def parked(cli: Callable[..., Done], engine: SyncEngine, server: SyncServer) -> str:
    """One parked conflict; its id."""
    server.put("notes", {"id": "1", "title": "old", "n": 1})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.patch("notes", "1", {"title": "theirs"})
    engine.pull()
    (found,) = cli("conflicts", "list", "--json").lines
    result: str = found["id"]
    return result


def test_conflicts_are_listed_without_the_records(cli: Callable[..., Done], parked: str) -> None:
    (found,) = cli("conflicts", "list", "--json").lines
    assert found["fields"] == ["title"]
    assert found["resolution"] is None
    assert "local" not in found
    assert "mine" not in cli("conflicts", "list").out


def test_a_conflict_in_three_columns(cli: Callable[..., Done], parked: str) -> None:
    lines = cli("conflicts", "show", parked).out.splitlines()
    assert lines[0] == "notes 1: update, open"
    assert lines[1].split("\t") == ["", "field", "base", "local", "remote"]
    assert lines[2].split("\t") == ["!", "title", '"old"', '"mine"', '"theirs"']
    shown = cli("conflicts", "show", parked, "--json").json
    assert [shown[side]["title"] for side in ("base", "local", "remote")] == [
        "old",
        "mine",
        "theirs",
    ]


@pytest.mark.parametrize(
    ("answer", "title"),
    [("local", "mine"), ("remote", "theirs"), ('{"title": "both"}', "both")],
)
def test_a_conflict_is_settled(
    cli: Callable[..., Done], server: SyncServer, parked: str, answer: str, title: str
) -> None:
    assert "settled: notes 1" in cli("conflicts", "resolve", parked, answer).out
    cli("flush")
    assert server.records("notes")["1"]["title"] == title
    assert cli("conflicts", "list", "--json").lines == []
    assert cli("conflicts", "list", "--resolved", "--json").lines[0]["resolution"]
    assert "settled already" in cli("conflicts", "resolve", parked, "local", code=2).err


def test_a_deletion_there_is_told(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer
) -> None:
    server.put("notes", {"id": "1", "title": "old"})
    engine.pull()
    engine.push("notes", {"id": "1", "title": "mine"}, "update")
    server.remove("notes", "1")
    engine.pull()
    (found,) = cli("conflicts", "list", "--json").lines
    assert cli("conflicts", "show", found["id"], "--json").json["remote"] is None


def test_bad_answers(cli: Callable[..., Done], parked: str) -> None:
    assert "is not JSON" in cli("conflicts", "resolve", parked, "mine", code=2).err
    assert "must be a JSON object" in cli("conflicts", "resolve", parked, "7", code=2).err
    assert "another id" in cli("conflicts", "resolve", parked, '{"id": "2"}', code=2).err
    assert "no conflict 99" in cli("conflicts", "show", "99", code=2).err
    assert "no conflict x" in cli("conflicts", "resolve", "x", "local", code=2).err


# --- export and import


def test_what_is_exported_can_be_imported_elsewhere(cli: Callable[..., Done]) -> None:
    cli("push", "notes", '[{"id": "1", "t": "é"}, {"id": "2"}]')
    cli("push", "tasks", '{"id": "9"}')
    text = cli("export", "--all").out
    assert json.loads(text.splitlines()[0])["entity"] == "notes"
    elsewhere = ["--storage", "other.db"]
    assert cli("import", "--all", "-", "--json", *elsewhere, stdin=text).json == {
        "created": 3,
        "updated": 0,
        "unchanged": 0,
    }
    assert cli("export", "--all", *elsewhere).out == text


def test_import_updates_what_differs_and_leaves_the_rest(
    cli: Callable[..., Done], engine: SyncEngine, server: SyncServer, tmp_path: Path
) -> None:
    for number in range(3):
        server.put("notes", {"id": str(number), "n": number})
    engine.pull()
    lines = cli("export", "notes").lines
    lines[1]["n"] = "new"
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (
        "0 queued as creates, 1 as updates, 2 unchanged" in cli("import", "notes", "in.jsonl").out
    )
    (item,) = cli("queue", "--json", "--data").lines
    assert (item["operation"], item["data"]) == ("update", {"id": "1", "n": "new"})


def test_import_in_batches_and_with_empty_lines(cli: Callable[..., Done]) -> None:
    text = "\n\n".join(json.dumps({"id": str(number)}) for number in range(450))
    assert "450 queued as creates" in cli("import", "notes", "-", stdin=text).out
    assert cli("status", "--json").json["queue_length"] == 450


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["notes", "-"], '{"id": "1"}\n{oops\n', "line 2 is not JSON"),
        (["notes", "-"], "[1]\n", "line 1 is not an object"),
        (["--all", "-"], '{"id": "1"}\n', 'line 1 is not {"entity"'),
        (["--all", "-"], '{"entity": "x", "record": {}}\n', "line 1: unknown entity 'x'"),
        (["notes", "-"], '{"id": "1"}\n{"id": true}\n', "line 2: "),
        (["nots", "-"], "", "unknown entity 'nots'"),
        (["notes"], "", "import ENTITY FILE"),
        (["notes", "missing.jsonl"], "", "missing.jsonl cannot be read"),
    ],
)
def test_a_bad_line_is_named_and_its_batch_not_taken(
    cli: Callable[..., Done], arguments: list[str], text: str, said: str
) -> None:
    assert said in cli("import", *arguments, stdin=text, code=2).err
    assert cli("status", "--json").json["queue_length"] == 0


def test_export_of_one_or_of_all(cli: Callable[..., Done]) -> None:
    assert "which entity, or --all" in cli("export", code=2).err
    assert "which entity, or --all" in cli("export", "notes", "--all", code=2).err
    assert "unknown entity" in cli("export", "nots", code=2).err


def test_export_streams(engine: SyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.push_many("notes", [{"id": str(number)} for number in range(1500)])
    out = io.StringIO()
    monkeypatch.setattr(show.sys, "stdout", out)  # type: ignore[attr-defined]  # what it imports
    records: Any = engine.records("notes")
    show.Screen().record(next(records))
    assert out.getvalue() == '{"id": "0"}\n'
    records.close()


# --- an encrypted store


def sealed(server: SyncServer, tmp_path: Path) -> SyncEngine:
    return create_sync_engine(
        base_url=server.url,
        entities={"notes": "/notes"},
        storage=EncryptedStorage(tmp_path / "app.db", key=b"k" * 32),
        auto_flush=False,
    )


def test_an_encrypted_store_is_counted_and_examined_and_not_opened(
    cli: Callable[..., Done], server: SyncServer, tmp_path: Path
) -> None:
    with sealed(server, tmp_path) as engine:
        engine.push("notes", {"id": "1", "title": "for nobody else"})
    assert cli("status", "--json").json["queue_length"] == 1
    assert "all is well" in cli("doctor").out
    for verb in (["queue", "--data"], ["records", "notes"], ["push", "notes", "{}"], ["flush"]):
        error = cli(*verb, code=4).err
        assert (
            "the store is encrypted: name the variable with its key (--key-env VARIABLE)" in error
        )
    with sealed(server, tmp_path) as engine:
        assert present(engine.get("notes", "1"))["title"] == "for nobody else"
        assert engine.queue_length == 1
