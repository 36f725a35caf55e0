"""Processes that are frozen (SIGSTOP), as a debugger, a paused container or a laptop's lid does."""

import os
import signal
from pathlib import Path

from bytelyst_sync.testing import SyncServer
from tests.torture import frozen_work as work
from tests.torture.fork_server import ForkServer, read_lines
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.kill import Hunt
from tests.torture.processes import lines_by_name

TAKEOVER_AFTER_S = 0.6
LOOKS_S = 2.4
"""A standby takes over after six looks at the earliest, each 0.4 s after the one before."""
SLACK_S = 2.0
"""For a few steps of its own."""
DELIVERERS = 3


class Freezer:
    """Processes on one file: some deliver, one pushes. Some are frozen and go on later."""

    def __init__(self, hunt: Hunt, server: SyncServer) -> None:
        self.hunt, self.server = hunt, server
        self.slots = {str(slot): self._begin(str(slot)) for slot in range(DELIVERERS)}
        self.pusher = hunt.begin(
            work.push_through, hunt.first, "p", auto_flush=False, headers={"X-Slot": "p"}
        )
        self.takeovers: list[float] = []
        self.replaced: set[str] = set()
        self.frozen = self.inside_a_write = 0

    def _begin(self, slot: str) -> tuple[int, Path]:
        headers = {"X-Slot": slot}
        return self.hunt.begin(work.deliver_and_watch, headers=headers, workers=1 + int(slot))

    def freeze_some(self) -> None:
        """Freezes the deliverer, at times another one too, and lets them go on later."""
        hunt, server = self.hunt, self.server
        seen = len(server.requests)
        check(server.wait_for(lambda: len(server.requests) > seen + 5, 10.0), "it sends")
        hunt.wait(0.2)
        holder = server.requests[-1].headers["x-slot"]
        chosen = [holder]
        if hunt.chance.random() < 0.3:
            chosen.append(hunt.chance.choice([slot for slot in self.slots if slot != holder]))
        pids = [self.slots[slot][0] for slot in chosen]
        watch = Stopwatch()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.frozen += len(pids)
        begun = len(server.requests)
        long = hunt.chance.random() < 0.7
        try:
            if long:
                self._see_taken_over(chosen, pids, begun, watch)
            hunt.rest(hunt.chance.random() * TAKEOVER_AFTER_S)
        finally:
            for pid in hunt.chance.sample(pids, len(pids)):
                os.kill(pid, signal.SIGCONT)
                hunt.wait(0.2)
        after = len(server.journal)
        check(server.wait_for(lambda: len(server.journal) > after + 2, 10.0), "all goes on")

    def _see_taken_over(
        self, slots: list[str], pids: list[int], begun: int, watch: Stopwatch
    ) -> None:
        """Another process delivers within the bound, or a push says which one holds it up.

        The first of ``slots`` is the deliverer.
        """

        def by_another() -> bool:
            return any(each.headers["x-slot"] not in slots for each in self.server.requests[begun:])

        def refused() -> list[str]:
            reported = lines_by_name(read_lines(self.pusher[1])).get("refused", [])
            return [text for text in map(str, reported) if any(str(pid) in text for pid in pids)]

        bound_s = max(TAKEOVER_AFTER_S, LOOKS_S) + SLACK_S
        already = len(refused())
        while watch.fair_s < bound_s and not self.server.wait_for(by_another, 0.1):
            if len(refused()) > already:
                break  # it was frozen inside a write: nobody can write before it goes on
        if by_another():
            self.takeovers.append(watch.seconds)
            self.replaced.add(slots[0])
        else:
            check(
                len(refused()) > already,
                f"another process delivers within {bound_s:.1f} s, or pushes say that process"
                f" {pids} keeps the file locked: {self._named()}",
            )
            self.inside_a_write += 1

    def _named(self) -> list[object]:
        reported = [read_lines(each) for _, each in (*self.slots.values(), self.pusher)]
        return [lines[-1] if lines else None for lines in reported]

    def check_named(self) -> int:
        """The statuses of those that waited named each process that was replaced; returns how many
        they named.
        """
        named = set()
        for _, reported in self.slots.values():
            for text in lines_by_name(read_lines(reported)).get("deliverer", []):
                named |= {slot for slot, (pid, _) in self.slots.items() if f" {pid} " in f"{text} "}
        check(named >= self.replaced, f"statuses name {self.replaced}: they named {named}")
        return len(named)

    def end(self) -> None:
        """Kills all of them."""
        for each in (*self.slots.values(), self.pusher):
            self.hunt.end(*each)


@scenario("processes", "a frozen deliverer is replaced and goes on later: nothing lost or twice")
def deliverer_frozen(trial: Trial) -> dict[str, object]:
    with ForkServer() as fork_server, SyncServer(latency_s=0.003) as server:
        hunt = Hunt(trial, fork_server, server.url, takeover_after=TAKEOVER_AFTER_S)
        freezer = Freezer(hunt, server)
        for _ in range(trial.rounds(4, 60)):
            freezer.freeze_some()
        named = freezer.check_named()
        freezer.end()
        hunt.drain()
        times = sorted(freezer.takeovers) or [0.0]
        return {
            **hunt.figures(server.journal),
            "frozen": freezer.frozen,
            "taken over": len(freezer.takeovers),
            "median s": times[len(times) // 2],
            "slowest s": times[-1],
            "frozen inside a write": freezer.inside_a_write,
            "deliverers named by a status": named,
        }
