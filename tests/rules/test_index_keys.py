"""The keys of an index: equal values share one, and keys sort as the values do."""

from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.rules.index_keys import index_key, is_exact
from bytelyst_sync.rules.merge import same_value
from bytelyst_sync.rules.ordering import sort_key

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[]), max_size=4)
    | st.text("ab", min_size=95, max_size=105)
)


@given(SCALARS | st.lists(SCALARS, max_size=2), SCALARS | st.lists(SCALARS, max_size=2))
def test_keys_sort_as_values_do(
    one: list[str | float | None] | float | str | None,
    other: list[str | float] | str | float | None,
) -> None:
    first, second = sorted([one, other], key=sort_key)
    if is_exact(index_key(first)) and is_exact(index_key(second)):
        assert index_key(first) <= index_key(second)
        assert (index_key(first) == index_key(second)) == same_value(first, second)
    elif same_value(first, second):
        assert index_key(first) == index_key(second)


@given(st.lists(SCALARS, max_size=9))
def test_keys_can_be_stored(values: list[float | str | None]) -> None:
    for value in values:
        index_key(value).encode()


def test_ids_of_both_types_share_a_key() -> None:
    assert index_key(7, ids=True) == index_key("7", ids=True)
    assert index_key(None, ids=True) == index_key(None)


def test_a_number_beyond_a_float_has_a_key() -> None:
    assert index_key(10**400) > index_key(1e308) > index_key(0) > index_key(-(10**400))
    assert not is_exact(index_key(10**400))
    assert not is_exact(index_key("a" * 101))
    assert is_exact(index_key("a" * 99))
