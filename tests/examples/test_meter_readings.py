"""The script for meter readings, run command by command."""

from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync.testing import Reply, SyncServer


@pytest.fixture
def meter(
    run: Callable[..., tuple[str, str]], server: SyncServer
) -> Callable[..., tuple[str, str]]:
    def meter(*arguments: Any, code: int = 0) -> tuple[str, str]:
        return run("meter_readings.py", *arguments, code=code, METER_URL=server.url)

    return meter


def test_a_day_without_a_network(meter: Callable[..., tuple[str, str]], server: SyncServer) -> None:
    with server.outage():
        assert meter("read", "A-17", "1832.5")[0] == "A-17: 1832.5 saved\n"
        meter("read", "B-2", "99")
        meter("correct", "B-2", "98")
        listed, _ = meter("list")
        assert [line.split() for line in listed.splitlines()] == [
            ["A-17", "1832.5", "waits"],
            ["B-2", "98", "waits"],
        ]
        assert meter("sync", code=1)[0] == "no network; 2 readings wait for the next time\n"
    assert meter("sync")[0] == "2 delivered, 0 fetched, 0 still wait\n"
    assert {key: each["value"] for key, each in server.records("readings").items()} == {
        "A-17": 1832.5,
        "B-2": 98,
    }
    assert len(server.journal) == 2, "the correction went with its reading"
    assert "waits" not in meter("list")[0]


def test_what_others_read_is_fetched_and_can_be_read_again(
    meter: Callable[..., tuple[str, str]], server: SyncServer
) -> None:
    server.put("readings", {"id": "C-3", "value": 5})
    assert meter("sync")[0] == "0 delivered, 1 fetched, 0 still wait\n"
    meter("read", "C-3", "6")
    meter("sync")
    assert server.records("readings")["C-3"]["value"] == 6


def test_a_refused_reading_is_reported(
    meter: Callable[..., tuple[str, str]], server: SyncServer
) -> None:
    server.reject = lambda seen: Reply(422, {"error": "no"}) if seen.method == "POST" else None
    meter("read", "A-17", "-1")
    _, complaint = meter("sync", code=1)
    assert "A-17" in complaint + meter("list")[1]


def test_wrong_use_is_reported(
    meter: Callable[..., tuple[str, str]], run: Callable[..., tuple[str, str]]
) -> None:
    assert "no reading to correct" in meter("correct", "Z", "1", code=1)[1]
    assert "--url" in run("meter_readings.py", "list", code=2)[1]
