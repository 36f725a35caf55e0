"""The site at work, on a PostgreSQL of its own: ``python examples/django_site/demo.py``.

Gunicorn's processes take orders and push them in the same transaction; two workers deliver them to
a partner. One order is rolled back, one is refused by the partner, and a worker is killed. In the
end the books of the site and of the partner are compared.

Exits with 0 if they agree, with 1 otherwise. ``--stay`` leaves it running, to look at the admin.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests
from programs import DemoError, PostgreSQL, Program, manage

from bytelyst_sync.testing import Reply, SyncServer

PRODUCTS = ("coffee", "mate", "tea")
TOO_MUCH = 200_000
TIMEOUT_S = 30.0
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Prints a step, and when it was."""
    print(f"  {time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


class Shop:
    """What customers do, by HTTP. Any thread may call it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.refused: list[str] = []

    def place(self, number: int, quantity: int = 2) -> int | None:
        """Places an order; its number, or ``None`` if it was sold out."""
        note = f"note {number}"
        wanted = {"product": PRODUCTS[number % 3], "quantity": quantity, "note": note}
        answer = requests.post(f"{self.url}/orders/", json=wanted, timeout=TIMEOUT_S)
        if answer.status_code == requests.codes.conflict:
            self.refused.append(note)
            return None
        answer.raise_for_status()
        return int(answer.json()["number"])

    def customer(self, number: int) -> None:
        """One customer: orders, changes the order or takes it back, or wants too much."""
        placed = self.place(number, TOO_MUCH if number % 5 == 4 else 2)
        if placed is not None and number % 5 == 1:
            note = {"note": f"changed {number}"}
            requests.put(f"{self.url}/orders/{placed}/", json=note, timeout=TIMEOUT_S)
        if placed is not None and number % 5 == 2:
            requests.delete(f"{self.url}/orders/{placed}/", timeout=TIMEOUT_S)


@contextlib.contextmanager
def running(site: contextlib.ExitStack, partner: SyncServer) -> Iterator[dict[str, str]]:
    """A migrated database; yields the environment of the site's programs."""
    server = PostgreSQL()
    site.callback(server.stop)
    server.start()
    say("PostgreSQL runs")
    environment = {**server.environment, "SITE_PARTNER": partner.url}
    os.environ.update(environment)
    manage("migrate", "-v", "0", environment=environment)
    say("the tables are made: manage.py migrate")
    yield environment


def worker(number: int, environment: dict[str, str]) -> Program:
    """A started ``manage.py sync_worker``."""
    command = [sys.executable, "manage.py", "sync_worker"]
    found = Program(f"worker {number}", command, environment)
    found.wait_for(r"^queue 'default'")
    return found


def web(environment: dict[str, str]) -> tuple[Program, str]:
    """Gunicorn and its address."""
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn_conf.py", "site_wsgi"]
    found = Program("gunicorn", command, environment)
    url = found.wait_for(r"Listening at: (http://\S+)")[1]
    return found, url


def play(customers: int, partner: SyncServer, site: contextlib.ExitStack) -> tuple[list[str], str]:
    """The demo; returns the differences that were found, and the site's address."""
    environment = site.enter_context(running(site, partner))
    import books  # noqa: PLC0415 - needs the environment of the database

    books.prepare(PRODUCTS)
    first, second = worker(1, environment), worker(2, environment)
    site.callback(second.stop)
    site.callback(first.stop)
    gunicorn, url = web(environment)
    site.callback(gunicorn.stop)
    say(f"gunicorn with three processes at {url}, and two workers")

    shop = Shop(url)
    partner.script(Reply(422, {"error": "we do not sell to you"}), match="POST /orders")
    refused = shop.place(0)
    books.wait_until(lambda report: report["failed"] == 1)
    say(f"the partner refused order {refused}: it is in the admin, under Failed items")
    half = customers // 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shop.customer, range(1, half)))
        say(f"{half} customers were served; {len(shop.refused)} orders were rolled back")
        placed = [pool.submit(shop.customer, number) for number in range(half, customers)]
        first.kill()
        say(f"a worker was killed with {books.waiting()} changes on their way to the partner")
        for each in placed:
            each.result()
    say(f"{customers} customers were served; {len(shop.refused)} orders were rolled back")
    say(manage("sync_retry", environment=environment))
    say(manage("sync_flush", "--timeout", "60", environment=environment))
    say(manage("sync_status", environment=environment))
    found = books.differences(partner.records("orders"), shop.refused)
    found += sent_twice(partner)
    found += books.admin_differences(url)
    return found, url


def sent_twice(partner: SyncServer) -> list[str]:
    """Changes that the partner made more than once."""
    counts = Counter(effect.key for effect in partner.journal)
    return [
        f"the partner took {key} {number} times" for key, number in counts.items() if number > 1
    ]


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description="Orders, a partner, two workers, and a kill.")
    parser.add_argument("--customers", type=int, default=300, help="how many (default: 300)")
    parser.add_argument("--stay", action="store_true", help="keep running, to look at the admin")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started, too
    print("Orders pushed to a partner in the transaction that saves them", flush=True)
    with contextlib.ExitStack() as site, SyncServer(latency_s=0.02) as partner:
        try:
            found, url = play(options.customers, partner, site)
        except (DemoError, requests.RequestException) as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        for each in found:
            print(f"  DIFFERENCE: {each}", flush=True)
        good = not found
        if good:
            print("the books agree: nothing lost, nothing twice", flush=True)
        if options.stay:
            stay(url)
    return 0 if good else 1


def stay(url: str) -> None:
    """Waits for Ctrl-C."""
    print(f"\n  {url}/admin/  (user: admin, password: admin). Ctrl-C ends it.", flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with contextlib.suppress(KeyboardInterrupt):
        ended.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
