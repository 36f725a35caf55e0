"""When the network is probed, and what a probe's answer starts."""

from collections.abc import Callable
from typing import Any

import pytest

from bytelyst_sync.delivery.connectivity import Connectivity, Step
from bytelyst_sync.testing import ManualClock
from tests.typed import present

INTERVAL_S = 15.0
TRIAL_S = 300.0


class Network:
    """A probe that answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.there = False
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.there


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def make(clock: ManualClock) -> Callable[..., Connectivity]:
    def made(probe: Network | None, random: float = 1.0) -> Connectivity:
        return Connectivity(
            probe,
            clock=clock,
            random=lambda: random,
            probe_interval=INTERVAL_S,
            max_retry_delay=TRIAL_S,
        )

    return made


def delays(clock: ManualClock, connectivity: Connectivity, number: int) -> Any:
    """The seconds between the next probes."""
    found = []
    for _ in range(number):
        wait = present(connectivity.wait_s())
        found.append(wait)
        clock.advance(wait)
        connectivity.step(forced=False)
    return found


def test_offline_the_probe_backs_off_up_to_its_interval(
    clock: ManualClock, network: Network, make: Callable[..., Connectivity]
) -> None:
    connectivity = make(network)
    connectivity.lost()
    assert not connectivity.online
    found = delays(clock, connectivity, 12)
    assert found == sorted(found)
    assert found[0] < 2 < found[-1] == INTERVAL_S
    assert network.asked == 12


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)])
def test_a_fleet_that_reconnects_does_not_stampede(
    clock: ManualClock,
    network: Network,
    make: Callable[..., Connectivity],
    random: float,
    expected: float,
) -> None:
    connectivity = make(network, random)
    connectivity.lost()
    network.there = True
    clock.advance(INTERVAL_S)
    assert connectivity.step(forced=False) is Step.GO
    assert connectivity.online
    assert connectivity.resume_at == pytest.approx(clock.monotonic() + expected)


def test_a_flush_probes_at_once_and_waits_for_no_one(
    clock: ManualClock, network: Network, make: Callable[..., Connectivity]
) -> None:
    connectivity = make(network)
    connectivity.lost()
    network.there = True
    assert connectivity.step(forced=True) is Step.GO
    assert connectivity.resume_at == clock.monotonic()


def test_one_real_request_is_tried_whatever_the_probe_says(
    clock: ManualClock, network: Network, make: Callable[..., Connectivity]
) -> None:
    connectivity = make(network)
    connectivity.lost()
    clock.advance(TRIAL_S - 1)
    assert connectivity.step(forced=False) is Step.WAIT
    clock.advance(1)
    assert connectivity.step(forced=False) is Step.TRY
    connectivity.reached()
    assert connectivity.online, "traffic outweighs the probe"
    assert connectivity.resume_at == 0.0


def test_without_a_probe_a_real_request_is_tried(
    clock: ManualClock, make: Callable[..., Connectivity]
) -> None:
    connectivity = make(None)
    connectivity.lost()
    assert connectivity.step(forced=False) is Step.WAIT
    clock.advance(INTERVAL_S)
    assert connectivity.step(forced=False) is Step.TRY


def test_online_and_idle_it_is_probed_at_the_interval(
    clock: ManualClock, network: Network, make: Callable[..., Connectivity]
) -> None:
    connectivity = make(network)
    assert connectivity.idle_probe()
    assert network.asked == 0
    clock.advance(INTERVAL_S)
    assert connectivity.wait_s() == 0.0
    assert not connectivity.idle_probe()
    assert connectivity.idle_probe(), "not again before the next interval"
    assert network.asked == 1
