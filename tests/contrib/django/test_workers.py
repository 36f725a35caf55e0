"""Several processes of ``manage.py sync_worker`` at once."""

from collections import Counter
from functools import partial

import pytest

from bytelyst_sync.testing import Stall, SyncServer
from tests.contrib.django.conftest import Engines, StartWorker
from tests.typed import present

BOUND_S = 60.0
WORKERS = 4
STEPS = 6
EACH_CHANGE = {"notes": {"endpoint": "/notes", "dedup": "none"}}


@pytest.mark.timeout(150)  # it starts four programs
@pytest.mark.parametrize("shared_database", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_four_workers_send_at_once_and_keep_the_order_of_each_record(
    shared_database: str, engines: Engines, start_worker: StartWorker
) -> None:
    with SyncServer() as server:
        web = engines(shared_database, None, base_url=server.url, entities=EACH_CHANGE)
        for number in range(WORKERS):
            start_worker(
                server.url,
                ENTITIES=EACH_CHANGE,
                REQUEST_DEADLINE=30.0,
                HEADERS={"X-Worker": str(number)},
            )
        server.script(*[Stall(3.0)] * WORKERS, match="POST")
        for record in range(WORKERS):
            web.push("notes", {"id": str(record), "step": 0})
            assert server.wait_for(partial(lambda at: len(server.in_flight) > at, record), BOUND_S)
        for step in range(1, STEPS):
            for record in range(WORKERS):
                web.push("notes", {"id": str(record), "step": step}, "update")
        assert web.flush(timeout=BOUND_S).success
        creates = [each for each in server.requests if each.method == "POST"]
        assert {each.headers["x-worker"] for each in creates} == set(map(str, range(WORKERS)))
        for record in range(WORKERS):
            steps = [
                present(each.data)["step"] for each in server.journal if each.id == str(record)
            ]
            assert steps == list(range(STEPS))
        assert set(Counter(each.key for each in server.journal).values()) == {1}
