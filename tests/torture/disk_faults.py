"""A disk that fails: every write and every sync of a run, once, for a while, and for good."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import attrs

from bytelyst_sync import SQLiteStorage
from bytelyst_sync.storage.schema import ITEMS
from tests.torture import fault_program
from tests.torture.fault_program import PUSHES
from tests.torture.harness import Trial, check, scenario

LONGEST_S = 5.0
OF = 400
"""More calls than a run makes."""
CALLS = {"pwrite64": 330, "fdatasync": 60}
EVERY = {"pwrite64": 5, "fdatasync": 1}
"""Each so-manieth call of a long run fails."""
ERRORS = ("EIO", "ENOSPC")
LASTING = {"once": "", "three times": f"..{OF + 2}", "for good": "+"}


@attrs.define
class Counters:
    """What was counted."""

    runs: int = 0
    failing: int = 0
    acknowledged: int = 0
    refused: int = 0
    refused_and_there: int = 0
    recovered: int = 0
    slowest_s: float = 0.0


def run_with(folder: Path, call: str, error: str, lasting: str, places: list[int]) -> None:
    """Has the program push, its calls at these places failing."""
    folder.mkdir()
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"),
            *("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={OF}{lasting}"),
            *(sys.executable, fault_program.__file__, str(folder), call, str(OF)),
            *map(str, places),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    check(done.returncode == 0, f"a disk that fails ends no program: {done.stderr[-2000:]}")


def judge(
    folder: Path, place: int, call: str, error: str, lasting: str, counters: Counters
) -> None:
    """What the program was told about each push must be so."""
    where = f"{lasting}, place {place} of {folder.name}"
    lines = [line.split(" ", 2) for line in (folder / f"{place}.txt").read_text().splitlines()]
    message = {number: found for number, _, found in lines}
    counters.slowest_s = max(counters.slowest_s, *(float(took) for _, took, _ in lines))
    wild = [found for found in message.values() if found[0] == "!"]
    check(not wild, f"every error is typed ({where}): {wild[:1]}")
    pushes = [message[str(number)] for number in range(PUSHES)]
    storage = SQLiteStorage(folder / f"{place}.db")
    there = storage.read(lambda tx: {row.record for row in tx.scan(ITEMS)})
    counted = storage.read(lambda tx: tx.count(ITEMS))
    notice = storage.notice
    storage.close()
    with closing(sqlite3.connect(folder / f"{place}.db")) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    check(found == [("ok",)], f"the file stays whole ({where}): {found}")
    check(counted == len(there), f"the number of queued items is exact ({where})")
    check(notice is None, f"a disk that fails is no damaged file ({where}): {notice}")
    for number, reported in enumerate(pushes):
        if reported == "ok":
            check(str(number) in there, f"acknowledged is durable ({where}): {number} is gone")
    refused = [number for number, reported in enumerate(pushes) if reported != "ok"]
    after_all = [number for number in refused if str(number) in there]
    full = [number for number in refused if pushes[number] == "StorageFullError"]
    wrong = [number for number in full if number in after_all]
    check(not wrong, f"a full disk leaves the queue as it was ({where}): {wrong} are there")
    if error == "ENOSPC" and call == "pwrite64":  # SQLite does not say why a sync failed
        explained = [number for number in refused if pushes[number] != "unexplained"]
        check(full == explained, f"a full disk is told as such ({where}): {set(pushes)}")
    if lasting == "once" and refused:
        check(len(refused) == 1, f"after one failure the next push works ({where}): {refused}")
        counters.recovered += 1
    counters.runs += 1
    counters.failing += bool(refused)
    counters.acknowledged += PUSHES - len(refused)
    counters.refused += len(refused)
    counters.refused_and_there += len(after_all)


@scenario(
    "disk",
    "a write or sync that fails: each push is durable, or raises a StorageError",
    tools=("strace",),
)
def fault_at_every_write(trial: Trial) -> dict[str, object]:
    """The first place is drawn, then each so-manieth; in a long run, for all kinds of faults."""
    counters = Counters()
    kinds = [(call, error, lasting) for call in CALLS for error in ERRORS for lasting in LASTING]
    for call, error, lasting in trial.random.sample(
        kinds, min(len(kinds), trial.rounds(3, len(kinds)))
    ):
        most = CALLS[call]
        step = most // 6 if trial.short else EVERY[call]
        places = list(range(trial.random.randint(1, step), most + 1, step))
        folder = trial.folder / f"{call}-{error}-{lasting.replace(' ', '-')}"
        run_with(folder, call, error, LASTING[lasting], places)
        for place in places:
            judge(folder, place, call, error, lasting, counters)
    met = counters.failing > counters.runs // 4
    check(met, "most faults are met by a push, or little is proven")
    check(counters.slowest_s < LONGEST_S, f"no push hangs: one took {counters.slowest_s:.1f} s")
    return {
        "runs": counters.runs,
        "with refused pushes": counters.failing,
        "acknowledged": counters.acknowledged,
        "lost": 0,
        "refused": counters.refused,
        "refused and there after all": counters.refused_and_there,
        "recovered at the next push": counters.recovered,
        "slowest push s": counters.slowest_s,
    }
