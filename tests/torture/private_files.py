"""Files of a store: nobody else's to read, and never written through a link that waits for them."""

from __future__ import annotations

import os
import random
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bytelyst_sync import EntityConfig, SyncError
from tests.torture.harness import Trial, check, scenario
from tests.torture.recorder import Recorder, engine_at

if TYPE_CHECKING:
    from typing_extensions import Self

VICTIM = b"somebody else's file, that nothing here may touch\n" * 40
SIDECARS = ("-wal", "-shm", "-journal", ".lock", ".deliver")
STEPS = ("begin", "go on", "damaged header", "damaged page", "cut off", "replaced by text")


class Sentry:
    """Looks at a folder's modes again and again until it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self.looks = 0
        self.names: set[str] = set()
        self.open_to_others: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(0.0005):
            self.look()

    def look(self) -> None:
        """One look."""
        self.looks += 1
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                    self.names.add(entry.name)
                    if mode & 0o077 and not entry.is_symlink():
                        self.open_to_others.add(f"{entry.name} {mode:o}")


def _damage(path: Path, step: str, rng: random.Random) -> None:
    """What may happen to a file while nobody has it open."""
    content = bytearray(path.read_bytes())
    if step == "damaged header":
        content[:64] = rng.randbytes(64)
    elif step == "damaged page":
        start = rng.randrange(4096, max(4097, len(content) - 4096))
        content[start : start + 3000] = rng.randbytes(3000)
    elif step == "cut off":
        del content[len(content) // 2 :]
    elif step == "replaced by text":
        content = bytearray(b"not a database\n" * 500)
    else:
        return
    path.write_bytes(bytes(content))


def _live(server: Recorder, path: Path, number: int | str) -> bool:
    """An engine's life on this file; whether it could."""
    try:
        with engine_at(server.url, {"notes": EntityConfig("/notes")}, storage=path) as engine:
            engine.push_many("notes", [{"id": f"{number}-{n}", "t": "x" * 200} for n in range(100)])
            engine.flush(timeout=5)
            engine.push("notes", {"id": f"{number}-left"})
            list(engine.records("notes"))
    except SyncError:
        return False
    return True


@scenario("security", "every file of a store is its owner's only, at every instant of its life")
def private_files(trial: Trial) -> dict[str, object]:
    """Life, damage and repair under a umask that hides nothing."""
    rounds = trial.rounds(1, 4)
    os.umask(0)
    names, looks = set(), 0
    with Recorder() as server:
        for number in range(rounds):
            folder = trial.folder / f"{number}"
            folder.mkdir(mode=0o755)
            path = folder / "queue.db"
            with Sentry(folder) as sentry:
                for step in STEPS:
                    if path.exists():
                        _damage(path, step, trial.random)
                    check(_live(server, path, f"{number}-{step}"), f"it goes on after: {step}")
                    sentry.look()
            found = sorted(sentry.open_to_others)
            check(not found, f"others may read {found}")
            names |= sentry.names
            looks += sentry.looks
    aside = {name for name in names if name not in {f"queue.db{each}" for each in ("", *SIDECARS)}}
    check(aside, "a damaged file is set aside under a name of its own")
    return {"lives": rounds * len(STEPS), "looks": looks, "set aside": len(aside)}


@scenario(
    "security", "a link that waits in the place of one of a store's files is never written to"
)
def planted_links(trial: Trial) -> dict[str, object]:
    """Each file's place, taken beforehand by a link to somebody's file, or to nothing."""
    refused = lives = 0
    with Recorder() as server:
        for suffix in SIDECARS:
            for exists in (True, False):
                for damaged in (False,) if trial.short else (False, True):
                    folder = trial.folder / f"{suffix}-{exists}-{damaged}"
                    folder.mkdir()
                    path, victim = folder / "queue.db", folder / "victim"
                    if exists:
                        victim.write_bytes(VICTIM)
                        victim.chmod(0o640)
                    check(_live(server, path, "before"), "it lives before")
                    if damaged:
                        _damage(path, "damaged header", trial.random)
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                    path.with_name(path.name + suffix).symlink_to(victim)
                    lives += 1
                    refused += not _live(server, path, "after")
                    message = f"{suffix}, {'damaged' if damaged else 'sound'}"
                    check(victim.exists() == exists, f"{message}: the link's target was made")
                    if exists:
                        mode = stat.S_IMODE(victim.stat().st_mode)
                        check(
                            victim.read_bytes() == VICTIM, f"{message}: the target was written to"
                        )
                        check(mode == 0o640, f"{message}: the target's mode is {mode:o}")
        _link_to_the_store(trial, server)
    return {"links": lives, "refused": refused, "store behind a link": "lives beside its target"}


def _link_to_the_store(trial: Trial, server: Recorder) -> None:
    """A path that is itself a link is the owner's wish: one store, at the link's target."""
    real, linked = trial.folder / "real", trial.folder / "linked"
    real.mkdir()
    linked.mkdir()
    os.umask(0)
    (linked / "queue.db").symlink_to(real / "store.db")
    check(_live(server, linked / "queue.db", "linked"), "a link to a store is a store")
    check(_live(server, real / "store.db", "real"), "and its target is the same")
    left = [path.name for path in linked.iterdir()]
    check(left == ["queue.db"], f"beside the link there are other files: {left}")
    check((linked / "queue.db").is_symlink(), "the link is still one")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in real.iterdir()}
    check(all(not mode & 0o077 for mode in modes.values()), f"others may read {modes}")
