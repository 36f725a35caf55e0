"""Ids and names that are made to be misread, by URLs, by files and by SQL."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from urllib.parse import quote, unquote

from bytelyst_sync import EntityConfig, SyncError
from bytelyst_sync.testing.raw import Answer, RecordedRequest
from tests.torture.harness import Trial, check, scenario
from tests.torture.recorder import Recorder, engine_at

ODD_IDS = [
    *("../x", "..", ".", "a/..", "a/../../admin", "a/b", "/", "//", "/x", "x/", "", " ", "a b"),
    *("?", "?x=1", "#", "#x", "a?b#c", "&", "a&b=c", ";", "a;b", "%", "%2e%2e", "%2F", "%00"),
    *(
        "%252e",
        "%2e%2e%2fadmin",
        "..%2f",
        "\\",
        "..\\..\\x",
        "a\\b",
        "\r\n",
        "a\r\nX-Evil: 1",
        "\0",
    ),
    *(
        "a\tb",
        "\x7f",
        "\ud800",
        "a\ud800",
        "ü",
        "日本語",
        "\u202e",
        "\u2028",
        "\ufeff",
        "😀",
        "e\u0301",
    ),
    *(
        "{id}",
        "{endpoint}",
        "$(id)",
        "`id`",
        "' OR 1=1 --",
        '"',
        "'; DROP TABLE items; --",
        "*",
        "@",
    ),
    *("http://evil.test/", "//evil.test", "x" * 4000, "+", "a+b", ":", "1:2", "~", "-", "local-1"),
]
PIECES = "./%2eEfF?#&;=\\:@+ \t\r\n\0ü😀'\"{}ab"


def _misses(seen: RecordedRequest, keys: Collection[str]) -> str | None:
    """Why a request addresses something else than a record of these."""
    if "x-evil" in seen.headers:
        return "it has a header nobody asked for"
    if seen.path == "/api/notes" and (seen.method == "GET" or not seen.query):
        return None
    if seen.query:
        return "it has a query nobody asked for"
    segment = seen.path.removeprefix("/api/notes/")
    if segment == seen.path or "/" in segment or "\\" in segment:
        return "it is no record's place"
    if unquote(segment) not in keys or quote(unquote(segment), safe="") != segment:
        return "it is no record's id, encoded"
    if unquote(segment) in (".", ".."):
        return "a server may resolve it to another place"
    return None


@scenario("security", "no id addresses another resource: it is percent-encoded or refused")
def hostile_ids(trial: Trial) -> dict[str, object]:
    """Ids made to be misread, pushed here, and sent by the server."""
    rng = trial.random
    made = [
        "".join(rng.choices(PIECES, k=rng.randint(1, 12))) for _ in range(trial.rounds(150, 3000))
    ]
    ids = [*ODD_IDS, *made]
    refused, crashes = 0, []
    with Recorder() as server, engine_at(server.url) as engine:
        accepted = set()
        for key in ids:
            for operation in ("create", "update", "delete"):
                try:
                    engine.push("notes", {"id": key, "n": 1}, operation)
                    accepted.add(key)
                except SyncError:
                    refused += 1
                except Exception as error:  # noqa: BLE001 - that is what is looked for
                    crashes.append(f"{key!r}: {type(error).__name__}")
                if operation != "create" and rng.random() < 0.5:
                    engine.flush(timeout=10)
        engine.flush(timeout=20)
        check(not crashes, f"not an error of the tree: {crashes[:5]}")
        check(engine.queue_length == 0, f"{engine.queue_length} of odd ids do not leave the queue")
        pushed = len(server.seen)
        # half of the records vanish before anything is sent, and each of the others is sent twice
        check(pushed > len(accepted) / 2, f"only {pushed} requests came of {len(accepted)} ids")
        # and those that the server makes up
        for key in ids:
            with suppress(UnicodeEncodeError):
                server.store.change("notes", "replace", {"id": key or "e", "n": 1})
        engine.pull(timeout=20)
        for record in [*engine.records("notes")]:
            with suppress(SyncError):
                engine.push("notes", {"id": record["id"], "n": 2}, "update")
                engine.delete("notes", record["id"])
        engine.flush(timeout=20)
        seen = [*server.seen, *_given_by_the_server(ids)]
    known = {*ids, "e"}
    for each in seen:
        reason = _misses(each, known)
        check(reason is None, f"{each.method} {each.path!r} {each.query}: {reason}")
    return {
        "ids": len(ids),
        "refused": refused,
        "requests": len(seen),
        "places": len({each.path for each in seen}),
    }


def _given_by_the_server(ids: Iterable[str]) -> list[RecordedRequest]:
    """What is asked of a server that gives such ids to what is created."""
    entities = {"notes": EntityConfig("/notes", id_source="server")}
    left = list(ids)

    def answer(seen: RecordedRequest) -> Answer | None:
        if seen.method == "POST" and left:
            return Answer.of(201, {"id": left.pop(), "n": 1})
        return None

    with Recorder(answer) as server, engine_at(server.url, entities) as engine:
        while left:
            before = len(left)
            item = engine.push("notes", {"n": 1})
            engine.flush(timeout=5)
            with suppress(SyncError):
                engine.push("notes", {"id": item.record_id, "n": 2}, "update")
                engine.flush(timeout=5)
                engine.delete("notes", item.record_id)
                engine.flush(timeout=5)
            check(len(left) < before, f"nothing is created any more; {len(left)} are left")
            engine.discard_failed()
            engine.clear_queue()
        return server.seen


HOSTILE_NAMES = [
    *(
        "../../etc/passwd",
        "a/b",
        "'; DROP TABLE items; --",
        '"',
        "%",
        "?#",
        "日本語",
        "x" * 500,
        "{id}",
    ),
    *(
        "notes\\",
        "$HOME",
        "`id`",
        "-",
        "*",
        " ",
        "CON",
        "items",
        "meta",
        "sqlite_master",
        "{endpoint}",
    ),
]


@scenario("security", "an entity's name is a name: it is no path, no SQL and no pattern")
def hostile_names(trial: Trial) -> dict[str, object]:
    """Names made to be misread, each an entity of its own in one file."""
    names = [*HOSTILE_NAMES, *(f"{name}{name}" for name in HOSTILE_NAMES)]
    entities = {name: f"/e{number}" for number, name in enumerate(names)}
    folder = trial.folder / "store"
    folder.mkdir()
    with Recorder() as server:
        for run in (1, 2):
            with engine_at(server.url, entities, storage=folder / "queue.db") as engine:
                for name in names:
                    engine.push(name, {"id": f"r{run}", "n": 1, "'; DROP TABLE items; --": name})
                waiting = [item.entity for item in engine.queue()]
                check(waiting == names, "each entity has its own item in the queue")
                check(engine.flush(timeout=20).success, "all are delivered")
                for number, name in enumerate(names):
                    there = server.store.records(f"e{number}")
                    seen = {each["id"] for each in engine.records(name, where={"n": 1})}
                    check(len(there) == run, f"{name!r}: {len(there)} records at the server")
                    check(seen == set(there), f"{name!r}: the view has {seen}")
                    odd = list(engine.records(name, where={"'; DROP TABLE items; --": name}))
                    check(len(odd) == run, f"{name!r}: a field with an odd name is not found")
        files = sorted(path.name for path in folder.iterdir())
        paths = {seen.path for seen in server.seen if seen.method == "POST"}
    check(all(name.startswith("queue.db") for name in files), f"other files were made: {files}")
    check(len(paths) == len(names), f"{len(paths)} places for {len(names)} entities")
    return {"names": len(names), "files": len(files)}
