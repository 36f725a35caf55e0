"""Act 2: two people edit the same records, both out of coverage, and then they come back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from agreement import (
    HEAD,
    Settled,
    disagreements,
    lost_one_sided,
    lost_silently,
    table,
    unexpected,
)
from processes import Client, DemoError, Event, Server
from shared_records import INVOICES, STORIES, STRATEGIES, Edit, at_first, by_ana, by_ben
from terminal import Screen

from bytelyst_sync.testing import SyncServer

TITLE = "two people edit the same records, both out of coverage"


def play(screen: Screen, folder: Path) -> list[str]:
    """Play the act; return what differs in the end."""
    with ExitStack() as cleanup:
        act = _Act(screen, folder, cleanup)
        act.in_coverage()
        act.out_of_coverage()
        act.ana_is_back()
        act.ben_is_back()
        act.settled_by_hand()
        act.quiet()
    return act.compared()


class _Person:
    """Ana or Ben: a program with a database of its own."""

    def __init__(self, name: str, folder: Path, url: str, cleanup: ExitStack) -> None:
        self.name = name
        self._client = Client(folder, url, program="pair_client.py", name=name.lower())
        cleanup.callback(self._client.close)

    def push(self, edits: Iterable[Edit]) -> int:
        """Push changes; return how many wait to be sent."""
        listed = [(edit.entity, edit.operation, edit.data) for edit in edits]
        return int(self._ask("pushed", do="push", edits=listed)["queued"])

    def sync(self) -> Event:
        """Synchronise until nothing moves any more."""
        event = self._ask("synced", do="sync")
        if not event["quiet"]:
            raise DemoError(f"{self.name}: it does not come to rest: {event}")
        return event

    def sync_offline(self) -> Event:
        """Try to synchronise where there is no network."""
        event = self._ask("synced", do="try")
        if not event["offline"]:
            raise DemoError(f"{self.name}: should have found no network: {event}")
        return event

    def resolve(self, conflict: str, answer: object) -> None:
        """Settle a parked conflict."""
        self._ask("resolved", do="resolve", id=conflict, answer=answer)

    def look(self) -> Event:
        """What is to be seen: the local view and the conflicts."""
        return self._ask("seen", do="look")

    def end(self) -> None:
        """Let it end by itself."""
        self._client.end()

    def _ask(self, event: str, **command: object) -> Event:
        self._client.tell(json.dumps(command))
        return self._client.expect_event(event)


class _Act:
    """The scenes, in the order in which they are played."""

    def __init__(self, screen: Screen, folder: Path, cleanup: ExitStack) -> None:
        self._screen = screen
        self._server = Server(folder, latency_ms=5)
        cleanup.callback(self._server.close)
        self._ana = _Person("Ana", folder, self._server.url, cleanup)
        self._ben = _Person("Ben", folder, self._server.url, cleanup)
        self._seen: dict[str, Event] = {}
        self._last: dict[str, Event] = {}

    def in_coverage(self) -> None:
        """Both have the same records."""
        self._server.up()
        self._screen.step("a server, and two clients with a database each: three processes")
        self._ana.push(at_first())
        self._ana.sync()
        self._ben.sync()
        views = [person.look()["view"] for person in (self._ana, self._ben)]
        if views[0] != views[1]:
            raise DemoError(f"Ana and Ben begin with different views: {views}")
        records = sum(len(records) for records in views[0].values())
        self._screen.step(f"Ana and Ben have pulled the same {records} records")

    def out_of_coverage(self) -> None:
        """Ben edits, then Ana does."""
        self._server.down()
        self._screen.step("out of coverage: the server is gone")
        for person, edits in ((self._ben, by_ben(later=False)), (self._ana, by_ana())):
            queued = person.push(edits)
            person.sync_offline()
            self._screen.step(f"{person.name} makes {queued} changes, which wait: no network")

    def ana_is_back(self) -> None:
        """The first one finds the server as she left it."""
        self._server.up()
        result = self._ana.sync()
        self._screen.step(
            f"Ana is back: {result['pushed']} changes delivered, {result['conflicts']} conflicts, "
            "as nobody was there before her"
        )
        queued = self._ben.push(by_ben(later=True))
        self._screen.step(f"Ben, still out of coverage, makes one more: {queued} wait")

    def ben_is_back(self) -> None:
        """The second one meets what the first one did."""
        result = self._ben.sync()
        self._screen.step(
            f"Ben is back: {result['conflicts']} conflicts, {result['parked']} of them parked "
            "for him; the others are settled"
        )

    def settled_by_hand(self) -> None:
        """Ben and the customer meet half-way."""
        for conflict in self._ben.look()["parked"]:
            if conflict["entity"] != INVOICES:
                raise DemoError(f"parked, though no strategy says so: {conflict}")
            ours, theirs = conflict["here"]["euro"], conflict["there"]["euro"]
            agreed = {**conflict["there"], "euro": (ours + theirs) // 2}
            self._ben.resolve(conflict["id"], agreed)
            self._screen.step(
                f"Ben is shown {ours} (his) and {theirs} (Ana's), and resolves it as "
                f"{agreed['euro']}"
            )

    def quiet(self) -> None:
        """Both synchronise until nothing moves, and end."""
        for person in (self._ben, self._ana):
            self._last[person.name] = person.sync()
        for person in (self._ana, self._ben):
            self._seen[person.name] = person.look()
            person.end()
        self._server.down()
        self._screen.step("both have synchronised until nothing moved; all three are stopped")

    def compared(self) -> list[str]:
        """Show what was decided; compare the views, the server, and what should be."""
        source = SyncServer(state=self._server.state)  # not started: it only reads its file
        server = {name: source.records(name) for name in STRATEGIES}
        settled = [Settled(**each) for seen in self._seen.values() for each in seen["settled"]]
        self._screen.say("What was decided, as Ben's client met it (here: Ben's; there: Ana's):")
        self._screen.grid(HEAD, table(settled, server))
        views = {name: seen["view"] for name, seen in self._seen.items()}
        apart = list(disagreements(server, views))
        lost = list(lost_one_sided(STORIES, server))
        silent = list(lost_silently(STORIES, settled, server))
        wrong = list(unexpected(STORIES, server))
        left = [
            f"{name}: {what} is {event[what]}, and should be 0"
            for name, event in self._last.items()
            for what in ("queued", "failed", "parked")
            if event[what]
        ]
        records = sum(map(len, server.values()))
        self._screen.table(
            [
                ("conflicts, all settled", len(settled)),
                ("records that Ana, Ben and the server hold", records),
                ("  of them seen differently by one of the three", len(apart)),
                ("  of them not what the strategy promises", len(wrong)),
                ("one-sided edits", sum(len(story.one_sided) for story in STORIES)),
                ("  of them lost", len(lost)),
                ("edits that gave way and were not kept to be recovered", len(silent)),
                ("still queued, failed or parked", len(left)),
            ]
        )
        if not (apart or lost):
            self._screen.say("Both views and the server agree; no one-sided edit was lost.")
        return apart + lost + silent + wrong + left
