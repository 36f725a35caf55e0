"""Workers and pushers of a shared queue, killed, stopped and told to end."""

import signal

from bytelyst_sync.testing import Drop, DropAnswer, Reply
from tests.torture.harness import Trial, check, scenario
from tests.torture.shared_queue import Process, Site, Terms, missing

FAULTS = (Drop(), DropAnswer(), DropAnswer(), Reply(503), None, None, None)
WORKERS, PUSHERS = 3, 2


def busy(site: Site, workers: int = WORKERS, pushers: int = PUSHERS) -> None:
    """Starts workers and pushers, and waits until they deliver."""
    for _ in range(workers):
        site.worker()
    for _ in range(pushers):
        site.pusher()
    site.wait_for(lambda: site.server.journal, "the workers deliver")


def trouble(site: Site) -> None:
    """Some requests or answers get lost."""
    site.server.script(*[site.chance.choice(FAULTS) for _ in range(site.chance.randrange(6))])


def senders(site: Site) -> list[Process]:
    """The workers whose requests the server has and has not answered."""
    sending = {each.headers.get("x-worker") for each in site.server.in_flight}
    return [each for each in site.processes if str(each.pid) in sending]


@scenario(
    "django",
    "workers and pushers killed at any instant lose nothing, send nothing twice, keep the order",
    missing=missing,
    limit_s=600.0,
)
def queue_killed(trial: Trial) -> dict[str, object]:
    with Site(trial) as site:
        busy(site)
        while_sending = 0
        for number in range(trial.rounds(10, 300)):
            trouble(site)
            site.server.latency_s = site.chance.choice([0.0, 0.005, 0.05])
            if number % 3:
                seen = len(site.server.requests)
                site.wait_for(
                    lambda seen=seen: len(site.server.requests) > seen + 3, "others go on"
                )
            site.rest(0.3 * site.chance.random() ** 2)
            victims = [site.chance.choice(site.processes)]
            if number % 3 == 2:
                site.server.latency_s = 0.2
                site.wait_for(lambda: senders(site), "the workers send")
                victims = senders(site) or victims
            victim = site.chance.choice(victims)
            while_sending += victim in senders(site)
            site.kill(victim)
            if victim.kind == "worker":
                site.worker()
            else:
                site.pusher()
        site.server.clear_script()
        found = site.finish()
        check(trial.short or while_sending, "some kill came while something was being sent")
        return {"kills": site.kills, "while sending": while_sending, **found}


@scenario(
    "django",
    "workers stopped past their leases, also with the lock of the queue, hold up nobody",
    missing=missing,
    limit_s=900.0,
)
def queue_stopped(trial: Trial) -> dict[str, object]:
    terms = Terms(request_deadline_s=1.0, margin_s=0.5, idle_s=1.0) if trial.short else Terms()
    with Site(trial, terms=terms) as site:
        busy(site)
        with_lock = 0
        for number in range(trial.rounds(2, 40)):
            if number % 2 == 0:
                victim = site.worker(site.chance.randrange(1, 40))
                site.wait_for(
                    lambda victim=victim: victim.has_told("stopped with the lock"),
                    "a worker changes the queue",
                )
                victim.stopped = True
                with_lock += 1
            else:
                victim = site.chance.choice(site.of_kind("worker"))
                victim.send(signal.SIGSTOP)
            before = len(site.server.journal)
            held_s = max(site.terms.idle_s, site.terms.lease_s) + 1.0
            site.wait_for(
                lambda before=before: len(site.server.journal) > before + 5,
                "the other workers go on when one is stopped",
                held_s + 1.0,
            )
            # also past its lease
            site.rest(site.terms.lease_s * site.chance.choice([0.2, 1.3]))
            victim.send(signal.SIGCONT)
            if len(site.of_kind("worker")) > WORKERS + 1:
                site.kill(site.of_kind("worker")[0])
        check(with_lock, "some stop came inside the locked transaction")
        return {"stopped with the lock": with_lock, **site.finish()}
