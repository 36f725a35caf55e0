"""The life of a process that records exposures with another SDK, for comparison."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.trials.kill_work import units_of

PAUSE_S = 0.05
"""Between units, so that as much time passes as where each exposure is on disk."""
Expose = Callable[[str], object]


def growthbook(url: str) -> tuple[Callable[[], Expose], Callable[[], object]]:
    """GrowthBook's SDK with its tracking plugin: an instance for each thread."""
    from growthbook import Experiment, GrowthBook  # noqa: PLC0415
    from growthbook.plugins import growthbook_tracking_plugin  # noqa: PLC0415

    made = []

    def of_thread() -> Expose:
        plugin = growthbook_tracking_plugin(ingestor_host=url)
        one = GrowthBook(plugins=[plugin])
        plugin._client_key = "key"  # given to the SDK, it would fetch features from its cloud
        made.append(one)
        experiment = Experiment(key="kills", variations=["a", "b"], hashVersion=2)

        def expose(unit: str) -> None:
            one.set_attributes({"id": unit})
            one.run(experiment)

        return expose

    def close() -> None:
        for each in made:
            each.destroy()
        time.sleep(2)  # its threads of the last batches are daemons

    return of_thread, close


def posthog(url: str) -> tuple[Callable[[], Expose], Callable[[], object]]:
    """PostHog's client: one for the process."""
    from posthog import Posthog  # noqa: PLC0415

    client = Posthog("key", host=url, disable_geoip=False)

    def of_thread() -> Expose:
        return lambda unit: client.capture("exposure", distinct_id=unit)

    return of_thread, client.shutdown


CLIENTS = {"growthbook": growthbook, "posthog": posthog}


def live(name: str, url: str, folder: str, process: int, size: dict[str, int]) -> None:
    """Goes on where the last life was killed; ends as its SDK says that one should."""
    of_thread, close = CLIENTS[name](url)
    threads = [
        threading.Thread(target=record, args=(of_thread(), folder, process, number, size))
        for number in range(size["threads"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close()


def record(expose: Expose, folder: str, process: int, thread: int, size: dict[str, int]) -> None:
    """Exposes the units of a thread, and notes each after it."""
    path = Path(folder) / f"noted-{process}-{thread}"
    noted = path.read_bytes().count(b"\n") if path.exists() else 0
    note = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, unit in enumerate(units_of(process, thread, size)):
        if number < noted:
            continue
        expose(f"u{unit}")
        os.write(note, b"%d\n" % unit)
        time.sleep(PAUSE_S)
    os.close(note)
