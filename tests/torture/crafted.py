"""Stores whose rows somebody changed: in plain text at random, or encrypted values by copying."""

import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bytelyst_sync import StorageError
from bytelyst_sync.model import OperationName
from bytelyst_sync.storage import EncryptedStorage
from bytelyst_sync.testing import SyncServer
from tests.torture import kill_work
from tests.torture.fork_server import ForkServer, read_lines, teller
from tests.torture.harness import Stopwatch, Trial, check, scenario

NOTES = 12
BOUND_S = 20.0
KEY = bytes(range(32))
KINDS: tuple[OperationName, ...] = ("create", "update", "delete")
Settings = dict[str, Any]

HOSTILE_VALUES: tuple[object, ...] = (
    None,
    -1,
    0,
    2**63 - 1,
    9e999,
    "",
    "now",
    "{",
    "[]",
    '{"id":',
    '{"a":' * 100_000 + "1" + "}" * 100_000,
    b"\xff\x00",
    "x" * 1_000_000,
    "../../x",
    "99",
)


def open_store(settings: Settings) -> Settings:
    """Settings for an engine, whose store is encrypted if they say so."""
    rest = {name: value for name, value in settings.items() if name != "encrypted"}
    if settings.get("encrypted"):
        rest["storage"] = EncryptedStorage(str(settings["storage"]), KEY)
    return rest


def fill(settings: Settings, report: str) -> None:
    """Leaves a store of pulled records and of queued creates, updates and deletes of them."""
    engine = kill_work.made({**open_store(settings), "auto_flush": False})
    engine.pull("notes")
    for number in range(NOTES):
        kind = KINDS[number % 3]
        record = {"id": f"{kind}-{number}", "owner": f"{kind}-{number}"}
        engine.push("notes", record if kind != "delete" else {"id": record["id"]}, kind)
    teller(report)(engine.queue_length)
    engine.close()


def use(settings: Settings, report: str) -> None:
    """Pushes, delivers, pulls and reads everything; reports how that went."""
    write = teller(report)
    engine = kill_work.made({**open_store(settings), "auto_flush": False})
    try:
        engine.push("notes", {"id": "create-new", "owner": "create-new"})
        write("pushed")
        engine.flush(timeout=BOUND_S)
        engine.pull(timeout=BOUND_S)
        for rows in (engine.queue(), engine.failed(), engine.conflicts(), engine.records("notes")):
            write(sum(1 for _ in rows))
        write(["ended", engine.status.last_error])
    except StorageError as error:
        write(["refused", str(error)])
    finally:
        engine.close()


def filled_store(trial: Trial, fork_server: ForkServer, url: str, *, encrypted: bool) -> Path:
    """A closed store as ``fill`` leaves it."""
    path = trial.folder / "template.db"
    settings = {"base_url": url, "storage": str(path), "encrypted": encrypted}
    report = str(trial.folder / "filled")
    pid = fork_server.start(fill, settings, report)
    check(fork_server.reap(pid) == 0 and read_lines(Path(report)) == [NOTES], "a store is filled")
    return path


def used(trial: Trial, fork_server: ForkServer, path: Path, url: str, encrypted: bool) -> list[Any]:
    """What a program reports that uses the store; it must end by itself, in time."""
    report = path.with_suffix(".report")
    watch = Stopwatch()
    settings = {"base_url": url, "storage": str(path), "encrypted": encrypted}
    status = fork_server.reap(fork_server.start(use, settings, str(report)))
    check(status == 0, f"no value in a store ends the program: it ended with {status}")
    check(watch.fair_s < BOUND_S, f"no value in a store makes it hang: {watch.fair_s:.1f} s")
    lines = read_lines(report)
    last: list[Any] = lines[-1]
    outcome, _ = last
    check(outcome == "ended" or "pushed" not in lines[1:], "it ends, or the store is refused")
    return last


def served() -> SyncServer:
    """A server with the records that the queued updates and deletes are of."""
    server = SyncServer()
    for number in range(NOTES):
        kind = KINDS[number % 3]
        if kind != "create":
            key = f"{kind}-{number}"
            server.put("notes", {"id": key, "owner": key})
    return server


def random_row(
    connection: sqlite3.Connection, table: str, chance: random.Random
) -> tuple[str, tuple[Any, ...]]:
    """A condition for one row of the table, by its primary key, and the condition's values."""
    described = connection.execute(f"PRAGMA table_info({table})").fetchall()
    key = [row[1] for row in described if row[5]]
    rows = connection.execute(f"SELECT {', '.join(key)} FROM {table}").fetchall()
    return " AND ".join(f"{name} IS ?" for name in key), chance.choice(rows)


def craft(path: Path, chance: random.Random) -> list[str]:
    """Gives one to three columns of random rows a hostile value; returns which."""
    changed = []
    with closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        tables = [
            name
            for (name,) in schema
            if connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone()
        ]
        for _ in range(chance.randrange(1, 4)):
            table = chance.choice(tables)
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column, value = chance.choice(columns), chance.choice(HOSTILE_VALUES)
            where, key = random_row(connection, table, chance)
            statement = f"UPDATE OR REPLACE {table} SET {column}=? WHERE {where}"
            with suppress(sqlite3.IntegrityError):  # the column may not be empty
                connection.execute(statement, (value, *key))
            changed.append(f"{table}.{column}={str(value)[:12]!r}")
        connection.commit()
    return changed


@scenario("security", "no value that somebody writes into a store crashes or stops the program")
def crafted_stores(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, served() as server:
        template = filled_store(trial, fork_server, server.url, encrypted=False)
        rounds = trial.rounds(8, 200)
        outcomes = {"ended": 0, "refused": 0, "reported": 0}
        for number in range(rounds):
            path = trial.folder / f"crafted-{number}.db"
            shutil.copy(template, path)
            changed = craft(path, trial.random)
            try:
                outcome, text = used(trial, fork_server, path, server.url, False)
            except AssertionError as error:
                raise AssertionError(f"{error}; changed: {changed}") from error
            outcomes[outcome] += 1
            outcomes["reported"] += "set aside" in str(text)
            path.unlink()
        return {"stores": rounds, **outcomes}


def forge(path: Path, chance: random.Random) -> str:
    """Changes one row of an encrypted store as one can without the key; returns how."""
    table, column = chance.choice([("items", "data"), ("records", "state")])
    source, value = chance.choice([("items", "data"), ("records", "state")])
    new_value = {
        "copied": f"{column}=(SELECT {value} FROM {source} ORDER BY random() LIMIT 1)",
        "in plain text": f"""{column}='{{"id": "x", "owner": "mallory"}}'""",
        "altered": f"{column}=substr({column}, 1, 40) || 'AAAA' || substr({column}, 45)",
        "of another operation": "operation=(SELECT operation FROM items ORDER BY random() LIMIT 1)",
        "of another record": "record=(SELECT record FROM items ORDER BY random() LIMIT 1)",
    }
    how = chance.choice(sorted(new_value))
    if how == "of another operation":
        table = "items"
    with closing(sqlite3.connect(path)) as connection:
        where, key = random_row(connection, table, chance)
        connection.execute(f"UPDATE OR REPLACE {table} SET {new_value[how]} WHERE {where}", key)
        connection.commit()
    return f"{table}: {how}"


@scenario("security", "a value that was moved in an encrypted store is never used elsewhere")
def forged_values(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server:
        with served() as first:
            template = filled_store(trial, fork_server, first.url, encrypted=True)
            content = b"".join(each.read_bytes() for each in trial.folder.glob("template.db*"))
            check(b"owner" not in content, "no payload is readable in the file")
        rounds = trial.rounds(8, 200)
        reported = applied = 0
        for number in range(rounds):
            path = trial.folder / f"forged-{number}.db"
            shutil.copy(template, path)
            change = forge(path, trial.random)
            with served() as server:
                outcome, text = used(trial, fork_server, path, server.url, True)
                check(outcome == "ended", f"a forged value does not stop the queue: {text}")
                reported += "set aside" in str(text)
                for effect in server.journal:
                    if effect.by != "http":
                        continue
                    applied += 1
                    kind = effect.id.partition("-")[0]
                    sent = (effect.kind, (effect.data or {"owner": effect.id})["owner"])
                    check(sent == (kind, effect.id), f"{effect.id} got {sent}, after: {change}")
            path.unlink()
        check(reported, "a value that does not belong to its row is reported")
        return {"stores": rounds, "reported": reported, "applied": applied, "misused": 0}
