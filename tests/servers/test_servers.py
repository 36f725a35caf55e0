"""Each real server is what the tests take it for, however it is stopped and started."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from tests.servers.json_server import JsonServer
from tests.servers.process import POLL_S, NotReadyError, RealServer, free_port
from tests.typed import present

BOUND_S = 10.0


def record_id(record: dict[str, Any]) -> str:
    return str(record.get("_id", record.get("id")))


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + BOUND_S
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(POLL_S)


def answers(server: RealServer) -> bool:
    try:
        requests.get(f"{server.base_url}/", timeout=BOUND_S)
    except requests.RequestException:
        return False
    return True


def test_records_come_and_go(real_server: RealServer) -> None:
    one = real_server.insert("projects", {"title": "one"})
    other = real_server.insert("projects", {"title": "other"})
    assert real_server.records("projects") == {record_id(one): one, record_id(other): other}
    assert real_server.records("tasks") == {}

    changed = real_server.change("projects", record_id(one), title="changed")
    assert changed["title"] == "changed"
    real_server.remove("projects", record_id(other))
    assert real_server.records("projects") == {record_id(one): changed}


def test_records_follow_the_pages(real_server: RealServer) -> None:
    titles = [f"task {number}" for number in range(12)]
    for title in titles:
        real_server.insert("tasks", {"title": title})
    found = real_server.records("tasks").values()
    assert sorted(record["title"] for record in found) == sorted(titles)


def test_wiped_it_is_empty_and_the_same_process(real_server: RealServer) -> None:
    process = real_server.process
    for entity in real_server.endpoints:
        real_server.insert(entity, {"title": "gone"})
    real_server.wipe()
    assert [real_server.records(entity) for entity in real_server.endpoints] == [{}, {}]
    assert real_server.process is process
    assert real_server.running


@pytest.mark.parametrize("kill", [False, True])
def test_stopped_it_does_not_answer_and_restarted_it_has_its_data(
    real_server: RealServer, kill: bool
) -> None:
    before = real_server.base_url
    stored = real_server.insert("projects", {"title": "kept"})
    if isinstance(real_server, JsonServer) and kill:  # it writes after it has answered
        file = real_server.file
        wait_until(lambda: "kept" in file.read_text())
    real_server.stop(kill=kill)
    assert not real_server.running
    assert not answers(real_server)

    real_server.restart()
    assert real_server.base_url == before
    kept = {record_id(stored): stored} if real_server.keeps_data else {}
    assert real_server.records("projects") == kept


class Broken(RealServer):
    name = "broken"
    endpoints: ClassVar = {}

    @classmethod
    def missing(cls) -> str | None:
        return None

    def command(self) -> list[str]:
        return [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"]

    records = insert = change = remove = wipe = None  # type: ignore[assignment]  # not called


def test_a_server_that_ends_says_what_it_wrote(tmp_path: Path) -> None:
    server = Broken(tmp_path)
    with pytest.raises(NotReadyError, match=r"broken did not start\. It wrote:\nno luck"):
        server.start()
    assert not server.running


PARENT = """
import sys, pathlib
from tests.servers.test_servers import Sleeper
server = Sleeper(pathlib.Path(sys.argv[1]))
server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


class Sleeper(Broken):
    name = "sleeper"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(self.port)]


def test_no_server_outlives_the_tests(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    server = Sleeper(tmp_path)
    try:
        server.port = int(present(parent.stdout).readline())
        assert answers(server)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate(timeout=BOUND_S)
    wait_until(lambda: not answers(server))


def test_a_free_port_is_below_those_of_connections() -> None:
    assert 15_000 <= free_port() < 30_000
