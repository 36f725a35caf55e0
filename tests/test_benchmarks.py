"""A race goes on without a peer that is missing or has changed, and says so."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.harness import Bench
from benchmarks.queue_server import database_server
from bytelyst_sync.model import Json
from tests.contrib.database_servers import PostgreSQL
from tests.typed import present

ROOT = Path(__file__).parents[1]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def bench(tmp_path: Path, out: io.StringIO) -> Bench:
    return Bench("suite", tmp_path, 0.1, out)


def missing() -> Callable[[], float]:
    raise ModuleNotFoundError("No module named 'peer'")


def changed() -> Callable[[], float]:
    def turn() -> float:
        raise AttributeError("'Message' object has no attribute 'claim_id'")

    return turn


@pytest.mark.parametrize(("peer", "reason"), [(missing, "No module"), (changed, "claim_id")])
def test_a_race_without_a_peer(
    bench: Bench,
    out: io.StringIO,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    peer: Callable[[], Callable[[], float]],
    reason: str,
) -> None:
    race = bench.race(
        "push", {"bytelyst_sync": lambda: 2.0, "raw": lambda: 1.0}, peers={"peer": peer}, unit="µs"
    )
    assert race.compare("peer") is None
    assert present(race.compare("raw")).ratio == (2.0, 2.0, 2.0)
    assert "peer                           not compared: " in capsys.readouterr().out
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["kind"] for row in rows] == ["absent", "row"]
    assert reason in rows[0]["reason"]
    (tmp_path / "rows.jsonl").write_text(out.getvalue(), "utf-8")
    report.write(tmp_path / "rows.jsonl", tmp_path / "docs")
    table = (tmp_path / "docs" / report.TABLE).read_text("utf-8")
    assert "peer: not compared" in table
    assert reason in table


def test_a_peer_that_works_is_compared(bench: Bench) -> None:
    race = bench.race(
        "push", {"bytelyst_sync": lambda: 2.0}, peers={"peer": lambda: lambda: 4.0}, unit="µs"
    )
    assert present(race.compare("peer")).ratio[0] == 0.5


@pytest.fixture
def short_form(tmp_path: Path) -> Callable[[str], list[Json]]:
    """``short_form(suite)``: the rows that a thousandth of the suite tells."""

    def run(suite: str) -> list[Json]:
        out = tmp_path / "rows.jsonl"
        command = [sys.executable, "-m", f"benchmarks.{suite}", "--scale", "0.001"]
        done = subprocess.run(
            [*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()]

    return run


def test_the_short_form_of_pushes_beside_a_large_page(
    short_form: Callable[[str], list[Json]],
) -> None:
    rows = short_form("large_page")
    assert [row["bound"] for row in rows] == [["≤", 1.0], None, ["≤", 3.0]] * 2
    assert all(row["figures"][0] > 0 for row in rows)


@pytest.mark.timeout(300)
def test_the_short_form_of_the_shared_queue_beside_its_peers(
    short_form: Callable[[str], list[Json]],
) -> None:
    if reason := PostgreSQL.missing():
        pytest.skip(reason)
    rows = short_form("django_queue")
    delivered = "2 processes, 100 items of 20 records"
    # the peer may be missing: then its rows say so
    assert [(row["race"], row.get("against", row.get("peer"))) for row in rows] == [
        (delivered, "procrastinate, without locks"),
        (delivered, "procrastinate, a lock per record (first 50)"),
        ("100 items while a snapshot is held", "no snapshot"),
        ("atomic with 50 ms of work, 8 threads, with a push", "without a push"),
        ("2 workers, 300 ms a send", "SKIP LOCKED by hand"),
        ("fold, 20,000 queued", "10,000 queued"),
        ("claim and settle, 20,000 queued", "10,000 queued"),
    ]
    bounds = [row["bound"] for row in rows if row["kind"] == "row"]
    assert bounds[-5:] == [["≥", 0.5], ["≥", 0.95], ["≥", 0.9], ["≤", 1.3], ["≤", 1.3]]


@pytest.mark.timeout(120)
def test_the_server_of_the_shared_queue_syncs_its_commits(tmp_path: Path) -> None:
    if reason := PostgreSQL.missing():
        pytest.skip(reason)
    with database_server(tmp_path) as server:
        settings = [server.execute(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
    assert settings == [[("on",)], [("on",)]]


def test_rounds_of_a_short_run(tmp_path: Path) -> None:
    bench = Bench("suite", tmp_path, 0.1, None)
    assert [bench.rounds(usual) for usual in (1, 2, 9, 50)] == [1, 2, 3, 5]
