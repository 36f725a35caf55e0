"""Power loss while a damaged file is being set aside: what could be read of it is carried over."""

import os
import shutil
from pathlib import Path

from bytelyst_sync.testing import SyncServer
from tests.torture.harness import Trial, check, scenario
from tests.torture.mounts import needs_root, private
from tests.torture.power_loss import Life, Run, engine_on

QUEUED = 300
HEADER_BYTES = 100
"""SQLite's header, which says that the file is a store: it stays as it is."""
DAMAGE = b"\xff" * 100


def damaged(folder: Path, *, crashed: bool) -> list[Path]:
    """A queue of ``QUEUED`` items, damaged after its header; with a WAL, if it crashed."""
    folder.mkdir()
    left = folder / "left"
    left.mkdir()
    files: list[Path | str] = []
    with engine_on(folder / "queue.db") as engine:
        for number in range(1, QUEUED + 1):
            engine.push("events", {"id": str(-number), "text": "x" * 500})
        if crashed:
            files = [shutil.copy(folder / name, left) for name in ("queue.db", "queue.db-wal")]
    if not crashed:
        files = [shutil.copy(folder / "queue.db", left)]
    with Path(files[0]).open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(DAMAGE)
    return [Path(file) for file in files]


def put(files: list[Path], place: Path) -> None:
    """Copies them there, durably."""
    for file in files:
        copy = Path(shutil.copy(file, place))
        copy.chmod(0o600)
        descriptor = os.open(copy, os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)


@scenario(
    "power loss",
    "power lost in the midst of a salvage: it is taken up, and nothing readable is lost",
    tools=("mkfs.ext4", "mount"),
    missing=needs_root,
)
def power_loss_in_salvage(trial: Trial) -> dict[str, object]:
    """A writer opens a damaged queue and pushes; the plug is pulled from its first write on."""
    private()
    losses = midway = 0
    notices = set()
    for number in range(trial.rounds(2, 4)):
        files = damaged(trial.folder / f"damaged{number}", crashed=number % 2 == 0)
        with SyncServer() as server:
            options = trial.random.choice(("data=ordered", "data=writeback"))
            run = Run(trial.folder, server, Life(1, 2, "full", deliver=False, options=options))
            try:
                put(files, run.place)
                run.live()
                instants = run.first_instants(trial.rounds(5, 20), trial.random)
                for place, blocks, _ in run.disk.power_losses(instants, trial.random):
                    with run.opened(blocks) as queue:
                        losses += 1
                        midway += not queue.exists()
                        promised = run.acknowledged[: instants[place][0].acknowledged]
                        notices.add(look(queue, promised))
            finally:
                run.close()
    check(midway, "some power losses come between the two renames, or nothing is proven")
    return {"power losses": losses, "with no file at the path": midway, "rows carried": QUEUED}


def look(queue: Path, promised: list[int]) -> str | None:
    """Opens it: all that was in the damaged file is there, and all that was acknowledged since."""
    with engine_on(queue) as engine:
        found = {int(item.record_id) for item in engine.queue()}
        notice = engine.status.last_error
        expected = {-number for number in range(1, QUEUED + 1)} | set(promised)
        missing = sorted(expected - found)
        check(not missing, f"nothing readable is lost: {len(missing)} are, as {missing[:3]}")
        check(engine.queue_length == len(found), "the number of queued items is exact")
    return notice
