"""The page about the architecture tells the way of a push and of a delivery as it is.

Both are run while every call of the package is noted; the calls that the page names come in its
order. Rows of special cases are left out.
"""

import importlib.util
import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import bytelyst_sync
from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import SyncServer
from tests.typed import present

PACKAGE = Path(bytelyst_sync.__file__).parent
DOCS = PACKAGE.parent / "docs"
TEXT = (DOCS / "architecture.rst").read_text("utf-8")
SPECIAL = {
    (
        "delivery/confirmation.py",
        "Confirmation.confirmed",
    ),  # of a refusal that may not be the API's
    ("replica/conflicts.py", "Resolver.resolve_queued"),  # of a conflict
    ("protocol/responses.py", "AttemptResult"),  # a class
}
WORKER = "bytelyst-sync"
MOST_OF_A_PUSH, MOST_OF_A_DELIVERY = 84, 430


def named(section: str) -> list[tuple[str, str]]:
    """The calls in the first column of a section's table."""
    found = present(re.search(rf"^{section}\n=+\n(.*?)\n\n\n", TEXT, re.DOTALL | re.MULTILINE))[1]
    table = found[found.index(".. list-table::") :]
    return [
        call
        for call in re.findall(r"^   \* - ``([\w/]+\.py): ([\w.]+)``$", table, re.MULTILINE)
        if call not in SPECIAL
    ]


class Calls:
    """Notes the calls of the package, by thread."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)):
            name = frame.f_code.co_name
            values = frame.f_locals
            owner = values.get("cls", type(values["self"]) if "self" in values else None)
            for kind in owner.__mro__ if isinstance(owner, type) else ():
                if name in vars(kind) and kind.__module__.startswith("bytelyst_sync"):
                    name = f"{kind.__name__}.{name}"
                    break
            module = Path(file).relative_to(PACKAGE).as_posix()
            self.made.append((threading.get_ident(), module, name))

    def of(self, thread: int) -> list[tuple[str, str]]:
        return [(module, name) for ident, module, name in self.made if ident == thread]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """The calls of a push to a record that waits, of one to a new record, and of the worker."""
    earlier = sys.getprofile(), threading.getprofile()
    calls = Calls()
    with SyncServer() as server:
        threading.setprofile(calls)
        engine = create_sync_engine(
            base_url=server.url,
            entities={"notes": "/notes"},
            storage=tmp_path_factory.mktemp("ways") / "app.db",
            auth=lambda: "token",
        )
        try:
            engine.start()
            engine.flush(timeout=30)  # what is done once is done
            engine.pause()
            engine.push("notes", {"id": "1", "title": "first"})
            me = threading.get_ident()
            (worker,) = (each.ident for each in threading.enumerate() if each.name == WORKER)
            pushes = []
            for note in ({"id": "1", "title": "second"}, {"id": "2", "title": "new"}):
                calls.made.clear()
                sys.setprofile(calls)
                engine.push("notes", note)
                sys.setprofile(earlier[0])
                pushes.append(calls.of(me))
            calls.made.clear()
            engine.resume()
            assert engine.flush(timeout=30).success
        finally:
            sys.setprofile(earlier[0])
            threading.setprofile(earlier[1])
            engine.close()
    assert worker is not None
    return {"waits": pushes[0], "new": pushes[1], "worker": calls.of(worker)}


def in_order(made: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> Any:
    """The calls of ``wanted`` that do not come in this order."""
    place = 0
    for call in wanted:
        if call in made[place:]:
            place = made.index(call, place) + 1
        else:
            yield call


def test_a_push_goes_the_way_that_the_page_tells(ways: dict[str, list[tuple[str, str]]]) -> None:
    wanted = named("One push")
    assert len(wanted) > 8
    assert list(in_order(ways["waits"], wanted)) == []


def test_a_delivery_goes_the_way_that_the_page_tells(
    ways: dict[str, list[tuple[str, str]]],
) -> None:
    wanted = named("One delivery")
    assert len(wanted) > 10
    assert list(in_order(ways["worker"], wanted)) == []


def test_neither_grows_unnoticed(ways: dict[str, list[tuple[str, str]]]) -> None:
    """As long as the page says, within a fifth."""
    assert len(ways["new"]) <= MOST_OF_A_PUSH
    claims = [
        place
        for place, call in enumerate(ways["worker"])
        if call == ("delivery/dispatcher.py", "Dispatcher.settle_and_claim")
    ]
    assert claims[1] - claims[0] <= MOST_OF_A_DELIVERY


def test_the_pictures_show_calls_of_the_tables() -> None:
    spec = present(importlib.util.spec_from_file_location("diagrams", DOCS / "diagrams.py"))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    for steps in (module.PUSH_WAY, module.DELIVERY_WAY):
        for _, text in steps:
            call = text.split("\n")[0].split(",")[0]
            assert re.search(rf"[`.: ]{re.escape(call)}\b", TEXT), call
