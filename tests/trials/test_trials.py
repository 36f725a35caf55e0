"""The trials of experiments in their short form."""

import subprocess
import sys
from pathlib import Path

import pytest

from bytelyst_sync.experiments.mismatch import sequential
from bytelyst_sync.experiments.sums import Sums
from tests.experiments.vectors import vector_file
from tests.trials import asos, simulations
from tests.trials.kills import Size, books

ROOT = Path(__file__).parents[2]
SEED = 20_261_130


def test_looked_at_daily_few_runs_of_an_a_a_test_have_a_winner() -> None:
    # with the controls that must fail: a fixed test read daily, and the sequence by itself
    found = dict(simulations.false_winners(SEED, 300))
    assert max(each["false winners"] for each in found.values()) <= 0.05
    naive = found["rate 0.01, 90:10, 50 units a day"]["naive"]
    assert naive > 0.2
    assert found["rate 0.2, 50:50, 500 units a day"]["fixed test daily"] > 0.25
    assert found["lognormal 1.5, 90:10, 50 units a day"]["naive"] > 0.1


def test_the_power_is_at_least_four_fifths_of_the_fixed_test() -> None:
    for name, figures in simulations.power(SEED, 600):
        assert figures["ratio"] >= 0.8, name


def test_a_mismatch_is_found_and_rarely_where_there_is_none() -> None:
    for name, figures in simulations.mismatch(SEED, 2_000):
        assert figures.get("holds", True), (name, figures)


def test_no_verdict_on_real_experiments_is_withdrawn() -> None:
    path = vector_file("asos-experiments-cc-by-4.0.csv")
    if path is None:
        # Kohavi, Tang, Xu (2020): 821,588 and 815,482 units, whatever comes after them
        p = [sequential([821_588 + n, 815_482 + n], (0.5, 0.5)) for n in (0, 10_000)]
        assert p[0] < 0.01
        return
    streams = list(asos.replay(path))
    assert len({key[0] for key, *_ in streams}) == 78
    assert sum(len(verdicts) for _, _, verdicts, _ in streams) > 20
    assert sum(withdrawn for *_, withdrawn in streams) == 0


def test_the_books_of_the_kills_are_sums_of_units() -> None:
    found = books(Size(units=12))
    assert sum(each.n for (_, metric), each in found.items() if not metric) == 12
    assert Sums() not in found.values()


@pytest.mark.timeout(100)
def test_killed_on_a_network_with_faults_nothing_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.trials", "kills", "--runs", "90"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds" in done.stdout
