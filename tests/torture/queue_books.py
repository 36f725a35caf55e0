"""The books of processes that share a queue, and of the server: what was committed, rolled back or
left open by a kill, against what was requested.
"""

from collections import defaultdict
from pathlib import Path

from bytelyst_sync.testing import SyncServer
from tests.torture.fork_server import read_lines
from tests.torture.harness import check
from tests.torture.ledger import fields_of

__all__ = ["NUMBERS", "Books", "numbers_of"]

NUMBERS = 1_000_000
"""A process numbers its pushes from a multiple of this."""


def numbers_of(data: object) -> list[int]:
    """The numbers of the pushes that are in the body of a request."""
    if not isinstance(data, dict):
        return []
    mark = data.get("mark")
    return fields_of(data) + ([mark] if isinstance(mark, int) else [])


class Books:
    """What the pushing processes wrote: of each transaction what it keeps, and whether it is known
    to be committed.
    """

    def __init__(self) -> None:
        self.plans: list[list[int]] = []
        self.undone: set[int] = set()
        self.done: set[int] = set()
        self.errors: list[str] = []

    def read(self, told: Path) -> None:
        """Adds what a process wrote."""
        for line in read_lines(told):
            if not isinstance(line, list):
                continue
            kind, *rest = line
            if kind == "plan":
                kept, undone = rest
                self.plans.append(kept)
                self.undone.update(undone)
            elif kind == "done":
                self.done.update(rest)
            else:
                self.errors.append(rest[0])

    def compare(self, server: SyncServer) -> dict[str, object]:
        """Checks that all of each committed transaction was applied, once, in order, under one key,
        and nothing of one that was rolled back. One whose process did not see its end was
        applied as a whole or not at all.
        """
        arrived = defaultdict(list)
        effects = [effect for effect in server.journal if effect.by == "http"]
        for effect in effects:
            for number in numbers_of(effect.data):
                arrived[effect.collection, effect.id, number // NUMBERS].append(number)
        applied = [number for each in arrived.values() for number in each]
        there = set(applied)
        lost = self.done - there
        check(not lost, f"no committed push is lost: {len(lost)} are, such as {sorted(lost)[:5]}")
        check(len(applied) == len(there), "no push is applied twice")
        undone = self.undone & there
        check(not undone, f"nothing rolled back is sent: {sorted(undone)[:5]} were")
        for kept in self.plans:
            part = there.intersection(kept)
            check(len(part) in (0, len(kept)), f"a transaction is queued whole: {kept}, not {part}")
        for (collection, record, _), each in arrived.items():
            check(
                each == sorted(each),
                f"the changes of a record come in order: {collection}/{record} has {each[-20:]}",
            )
        keys = [effect.key for effect in effects]
        check(len(keys) == len(set(keys)), "no key is applied twice")
        self._check_keys(server)
        return {
            "transactions": len(self.plans),
            "pushes committed": len(self.done),
            "applied": len(applied),
            "rolled back": len(self.undone),
            "requests": len(server.requests),
            "lost": 0,
            "twice": 0,
        }

    def _check_keys(self, server: SyncServer) -> None:
        keys = defaultdict(set)
        for request in server.requests:
            for number in numbers_of(request.body):
                keys[number].add(request.headers.get("idempotency-key"))
        several = [number for number, each in keys.items() if len(each) > 1]
        check(not several, f"a change has one key, however often it is sent: not {several[:5]}")
