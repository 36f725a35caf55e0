"""Transactions of the application that push: about many records, in random order, rolled back,
killed between a model's row and its push.
"""

from tests.torture.harness import Trial, check, factor, scenario
from tests.torture.queue_kills import busy
from tests.torture.shared_queue import Site, missing

LONG_S = 600.0
SHORT_S = 4.0


@scenario(
    "django",
    "pushes about many records in random order, in transactions and savepoints, wait for nobody",
    missing=missing,
    limit_s=900.0,
)
def pushes_in_random_order(trial: Trial) -> dict[str, object]:
    with Site(trial) as site:
        busy(site, workers=2, pushers=4)
        site.rest(SHORT_S if trial.short else LONG_S * factor())
        site.wait_for(lambda: len(site.server.journal) > 40, "pushes are delivered")
        found = site.finish()
        check(found["rolled back"], "some were rolled back")
        return found


@scenario(
    "django",
    "a kill between a model's save and its push leaves both there, or neither",
    missing=missing,
    limit_s=600.0,
)
def saved_model_and_its_push(trial: Trial) -> dict[str, object]:
    with Site(trial) as site:
        site.worker()
        for _ in range(trial.rounds(8, 300)):
            process = site.start("saver", site.first_number())
            site.wait_for(lambda process=process: process.has_told("started"), "orders are saved")
            site.rest(0.15 * site.chance.random())
            site.kill(process)
        site.wait_until_delivered()
        saved = {str(key): title for key, title in site.query("SELECT id, title FROM shop_order")}
        there = {key: each["title"] for key, each in site.server.records("orders").items()}
        check(saved, "orders were saved")
        check(saved == there, f"each order is at both: {sorted(saved.items() ^ there.items())[:5]}")
        site.stop_workers()
        return {"kills": site.kills, "orders": len(saved), "differences": 0, **site.locks()}
