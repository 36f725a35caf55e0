"""Builds that lack a part: the scenarios must find that out, or they would prove nothing."""

from tests.torture.harness import BrokenPromise, Trial, check, scenario
from tests.torture.queue_kills import busy
from tests.torture.queue_leases import LATE, late_answers
from tests.torture.shared_queue import Site, Terms, missing

LATE_ANSWERS = 5
ATTEMPTS, SECONDS = 30, 1.0


@scenario(
    "django",
    "a build that settles without comparing the numbers of claims breaks the order",
    missing=missing,
)
def without_the_fence(trial: Trial) -> dict[str, object]:
    terms = Terms(
        request_deadline_s=LATE.request_deadline_s,
        margin_s=LATE.margin_s,
        build="without the fence",
    )
    with Site(trial, terms=terms, idempotency=False, versions=False) as site:
        try:
            late_answers(site, LATE_ANSWERS)
        except BrokenPromise as broken:
            return {"found": str(broken)}
    raise BrokenPromise(f"the fence is missed in {LATE_ANSWERS} late answers")


@scenario(
    "django",
    "a build that does not lock the queue breaks what the others keep",
    missing=missing,
)
def without_the_lock(trial: Trial) -> dict[str, object]:
    with Site(trial, terms=Terms(build="without the lock")) as site:
        try:
            busy(site)
            for _ in range(ATTEMPTS):
                site.rest(SECONDS)
                broken_books(site)
            site.finish()
        except BrokenPromise as broken:
            return {"found": str(broken)}
    raise BrokenPromise(f"the lock is missed in {ATTEMPTS * SECONDS:g} s of pushes and deliveries")


def broken_books(site: Site) -> None:
    """Checks what holds at any moment."""
    for process in site.processes:
        site.books.read(process.told)
    check(not site.books.errors, f"no push fails: {site.books.errors[:1]}")
    kept = "SELECT number FROM bytelyst_sync_queues"
    used = "SELECT max(seq) FROM bytelyst_sync_items"
    # one statement, one view
    number, highest = site.query(f"SELECT ({kept}), ({used})")[0]
    check((highest or 0) <= number, f"numbers are given out once: {highest} after {number}")
    keys: dict[str, set[str]] = {}
    for request in site.server.requests:
        keys.setdefault(request.headers.get("idempotency-key", ""), set()).add(
            request.headers.get("x-worker", "")
        )
    several = [key for key, senders in keys.items() if key and len(senders) > 1]
    check(not several, f"one worker sends a change: {several[:3]} were sent by several")
