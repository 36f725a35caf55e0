"""The contract of a store, part one: rows, orders, counts and the sequence."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from bytelyst_sync.storage.base import Reader, Storage, Table, Transaction
from bytelyst_sync.storage.schema import (
    ALIASES,
    ITEMS,
    META,
    RECORDS,
    TABLES,
    Alias,
    Item,
    Lane,
    Meta,
    Record,
)
from bytelyst_sync.testing.storage_samples import (
    SAMPLES,
    RefusedError,
    all_rows,
    asked_scans,
    expected_rows,
    fill,
    inserting,
    make_item,
)

__all__ = ["RowsContract"]


class RowsContract:
    """What a reader and a transaction do; see ``testing.storage``."""

    # -- rows ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_a_row_comes_back_as_it_was_given(self, storage: Storage, table: Table[Any]) -> None:
        """By its key, as an instance of the table's row class."""
        rows = SAMPLES[table.name]
        fill(storage, table, rows)

        def fetch(reader: Reader) -> list[Any]:
            return [
                reader.get(table, *(getattr(row, column) for column in table.key)) for row in rows
            ]

        assert storage.read(fetch) == rows
        assert all(type(row) is table.row for row in storage.read(fetch))

    def test_values_keep_their_type(self, storage: Storage) -> None:
        """``None``, whole numbers, floats and text, whatever they look like."""
        row = make_item(2**53, record="7", data="x" * 100_000, time=1e300, retries=0, error="")
        row = row._replace(version="1.0", due=3.0, lane=0, entity="\U0001f600 \n'\"\\%_")
        storage.write(inserting(row))
        found = storage.read(lambda reader: list(reader.scan(ITEMS)))
        assert found == [row]
        assert [type(value) for value in found[0]] == [type(value) for value in row]

    def test_a_missing_row_is_none(self, storage: Storage) -> None:
        """In an empty table, and beside other rows."""
        assert storage.read(lambda reader: reader.get(ITEMS, 1)) is None
        storage.write(inserting(make_item(1)))
        assert storage.read(lambda reader: reader.get(ITEMS, 2)) is None

    def test_replace_changes_a_row(self, storage: Storage) -> None:
        """In place, seen at once in the same transaction and in every order."""
        old, new = make_item(1), make_item(1, lane=Lane.FAILED, record="r2", due=4.5, turn=9)
        storage.write(inserting(old, make_item(2)))

        def work(tx: Transaction) -> Item | None:
            tx.replace(ITEMS, old, new)
            return tx.get(ITEMS, 1)

        assert storage.write(work) == new

        def look(reader: Reader) -> list[list[Item]]:
            return [
                list(reader.scan(ITEMS, "record", ("notes", "r1"))),
                list(reader.scan(ITEMS, "record", ("notes", "r2"))),
                list(reader.scan(ITEMS, "lane", (Lane.READY,))),
                list(reader.scan(ITEMS, "lane", (Lane.FAILED,))),
                list(reader.scan(ITEMS, "due")),
            ]

        assert storage.read(look) == [[make_item(2)], [new], [make_item(2)], [new], [new]]

    def test_replace_by_an_equal_row_changes_nothing(self, storage: Storage) -> None:
        """It is allowed, though."""
        storage.write(inserting(make_item(1)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(1)))
        assert all_rows(storage, ITEMS) == [make_item(1)]
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {(Lane.READY, "notes"): 1}

    def test_replace_can_change_the_key(self, storage: Storage) -> None:
        """The row is then found under its new key alone."""
        storage.write(inserting(make_item(1), make_item(2)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(5)))
        assert all_rows(storage, ITEMS) == [make_item(2), make_item(5)]
        old, new = Alias("notes", "l1", "7", "7"), Alias("tasks", "l1", "7", "7")
        fill(storage, ALIASES, [old])
        storage.write(lambda tx: tx.replace(ALIASES, old, new))
        assert all_rows(storage, ALIASES) == [new]

    def test_delete_removes_a_row(self, storage: Storage) -> None:
        """From the table and from every order."""
        rows = SAMPLES[ITEMS.name]
        fill(storage, ITEMS, rows)
        storage.write(lambda tx: tx.delete(ITEMS, rows[3]))
        left = [row for row in rows if row is not rows[3]]
        orders = (None, *ITEMS.indexes)
        found = storage.read(lambda r: [list(r.scan(ITEMS, index)) for index in orders])
        assert found == [expected_rows(left, ITEMS, index) for index in orders]

    def test_a_key_is_free_again_after_its_row_is_deleted(self, storage: Storage) -> None:
        """Even in the same transaction."""

        def work(tx: Transaction) -> None:
            tx.insert(ITEMS, make_item(1))
            tx.delete(ITEMS, make_item(1))
            tx.insert(ITEMS, make_item(1, record="r2"))

        storage.write(work)
        assert all_rows(storage, ITEMS) == [make_item(1, record="r2")]

    def test_many_rows_are_inserted_at_once(self, storage: Storage) -> None:
        """More than any store would bind to one statement; none if one of them is there."""
        rows = [make_item(seq, record=f"r{seq}") for seq in range(1, 2001)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        assert all_rows(storage, ITEMS) == rows
        more = [make_item(seq) for seq in (3000, 7, 3001)]
        with pytest.raises(ValueError, match="items already has"):
            storage.write(lambda tx: tx.insert(ITEMS, *more))
        assert all_rows(storage, ITEMS) == rows
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {(Lane.READY, "notes"): 2000}
        storage.write(lambda tx: tx.insert(ITEMS))
        assert storage.read(lambda reader: reader.count(ITEMS)) == 2000

    def test_many_rows_are_fetched_changed_and_deleted_at_once(self, storage: Storage) -> None:
        """However they change; all or none."""
        rows = [make_item(seq, record=f"r{seq}") for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        seqs = [*range(1, 2001, 2), 7]
        found = storage.read(lambda reader: reader.fetch(ITEMS, (), seqs))
        assert found == {row.seq: row for row in rows if row.seq % 2}
        assert storage.read(lambda reader: reader.fetch(ITEMS, (), [])) == {}
        pairs = [
            (row, row._replace(lane=Lane.SENDING) if row.seq % 3 else row._replace(turn=9, due=1.5))
            for row in rows
        ]
        storage.write(lambda tx: tx.replace_all(ITEMS, iter(pairs)))
        assert all_rows(storage, ITEMS) == [new for _, new in pairs]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 400, (Lane.SENDING, "notes"): 800}
        gone = [new for _, new in pairs if new.seq <= 900]
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.delete(ITEMS, *gone, make_item(5000)))
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.replace_all(ITEMS, [(make_item(5000), make_item(5001))]))
        storage.write(lambda tx: tx.delete(ITEMS, *gone))
        storage.write(lambda tx: tx.delete(ITEMS))
        assert all_rows(storage, ITEMS) == [new for _, new in pairs if new.seq > 900]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 100, (Lane.SENDING, "notes"): 200}

    def test_many_rows_are_set_to_the_same_at_once(self, storage: Storage) -> None:
        """They come back as they are then; all or none."""
        rows = [make_item(seq, record=f"r{seq}", data=f'{{"n":{seq}}}') for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        even = [row for row in rows if row.seq % 2 == 0]
        sent = [row._replace(lane=3, due=1.5, error="é") for row in even]
        made = storage.write(
            lambda tx: tx.amend(ITEMS, even, lane=int(Lane.SENDING), due=1.5, error="é")
        )
        assert made == sent
        assert all(type(row) is type(rows[0]) for row in made)
        assert all_rows(storage, ITEMS) == [sent[n // 2] if n % 2 else rows[n] for n in range(1200)]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 600, (Lane.SENDING, "notes"): 600}
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.amend(ITEMS, [rows[0], make_item(5000)], lane=4))
        assert storage.write(lambda tx: tx.amend(ITEMS, [], lane=4)) == []
        assert storage.read(lambda reader: reader.counts(ITEMS)) == counts
        conflict = Lane.PARKED
        storage.write(lambda tx: tx.amend(ITEMS, [rows[0]], lane=int(conflict), conflict=7))
        assert storage.read(lambda reader: reader.get(ITEMS, 1)) == rows[0]._replace(
            lane=int(conflict), conflict=7
        )

    def test_columns_of_many_rows_are_picked(self, storage: Storage) -> None:
        """By key, in the order in which they were asked for; keys that are not there are left."""
        rows = [make_item(seq, record=f"r{seq}", error=None) for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        keys = [*range(1, 2001, 2), 7]
        names = ("record", "seq", "error", "data")
        found = storage.read(lambda reader: reader.pick(ITEMS, names, keys))
        assert found == {
            row.seq: (row.record, row.seq, row.error, row.data) for row in rows if row.seq % 2
        }
        assert storage.read(lambda reader: reader.pick(ITEMS, names, [])) == {}

    def test_a_row_is_inserted_with_all_that_it_says(self, storage: Storage) -> None:
        """Whether most of its columns have their defaults, or one of the last has not."""
        plain = make_item(1)
        rows = [plain, plain._replace(seq=2, digest="d"), plain._replace(seq=3, conflict=9)]
        rows += [plain._replace(seq=4, retries=2), plain._replace(seq=5, version='"7"')]
        for row in rows[:3]:
            storage.write(inserting(row))
        storage.write(lambda tx: tx.insert(ITEMS, *rows[3:], plain._replace(seq=6)))
        assert all_rows(storage, ITEMS) == [*rows, plain._replace(seq=6)]

    def test_rows_are_fetched_by_what_follows_the_beginning_of_their_key(
        self, storage: Storage
    ) -> None:
        """As a key of two columns is."""
        rows = [Alias(entity, local, "7", "7") for entity in "ab" for local in ("1", "2", "é")]
        fill(storage, ALIASES, rows)
        found = storage.read(lambda reader: reader.fetch(ALIASES, ("b",), ["1", "é", "3"]))
        assert found == {"1": rows[3], "é": rows[5]}

    def test_which_of_many_values_occur(self, storage: Storage) -> None:
        """Behind the prefix, and nowhere else; however many are asked for."""
        rows = [make_item(seq, record=f"r{seq}") for seq in range(1, 41, 2)]
        rows += [make_item(60, record="r1"), make_item(61, record="r4", entity="tasks")]
        storage.write(inserting(*rows))
        asked = [f"r{number}" for number in range(1500)] + ["r1", "", "😀 '"]

        def look(entity: str) -> set[str]:
            return storage.read(lambda reader: reader.present(ITEMS, "record", (entity,), asked))

        assert look("notes") == {f"r{number}" for number in range(1, 41, 2)}
        assert look("tasks") == {"r4"}
        assert look("none") == set()
        assert storage.read(lambda reader: reader.present(ITEMS, "record", ("notes",), [])) == set()

    def test_which_of_many_keys_occur(self, storage: Storage) -> None:
        """The same in the order of the key."""
        rows = [Record("notes", f"r{number}", None, None, 0, 0) for number in range(1, 41, 2)]
        rows.append(Record("tasks", "r4", None, None, 0, 0))
        storage.write(lambda tx: tx.insert(RECORDS, *rows))
        asked = [f"r{number}" for number in range(1500)] + ["", "😀 '"]

        def look(entity: str) -> set[str]:
            return storage.read(lambda reader: reader.present(RECORDS, None, (entity,), asked))

        assert look("notes") == {f"r{number}" for number in range(1, 41, 2)}
        assert look("tasks") == {"r4"}
        assert look("none") == set()

    # -- scans -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_scans(self, storage: Storage, table: Table[Any], reverse: bool) -> None:
        """Every order with every prefix, bounds of every length, and limits."""
        rows = SAMPLES[table.name]
        fill(storage, table, rows)

        def work(reader: Reader) -> None:
            for index in (None, *table.indexes):
                for asked in asked_scans(rows, table, index):
                    found = list(reader.scan(table, index, reverse=reverse, **asked))
                    told = f"{table.name} by {index}: {asked}"
                    assert found == expected_rows(rows, table, index, reverse=reverse, **asked), (
                        told
                    )

        storage.read(work)

    def test_an_index_leaves_out_none(self, storage: Storage) -> None:
        """A row with ``None`` in a column of the index is not in it, until it has a value."""
        storage.write(inserting(make_item(1), make_item(2, due=0.0), make_item(3, digest="aa")))
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "due")]) == [2]
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "digest")]) == [3]
        assert storage.read(lambda r: list(r.scan(ITEMS, "blocker"))) == []
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(1, due=-1.0)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(2, due=0.0), make_item(2)))
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "due")]) == [1]

    def test_a_scan_may_be_left_early(self, storage: Storage) -> None:
        """Several may run at once in one view, and writing goes on after them."""
        fill(storage, ITEMS, [make_item(seq) for seq in range(1, 501)])

        def work(tx: Transaction) -> list[int]:
            first, second = tx.scan(ITEMS), tx.scan(ITEMS, reverse=True)
            seen = [row.seq for pair in islice(zip(first, second, strict=True), 2) for row in pair]
            tx.delete(META, Meta("a", "1"))
            return seen

        fill(storage, META, [Meta("a", "1")])
        assert storage.write(work) == [1, 500, 2, 499]
        storage.write(inserting(make_item(501)))
        assert storage.read(lambda r: next(r.scan(ITEMS, reverse=True)).seq) == 501

    def test_a_scan_sees_its_own_transaction(self, storage: Storage) -> None:
        """What was inserted before it in the same transaction is there."""

        def work(tx: Transaction) -> list[int]:
            tx.insert(ITEMS, make_item(2))
            tx.insert(ITEMS, make_item(1))
            return [row.seq for row in tx.scan(ITEMS, "record", ("notes", "r1"))]

        assert storage.write(work) == [1, 2]

    def test_take_gives_what_scan_gives(self, storage: Storage) -> None:
        """When nobody else holds a row."""
        rows = SAMPLES[ITEMS.name]
        fill(storage, ITEMS, rows)
        found = storage.write(
            lambda tx: list(tx.take(ITEMS, "lane", (Lane.READY, "notes"), upto=(9,), limit=2))
        )
        assert found == expected_rows(
            rows, ITEMS, "lane", (Lane.READY, "notes"), upto=(9,), limit=2
        )
        assert storage.write(lambda tx: list(tx.take(ITEMS))) == rows

    # -- counts and the sequence -----------------------------------------------------------------

    def test_counts_follow_every_change(self, storage: Storage) -> None:
        """Within the transaction and after it; combinations with none are left out."""

        def work(tx: Transaction) -> list[Any]:
            seen: list[Any] = [tx.count(ITEMS), tx.counts(ITEMS)]
            for seq in (1, 2, 3):
                tx.insert(ITEMS, make_item(seq, entity="notes" if seq < 3 else "tasks"))
            seen.append((tx.count(ITEMS), tx.count(ITEMS, 0), tx.count(ITEMS, 0, "notes")))
            tx.replace(ITEMS, make_item(1), make_item(1, lane=Lane.FAILED))
            tx.delete(ITEMS, make_item(2))
            seen.append((tx.count(ITEMS), tx.count(ITEMS, 0), tx.count(ITEMS, 0, "notes")))
            return [*seen, tx.counts(ITEMS)]

        left = {(Lane.FAILED, "notes"): 1, (Lane.READY, "tasks"): 1}
        assert storage.write(work) == [0, {}, (3, 3, 2), (2, 1, 0), left]
        assert storage.read(lambda reader: reader.counts(ITEMS)) == left
        assert storage.read(lambda reader: reader.count(ITEMS, Lane.FAILED)) == 1
        assert storage.read(lambda reader: reader.count(ITEMS, Lane.PARKED, "notes")) == 0

    def test_counts_are_undone_with_the_transaction(self, storage: Storage) -> None:
        """And kept when the next one succeeds."""
        storage.write(inserting(make_item(1)))

        def refused(tx: Transaction) -> None:
            tx.insert(ITEMS, make_item(2))
            tx.delete(ITEMS, make_item(1))
            raise RefusedError

        with pytest.raises(RefusedError):
            storage.write(refused)
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {(Lane.READY, "notes"): 1}
        storage.write(inserting(make_item(3)))
        assert storage.read(lambda reader: reader.count(ITEMS)) == 2

    def test_numbers_ascend_and_are_never_given_twice(self, storage: Storage) -> None:
        """Across transactions and a close; a number that was undone may come again."""
        assert storage.read(lambda reader: reader.last_number()) == 0

        def work(tx: Transaction) -> list[int]:
            given = [tx.next_number(), tx.next_number()]
            assert tx.last_number() == given[-1]
            return given

        def refused(tx: Transaction) -> None:
            tx.next_number()
            raise RefusedError

        given = storage.write(work)
        with pytest.raises(RefusedError):
            storage.write(refused)
        given += storage.write(work)
        storage.close()
        given += storage.write(work)
        assert given == sorted(set(given))
        assert given[0] > 0
        assert storage.read(lambda reader: reader.last_number()) >= given[-1]
