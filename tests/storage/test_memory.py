"""What only the store in memory does, and the ordered keys that it is made of."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.storage import ordered
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.ordered import TOP, OrderedKeys
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import inserting, make_item


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_a_nested_call_is_refused(outer: str, inner: str) -> None:
    storage = MemoryStorage()

    def work(view: Transaction) -> Any:
        return getattr(storage, inner)(lambda view: None)

    with pytest.raises(RuntimeError, match=rf"{inner}\(\) was called from within"):
        getattr(storage, outer)(work)
    storage.write(inserting(make_item(1)))


def test_a_view_is_of_no_use_after_its_work() -> None:
    storage = MemoryStorage()
    kept: list[Any] = []
    storage.write(inserting(make_item(1)))
    storage.write(kept.append)
    calls: list[Callable[[Transaction], object]] = [
        lambda tx: tx.count(ITEMS),
        lambda tx: tx.next_number(),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="has ended"):
            call(kept[0])
    rows = storage.read(lambda reader: reader.scan(ITEMS))
    with pytest.raises(RuntimeError, match="has ended"):
        next(rows)


def test_it_says_what_it_is() -> None:
    assert repr(MemoryStorage()) == "MemoryStorage()"
    assert MemoryStorage().changes() == MemoryStorage().changes()


def test_each_store_has_its_own_right() -> None:
    first, second = (MemoryStorage().delivery_right() for _ in range(2))
    assert first.acquire()
    assert second.acquire()


# -- ordered keys ---------------------------------------------------------------------------------

PAIRS = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(
    st.lists(st.tuples(st.booleans(), PAIRS), max_size=200),
    PAIRS,
    PAIRS,
    st.booleans(),
)
def test_ordered_keys_are_a_sorted_set(
    steps: list[tuple[bool, tuple[int, int]]],
    low: tuple[int, int],
    high: tuple[int, int],
    reverse: bool,
) -> None:
    keys, model = OrderedKeys(), set()
    for adds, key in steps:
        if adds and key not in model:
            keys.add(key)
            model.add(key)
        elif key in model:
            keys.remove(key)
            model.remove(key)
        else:
            with pytest.raises(KeyError):
                keys.remove(key)
    expected = sorted((key for key in model if low <= key < high), reverse=reverse)
    assert list(keys.between(low, high, reverse=reverse)) == expected
    assert list(keys.between((), (TOP,))) == sorted(model)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "_CHUNK", 4)


def test_a_queue_keeps_full_chunks_and_drops_empty_ones() -> None:
    keys = OrderedKeys()
    for number in range(1000):
        keys.add((number,))
    assert len(keys._chunks) == 250
    for number in range(996):
        keys.remove((number,))
    assert len(keys._chunks) == 1
    assert list(keys.between((), (TOP,))) == [(n,) for n in range(996, 1000)]


def test_the_top_is_above_everything() -> None:
    assert (1, TOP) > (1, 10**9)
    top: tuple[Any, ...] = (1, TOP)
    assert top > (1, "z", None)
    assert (1, TOP) < (2,)
    assert not TOP < TOP
