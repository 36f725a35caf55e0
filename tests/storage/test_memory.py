"""What only the store in memory does, and the ordered keys that it is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.storage import ordered
from bytelyst_sync.storage.memory import MemoryStorage
from bytelyst_sync.storage.ordered import TOP, OrderedKeys
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item


@pytest.mark.parametrize("outer", ["read", "write"])
@pytest.mark.parametrize("inner", ["read", "write"])
def test_a_nested_call_is_refused(outer, inner):
    storage = MemoryStorage()

    def work(view):
        return getattr(storage, inner)(lambda view: None)

    with pytest.raises(RuntimeError, match=rf"{inner}\(\) was called from within"):
        getattr(storage, outer)(work)
    storage.write(inserting(make_item(1)))


def test_a_view_is_of_no_use_after_its_work():
    storage = MemoryStorage()
    kept = []
    storage.write(inserting(make_item(1)))
    storage.write(kept.append)
    for call in (lambda tx: tx.count(ITEMS), lambda tx: tx.next_number()):
        with pytest.raises(RuntimeError, match="has ended"):
            call(kept[0])
    rows = storage.read(lambda reader: reader.scan(ITEMS))
    with pytest.raises(RuntimeError, match="has ended"):
        next(rows)


@pytest.mark.parametrize("bad", ["insert", "replace", "moved", "delete"])
def test_a_mistaken_change_is_told(bad):
    storage = MemoryStorage()
    storage.write(inserting(make_item(1), make_item(2)))
    calls = {
        "insert": lambda tx: tx.insert(ITEMS, make_item(1)),
        "replace": lambda tx: tx.replace(ITEMS, make_item(3), make_item(3, turn=9)),
        "moved": lambda tx: tx.replace(ITEMS, make_item(1), make_item(2)),
        "delete": lambda tx: tx.delete(ITEMS, make_item(3)),
    }
    with pytest.raises((ValueError, LookupError), match=r"items (already )?has"):
        storage.write(calls[bad])
    assert all_rows(storage, ITEMS) == [make_item(1), make_item(2)]


def test_a_scan_beyond_its_order_is_told():
    with pytest.raises(ValueError, match="ordered by"):
        MemoryStorage().read(lambda reader: list(reader.scan(ITEMS, "due", (1.0,), after=(1, 2))))


def test_it_says_what_it_is():
    assert repr(MemoryStorage()) == "MemoryStorage()"
    assert MemoryStorage().changes() == MemoryStorage().changes()


def test_each_store_has_its_own_right():
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
def test_ordered_keys_are_a_sorted_set(steps, low, high, reverse):
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
def small_chunks(monkeypatch):
    monkeypatch.setattr(ordered, "_CHUNK", 4)


def test_a_queue_keeps_full_chunks_and_drops_empty_ones():
    keys = OrderedKeys()
    for number in range(1000):
        keys.add((number,))
    assert len(keys._chunks) == 250
    for number in range(996):
        keys.remove((number,))
    assert len(keys._chunks) == 1
    assert list(keys.between((), (TOP,))) == [(n,) for n in range(996, 1000)]


def test_the_top_is_above_everything():
    assert (1, TOP) > (1, 10**9)
    assert (1, TOP) > (1, "z", None)
    assert (1, TOP) < (2,)
    assert not TOP < TOP
