"""What `bytelyst_sync.testing` offers, by name, and what it says when something is missing."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from bytelyst_sync import testing
from tests.interpreter import plain_environment

ROOT = Path(__file__).parents[2]


def test_all_names_are_there_and_sorted() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert set(testing.__all__) == set(testing._HOMES) | set(testing._FORMER_NAMES)
    unused = {name for name, package in testing._NEEDS.items() if package not in sys.modules}
    assert set(testing.__all__) - unused <= set(dir(testing))


@pytest.mark.parametrize("name", testing.__all__)
def test_a_name_is_documented_with_its_members(name: str) -> None:
    value = getattr(testing, name)
    assert len((value.__doc__ or "").split()) > 4
    if not inspect.isclass(value):
        return
    for attribute, member in vars(value).items():
        if not attribute.startswith("_") and (
            inspect.isroutine(member) or type(member) is property
        ):
            assert inspect.getdoc(getattr(value, attribute)), f"{name}.{attribute}"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Fake'"):
        _ = testing.Fake


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("FakeServer", "responses"),
        ("SharedContract", "pytest"),
        ("StorageContract", "pytest"),
        ("check_against_model", "hypothesis"),
    ],
)
def test_what_a_name_needs_is_said(name: str, package: str) -> None:
    done = run(
        f"import sys; sys.modules[{package!r}] = None\nfrom bytelyst_sync.testing import {name}"
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    needs = f"bytelyst_sync.testing.{name} needs {package}: pip install {package}"
    assert last == f"ModuleNotFoundError: {needs}"


def test_the_rest_needs_nothing() -> None:
    done = run(
        "import sys\n"
        "for name in ('responses', 'pytest', 'hypothesis', 'freezegun'): sys.modules[name] = None\n"
        "from bytelyst_sync import testing\n"
        "for name in set(testing.__all__) - "
        "{'FakeServer', 'SharedContract', 'StorageContract', 'check_against_model'}: "
        "getattr(testing, name)"
    )
    assert done.returncode == 0, done.stderr


def test_another_package_that_is_missing_is_not_explained_away() -> None:
    done = run(
        "import sys; sys.modules['requests'] = None\nfrom bytelyst_sync.testing import offline"
    )
    assert done.returncode == 1
    assert "needs" not in done.stderr.strip().splitlines()[-1]


def test_freezegun_does_not_load_what_is_not_used() -> None:
    done = run(
        "import sys\nimport bytelyst_sync.testing\nfrom freezegun import freeze_time\n"
        "with freeze_time('2031-05-01'): dir(bytelyst_sync.testing)\n"
        "print(*{'responses', 'pytest', 'hypothesis'} & set(sys.modules))"
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_the_kit_loads_as_little_as_is_asked_for() -> None:
    done = run(
        "import sys\nfrom bytelyst_sync.testing import ManualClock, Reply, capture_events\n"
        "print(*{'requests', 'responses', 'pytest', 'sqlite3'} & set(sys.modules))"
    )
    assert done.stdout.split() == [], done.stderr
