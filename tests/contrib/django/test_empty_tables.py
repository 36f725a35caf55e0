"""Tables that are mostly empty are asked once in a transaction whether they are."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.storage.base import Reader, Transaction
from bytelyst_sync.storage.schema import ALIASES, LINKS, Alias, Link

LINK = Link(7, "customer", "customers", "1")


@pytest.fixture
def storage(sqlite_database: str) -> Iterator[DjangoStorage]:
    storage = DjangoStorage(using=sqlite_database)
    yield storage
    storage.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements about links and aliases."""
    found = []
    execute = CursorWrapper.execute

    def note(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        if LINKS.name in sql or ALIASES.name in sql:
            found.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", note)
    return found


def look(tx: Reader) -> None:
    for seq in range(20):
        links = list(tx.scan(LINKS, None, (seq,)))
        links += list(tx.scan(LINKS, "parent", ("customers", str(seq))))
        found = tx.get(ALIASES, "customers", str(seq)), tx.present(LINKS, None, (), [seq])
        assert (links, found) == ([], (None, set()))
        assert tx.fetch(ALIASES, ("customers",), [str(seq)]) == {}


def test_an_empty_table_is_asked_once(storage: DjangoStorage, asked: list[str]) -> None:
    storage.write(look)
    assert len(asked) == 2
    storage.read(look)
    assert len(asked) == 4


def test_what_a_transaction_inserts_is_found_in_it(storage: DjangoStorage) -> None:
    alias = Alias("customers", "local", "1", "1")

    def work(tx: Transaction) -> None:
        look(tx)
        tx.insert(LINKS, LINK)
        tx.insert(ALIASES, alias)
        assert list(tx.scan(LINKS, None, (7,))) == [LINK]
        assert tx.present(LINKS, None, (), [7, 8]) == {7}
        assert tx.get(ALIASES, "customers", "local") == alias
        tx.delete(LINKS, LINK)
        assert list(tx.scan(LINKS, None, (7,))) == []

    storage.write(work)
    assert storage.read(lambda tx: tx.get(ALIASES, "customers", "local")) == alias


def test_links_of_another_queue_do_not_count(
    storage: DjangoStorage, asked: list[str], sqlite_database: str
) -> None:
    other = DjangoStorage(using=sqlite_database, queue="other")
    other.write(lambda tx: tx.insert(LINKS, LINK))
    storage.read(look)
    assert other.read(lambda tx: list(tx.scan(LINKS))) == [LINK]
    other.close()


@pytest.mark.parametrize("call", [lambda tx: tx.get(ALIASES, "a", "b"), lambda tx: tx.scan(LINKS)])
def test_a_transaction_that_has_ended_says_so(
    storage: DjangoStorage, call: Callable[[Reader], object]
) -> None:
    kept: list[Reader] = []

    def work(tx: Reader) -> None:
        assert tx.get(ALIASES, "a", "b") is None
        assert list(tx.scan(LINKS)) == []
        kept.append(tx)

    storage.write(work)
    with pytest.raises(RuntimeError, match="the transaction has ended"):
        call(kept[0])
