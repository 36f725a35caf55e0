"""Claims of a shared queue: takeovers, requests that stall before they are sent, late answers, and
clocks that are wrong.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bytelyst_sync.testing import Reply
from bytelyst_sync.testing.raw import RecordedRequest
from tests.torture import faketime
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.queue_books import NUMBERS, numbers_of
from tests.torture.shared_queue import BOUND_S, Site, Terms, missing, wait_told

if TYPE_CHECKING:
    from typing_extensions import Self

SHORT = Terms(request_deadline_s=1.2, margin_s=0.8)
LATE = Terms(request_deadline_s=2.0, margin_s=0.5)
CLOCKS = Terms(request_deadline_s=5.0, margin_s=1.0)
EARLY_S = 1.0
"""What is sent twice within this was taken over early: a request that is cut off takes longer."""
HOUR_S = 3600
PLACES = ("token", "signature", "adapter")


class Held:
    """Holds the next request at the server, before it is processed, until it is let go.

    ``sender`` is the process that sent it. The server's threads call it.
    """

    def __init__(self, site: Site) -> None:
        self._server = site.server
        self._wanted = threading.Lock()
        self._go = threading.Event()
        self.arrived = threading.Event()
        self.sender = 0
        self.body: object = None
        self.reply: Reply | None = None
        site.server.reject = self

    def __call__(self, request: RecordedRequest) -> Reply | None:
        """See ``Api.reject``."""
        if request.method == "GET" or not self._wanted.acquire(blocking=False):
            return None
        self.sender, self.body = int(request.headers["x-worker"]), request.body
        self.arrived.set()
        self._go.wait(BOUND_S)
        return self.reply

    def let_go(self, reply: Reply | None = None) -> None:
        """It is processed now, or gets this answer."""
        self.reply = reply
        self._go.set()


def change(site: Site, record: str, mark: int) -> None:
    """Another process pushes a change of a record."""
    status = site.end(site.start("one_change", record, mark))
    check(status == 0, f"a push succeeds (status {status})")


def marks(site: Site, record: str) -> list[int]:
    """The changes of a record, in the order in which the server has made them."""
    return [
        number
        for effect in site.server.journal
        if effect.id == record
        for number in numbers_of(effect.data)
    ]


@scenario(
    "django",
    "what a killed or stopped worker was sending is sent by another within its lease and a second",
    missing=missing,
    limit_s=900.0,
)
def lost_worker_is_replaced(trial: Trial) -> dict[str, object]:
    slowest = 0.0
    takeovers = 0
    with Site(trial, terms=SHORT) as site:
        workers = [site.worker() for _ in range(2)]
        for process in workers:
            wait_told(site, process, "started")
        mark = 0
        for number in range(trial.rounds(2, 60)):
            mark += 2
            held = Held(site)
            record = f"s{number % 5}"
            change(site, record, mark)
            check(held.arrived.wait(BOUND_S), "a worker sends what is pushed")
            watch = Stopwatch()
            victim = next(each for each in site.processes if each.pid == held.sender)
            if number % 2:
                victim.send(signal.SIGSTOP)
            else:
                site.kill(victim)
            # behind it, in order
            change(site, record, mark + 1)
            while marks(site, record)[-1:] not in ([mark], [mark + 1]):
                check(watch.fair_s < BOUND_S, "another worker takes it over")
                site.rest(0.005)
            took = watch.fair_s
            promise = f"it is taken over within {SHORT.lease_s:g} s and a second, not {took:.2f} s"
            check(took < SHORT.lease_s + 1.0, promise)
            slowest, takeovers = max(slowest, took), takeovers + 1
            held.let_go(Reply(503))
            if number % 2:
                victim.send(signal.SIGCONT)
            else:
                wait_told(site, site.worker(), "started")
            site.wait_for(lambda r=record, m=mark: marks(site, r)[-1] == m + 1, "it goes on")
            check(marks(site, record) == sorted(set(marks(site, record))), "in order, and once")
        site.server.reject = None
        found = site.finish()
    return {"takeovers": takeovers, "lease s": SHORT.lease_s, "slowest s": slowest, **found}


@scenario(
    "django",
    "a request that stalls before it is sent, past its claim's lease, is not sent any more",
    missing=missing,
    limit_s=900.0,
)
def stalled_request_is_not_sent(trial: Trial) -> dict[str, object]:
    stalls = 0
    # a server that ignores keys and versions would make the change of a late request again
    with Site(trial, terms=SHORT, idempotency=False, versions=False) as site:
        stall = trial.folder / "stall"
        go = trial.folder / "stall.go"
        for number in range(trial.rounds(len(PLACES), 20 * len(PLACES))):
            place = PLACES[number % len(PLACES)]
            record = f"s{number % 6}"
            before = len(marks(site, record))
            go.unlink(missing_ok=True)
            stall.touch()
            first = site.start("stalling_worker", place, str(stall))
            change(site, record, 10 * number + 1)
            wait_told(site, first, "stalls")
            second = site.worker()
            change(site, record, 10 * number + 2)
            wanted = [10 * number + 1, 10 * number + 2]
            site.wait_for(
                lambda r=record, b=before, w=wanted: {*w} <= {*marks(site, r)[b:]},
                "another worker sends both changes",
            )
            if number % 2:
                first.send(signal.SIGSTOP)
                site.rest(0.1)
                first.send(signal.SIGCONT)
            go.touch()
            wait_told(site, first, "goes on")
            second.send(signal.SIGTERM)
            check(site.end(second) == 0, "a worker ends well")
            # what the first one sends is later than what it had stalled
            change(site, record, 10 * number + 3)
            site.wait_for(
                lambda r=record, m=10 * number + 3: m in marks(site, r), "the first one goes on"
            )
            found = marks(site, record)[before:]
            check(
                # a busy machine may cut a request off that the server takes, and it comes twice
                found == sorted(found),
                f"what stalled in the {place} is not sent after what came later: {found}",
            )
            first.send(signal.SIGTERM)
            check(site.end(first) == 0, "the worker that stalled ends well")
            stalls += 1
        return {"stalls": stalls, **site.locks()}


def late_answers(site: Site, rounds: int) -> dict[str, object]:
    """An answer comes to a worker whose claim's lease has ended, while another one sends the same
    change. If that answer settled it, the next change would overtake the one under way.
    """
    workers = [site.worker() for _ in range(3)]
    for process in workers:
        wait_told(site, process, "started")
    dropped = tries = 0
    while dropped < rounds:
        check(tries < 5 * rounds, "the machine lets some request be sent in its time")
        record, mark = f"s{tries % 6}", 10 * tries + 1
        before = len(marks(site, record))
        in_time = answer_late(site, record, mark)
        site.wait_for(
            lambda r=record, b=before, m=mark: m + 1 in marks(site, r)[b:], "the next is sent"
        )
        site.wait_until_delivered()
        found = marks(site, record)[before:]
        check(not in_time or found == sorted(found), f"{record} changes in order: {found}")
        dropped += in_time
        tries += 1
    site.server.reject = None
    site.stop_workers()
    return {"late answers": dropped, **site.locks()}


def answer_late(site: Site, record: str, mark: int) -> bool:
    """Changes a record twice, and gives the first answer late; whether the request of the worker
    that took the change over was certainly under way all the time.
    """
    first = Held(site)
    change(site, record, mark)
    check(first.arrived.wait(BOUND_S), "a worker sends what is pushed")
    late = next(each for each in site.processes if each.pid == first.sender)
    late.send(signal.SIGSTOP)
    change(site, record, mark + 1)
    second = Held(site)
    first.let_go()
    check(second.arrived.wait(BOUND_S), "another worker takes it over")
    watch = Stopwatch()
    check(mark in numbers_of(second.body), f"it takes over the same: {second.body}")
    late.send(signal.SIGCONT)
    # the worker that takes over waits for its answer; the other one settles meanwhile
    site.rest(LATE.request_deadline_s * 0.4)
    second.let_go()
    return watch.seconds < LATE.request_deadline_s * 0.7


@scenario(
    "django",
    "the late answer to a claim that was taken over settles nothing",
    missing=missing,
    limit_s=600.0,
)
def late_answer_settles_nothing(trial: Trial) -> dict[str, object]:
    # a server that ignores keys and versions, so that what comes out of order is seen
    with Site(trial, terms=LATE, idempotency=False, versions=False) as site:
        return late_answers(site, trial.rounds(1, 40))


# --- clocks


class Program:
    """A process of its own program, whose wall clock is off."""

    def __init__(self, site: Site, offset_s: int, function: str, *arguments: object) -> None:
        clock = faketime.FakeClock(site.trial.folder / f"clock-{function}{offset_s:+d}")
        clock.set(offset_s)
        self.site = site
        self.told = site.trial.folder / f"told-{function}{offset_s:+d}"
        given = json.dumps([site.settings, str(self.told), *arguments])
        command = [sys.executable, "-m", "tests.torture.queue_site", function, given]
        self.process = subprocess.Popen(
            command, env={**clock.environment, "FAKETIME_NO_CACHE": "0"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.site.books.read(self.told)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


@scenario(
    "django",
    "clocks an hour fast and slow end no lease early, and keep no item back",
    missing=lambda: missing() or faketime.missing(),
    limit_s=600.0,
)
def queue_clocks_off(trial: Trial) -> dict[str, object]:
    with Site(trial, terms=CLOCKS, latency_s=0.03) as site, ExitStack() as stack:
        workers = [Program(site, off, "worker") for off in (HOUR_S, -HOUR_S)]
        pushers = [
            Program(site, off, "pusher", (90 + at) * NUMBERS)
            for at, off in enumerate((HOUR_S, -HOUR_S))
        ]
        for each in (*workers, *pushers):
            stack.enter_context(each)

        def senders() -> set[str]:
            return {each.headers.get("x-worker", "") for each in site.server.requests}

        both = {str(each.pid) for each in workers}
        site.wait_for(lambda: both <= senders(), "workers whose clocks are wrong deliver")
        wanted = trial.rounds(20, 1000)
        site.wait_for(lambda: len(site.server.journal) > wanted, "they go on", 300.0)
        check_not_taken_early(site)
        held = Held(site)
        check(held.arrived.wait(BOUND_S), "the workers go on")
        watch = Stopwatch()
        victim = next(each for each in workers if each.pid == held.sender)
        victim.process.kill()
        taken = numbers_of(held.body)

        def is_there() -> bool:
            return any(set(taken) <= set(numbers_of(each.data)) for each in site.server.journal)

        while not is_there():
            check(watch.fair_s < BOUND_S, "another worker takes over")
            site.rest(0.005)
        took = watch.fair_s
        check(
            took < CLOCKS.lease_s + 1.0, f"it is taken over within lease and a second: {took:.2f}"
        )
        held.let_go(Reply(503))
        site.server.reject = None
        for each in pushers:
            each.__exit__()
        found = site.finish()
        return {"clocks off by h": "+1 and -1", "takeover s": took, **found}


def check_not_taken_early(site: Site) -> None:
    """No two workers send the same within the time of a request."""
    last: dict[str, tuple[float, str | None]] = {}
    for request in site.server.requests:
        key, sender = request.headers.get("idempotency-key"), request.headers.get("x-worker")
        if key is None:
            continue
        at, before = last.get(key, (0.0, sender))
        early = before != sender and request.at - at < EARLY_S
        check(not early, f"no lease is ended early: {before} and {sender} sent {request.body}")
        last[key] = request.at, sender
