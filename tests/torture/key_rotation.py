"""SIGKILL while the key of an encrypted store is changed and other processes use the store."""

import base64
from typing import Any

from bytelyst_sync import SyncEngine
from bytelyst_sync.storage import EncryptedStorage
from bytelyst_sync.testing import SyncServer
from tests.torture import kill_work
from tests.torture.fork_server import ForkServer, teller
from tests.torture.harness import Trial, check, scenario
from tests.torture.kill import Hunt
from tests.torture.ledger import applied_once

Settings = dict[str, Any]


def encrypted(settings: Settings) -> EncryptedStorage:
    """The store of these settings: the first key is the current one, the others are former keys."""
    current, *former = [base64.b64decode(key) for key in settings["keys"]]
    return EncryptedStorage(settings["storage"], current, old_keys=former)


def engine_settings(settings: Settings) -> Settings:
    """The same settings for an engine on the encrypted store."""
    rest = {name: value for name, value in settings.items() if name != "keys"}
    return {**rest, "storage": encrypted(settings)}


def push(settings: Settings, acknowledgements: str, first: int, slot: str) -> None:
    """Pushes and delivers until it is killed."""
    kill_work.push(engine_settings(settings), acknowledgements, first, slot)


def rotate(settings: Settings, report: str) -> None:
    """Changes the key of every row; reports how many rows it changed."""
    write = teller(report)
    storage = encrypted(settings)
    write(storage.rotate())
    storage.close()


def drain(settings: Settings, report: str) -> None:
    """Delivers what is queued, and reads every record of the view."""
    engine: SyncEngine = kill_work.made(engine_settings(settings))
    with engine:
        result = engine.flush(timeout=kill_work.BOUND_S)
        records = sum(1 for _ in engine.records("notes"))
        teller(report)([result.success, records, str(engine.status)])


def _new_key(trial: Trial) -> str:
    return base64.b64encode(trial.random.randbytes(32)).decode()


@scenario("kill", "a change of the key that is killed loses nothing, and can be continued")
def kill_rotating(trial: Trial) -> dict[str, object]:
    keys = [_new_key(trial)]
    kills_of_rotation = rows = 0
    with ForkServer() as fork_server, SyncServer() as server:
        hunt = Hunt(trial, fork_server, server.url)
        for _ in range(trial.rounds(3, 30)):
            keys = [_new_key(trial), keys[0]]
            for _ in range(4):
                pusher = hunt.begin(push, hunt.first, "a", keys=keys)
                hunt.wait_until_it_pushes(pusher[1])
                pid, report = hunt.begin(rotate, keys=keys)
                hunt.wait(0.08)
                kills_of_rotation += fork_server.kill(pid) != 0
                report.unlink(missing_ok=True)
                hunt.wait(0.05)
                hunt.end(*pusher)
            rows += sum(hunt.ask(rotate, keys=keys))
            [[success, _, status]] = hunt.ask(drain, keys=keys[:1])
            check(success, f"all is delivered with the new key alone: {status}")
        check(kills_of_rotation, "some kill came within a change of the key")
        return {
            "kills": hunt.kills + kills_of_rotation,
            "while the key was changed": kills_of_rotation,
            "rows changed at last": rows,
            "acknowledged": len(hunt.acknowledged),
            "applied": applied_once(server.journal, hunt.acknowledged),
            "lost": 0,
            "twice": 0,
        }
