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
    expected_rows,
    fill,
    inserting,
    make_item,
    scan_arguments,
)

__all__ = ["RowsContract"]


class RowsContract:
    """Tests of a reader and a transaction; see ``testing.storage``."""

    # -- rows ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_get_returns_the_inserted_row(self, storage: Storage, table: Table[Any]) -> None:
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
        """``None``, integers, floats and text of any content."""
        row = make_item(2**53, record="7", data="x" * 100_000, time=1e300, retries=0, error="")
        row = row._replace(version="1.0", due=3.0, lane=0, entity="\U0001f600 \n'\"\\%_")
        storage.write(inserting(row))
        result = storage.read(lambda reader: list(reader.scan(ITEMS)))
        assert result == [row]
        assert [type(value) for value in result[0]] == [type(value) for value in row]

    def test_get_returns_none_for_a_missing_row(self, storage: Storage) -> None:
        """In an empty table, and in one with other rows."""
        assert storage.read(lambda reader: reader.get(ITEMS, 1)) is None
        storage.write(inserting(make_item(1)))
        assert storage.read(lambda reader: reader.get(ITEMS, 2)) is None

    def test_replace_changes_a_row(self, storage: Storage) -> None:
        """The change is visible at once in the same transaction and in every index."""
        old, new = make_item(1), make_item(1, lane=Lane.FAILED, record="r2", due=4.5, position=9)
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
        """It is allowed."""
        storage.write(inserting(make_item(1)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(1)))
        assert all_rows(storage, ITEMS) == [make_item(1)]
        assert storage.read(lambda reader: reader.counts(ITEMS)) == {(Lane.READY, "notes"): 1}

    def test_replace_can_change_the_key(self, storage: Storage) -> None:
        """The row is found by its new key only."""
        storage.write(inserting(make_item(1), make_item(2)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(5)))
        assert all_rows(storage, ITEMS) == [make_item(2), make_item(5)]
        old, new = Alias("notes", "l1", "7", "7"), Alias("tasks", "l1", "7", "7")
        fill(storage, ALIASES, [old])
        storage.write(lambda tx: tx.replace(ALIASES, old, new))
        assert all_rows(storage, ALIASES) == [new]

    def test_delete_removes_a_row(self, storage: Storage) -> None:
        """From the table and from every index."""
        rows = SAMPLES[ITEMS.name]
        fill(storage, ITEMS, rows)
        storage.write(lambda tx: tx.delete(ITEMS, rows[3]))
        remaining = [row for row in rows if row is not rows[3]]
        orders = (None, *ITEMS.indexes)
        result = storage.read(lambda r: [list(r.scan(ITEMS, index)) for index in orders])
        assert result == [expected_rows(remaining, ITEMS, index) for index in orders]

    def test_a_key_can_be_used_again_after_a_delete(self, storage: Storage) -> None:
        """Also in the same transaction."""

        def work(tx: Transaction) -> None:
            tx.insert(ITEMS, make_item(1))
            tx.delete(ITEMS, make_item(1))
            tx.insert(ITEMS, make_item(1, record="r2"))

        storage.write(work)
        assert all_rows(storage, ITEMS) == [make_item(1, record="r2")]

    def test_many_rows_are_inserted_at_once(self, storage: Storage) -> None:
        """More rows than parameters of a statement; no row is inserted if one key exists."""
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
        """With different changes; all rows or none."""
        rows = [make_item(seq, record=f"r{seq}") for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        seqs = [*range(1, 2001, 2), 7]
        result = storage.read(lambda reader: reader.fetch(ITEMS, (), seqs))
        assert result == {row.seq: row for row in rows if row.seq % 2}
        assert storage.read(lambda reader: reader.fetch(ITEMS, (), [])) == {}
        pairs = [
            (
                row,
                row._replace(lane=Lane.SENDING)
                if row.seq % 3
                else row._replace(position=9, due=1.5),
            )
            for row in rows
        ]
        storage.write(lambda tx: tx.replace_all(ITEMS, iter(pairs)))
        assert all_rows(storage, ITEMS) == [new for _, new in pairs]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 400, (Lane.SENDING, "notes"): 800}
        deleted = [new for _, new in pairs if new.seq <= 900]
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.delete(ITEMS, *deleted, make_item(5000)))
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.replace_all(ITEMS, [(make_item(5000), make_item(5001))]))
        storage.write(lambda tx: tx.delete(ITEMS, *deleted))
        storage.write(lambda tx: tx.delete(ITEMS))
        assert all_rows(storage, ITEMS) == [new for _, new in pairs if new.seq > 900]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 100, (Lane.SENDING, "notes"): 200}

    def test_update_many_changes_many_rows(self, storage: Storage) -> None:
        """It returns the new rows; all rows are changed or none."""
        rows = [make_item(seq, record=f"r{seq}", data=f'{{"n":{seq}}}') for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        even = [row for row in rows if row.seq % 2 == 0]
        sent = [row._replace(lane=3, due=1.5, error="é") for row in even]
        updated = storage.write(
            lambda tx: tx.update_many(ITEMS, even, lane=int(Lane.SENDING), due=1.5, error="é")
        )
        assert updated == sent
        assert all(type(row) is type(rows[0]) for row in updated)
        assert all_rows(storage, ITEMS) == [sent[n // 2] if n % 2 else rows[n] for n in range(1200)]
        counts = storage.read(lambda reader: reader.counts(ITEMS))
        assert counts == {(Lane.READY, "notes"): 600, (Lane.SENDING, "notes"): 600}
        with pytest.raises(LookupError, match="items has no"):
            storage.write(lambda tx: tx.update_many(ITEMS, [rows[0], make_item(5000)], lane=4))
        assert storage.write(lambda tx: tx.update_many(ITEMS, [], lane=4)) == []
        assert storage.read(lambda reader: reader.counts(ITEMS)) == counts
        conflict = Lane.PARKED
        storage.write(lambda tx: tx.update_many(ITEMS, [rows[0]], lane=int(conflict), conflict=7))
        assert storage.read(lambda reader: reader.get(ITEMS, 1)) == rows[0]._replace(
            lane=int(conflict), conflict=7
        )

    def test_select_returns_columns_of_many_rows(self, storage: Storage) -> None:
        """By key, with the columns in the requested order; missing keys are omitted."""
        rows = [make_item(seq, record=f"r{seq}", error=None) for seq in range(1, 1201)]
        storage.write(lambda tx: tx.insert(ITEMS, *rows))
        keys = [*range(1, 2001, 2), 7]
        names = ("record", "seq", "error", "data")
        result = storage.read(lambda reader: reader.select(ITEMS, names, keys))
        assert result == {
            row.seq: (row.record, row.seq, row.error, row.data) for row in rows if row.seq % 2
        }
        assert storage.read(lambda reader: reader.select(ITEMS, names, [])) == {}

    def test_all_columns_of_a_row_are_inserted(self, storage: Storage) -> None:
        """Whether the last columns have their defaults or other values."""
        plain = make_item(1)
        rows = [plain, plain._replace(seq=2, digest="d"), plain._replace(seq=3, conflict=9)]
        rows += [plain._replace(seq=4, retries=2), plain._replace(seq=5, version='"7"')]
        for row in rows[:3]:
            storage.write(inserting(row))
        storage.write(lambda tx: tx.insert(ITEMS, *rows[3:], plain._replace(seq=6)))
        assert all_rows(storage, ITEMS) == [*rows, plain._replace(seq=6)]

    def test_fetch_finds_rows_by_the_last_column_of_the_key(self, storage: Storage) -> None:
        """With a key of two columns."""
        rows = [Alias(entity, local, "7", "7") for entity in "ab" for local in ("1", "2", "é")]
        fill(storage, ALIASES, rows)
        result = storage.read(lambda reader: reader.fetch(ALIASES, ("b",), ["1", "é", "3"]))
        assert result == {"1": rows[3], "é": rows[5]}

    def test_present_finds_values_after_the_prefix(self, storage: Storage) -> None:
        """In that column only, for any number of values."""
        rows = [make_item(seq, record=f"r{seq}") for seq in range(1, 41, 2)]
        rows += [make_item(60, record="r1"), make_item(61, record="r4", entity="tasks")]
        storage.write(inserting(*rows))
        arguments = [f"r{number}" for number in range(1500)] + ["r1", "", "😀 '"]

        def look(entity: str) -> set[str]:
            return storage.read(
                lambda reader: reader.present(ITEMS, "record", (entity,), arguments)
            )

        assert look("notes") == {f"r{number}" for number in range(1, 41, 2)}
        assert look("tasks") == {"r4"}
        assert look("none") == set()
        assert storage.read(lambda reader: reader.present(ITEMS, "record", ("notes",), [])) == set()

    def test_present_finds_keys(self, storage: Storage) -> None:
        """In the order of the key."""
        rows = [Record("notes", f"r{number}", None, None, 0, 0) for number in range(1, 41, 2)]
        rows.append(Record("tasks", "r4", None, None, 0, 0))
        storage.write(lambda tx: tx.insert(RECORDS, *rows))
        arguments = [f"r{number}" for number in range(1500)] + ["", "😀 '"]

        def look(entity: str) -> set[str]:
            return storage.read(lambda reader: reader.present(RECORDS, None, (entity,), arguments))

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
                for arguments in scan_arguments(rows, table, index):
                    result = list(reader.scan(table, index, reverse=reverse, **arguments))
                    label = f"{table.name} by {index}: {arguments}"
                    assert result == expected_rows(
                        rows, table, index, reverse=reverse, **arguments
                    ), label

        storage.read(work)

    def test_an_index_omits_rows_with_none(self, storage: Storage) -> None:
        """A row with ``None`` in an indexed column is not in the index until it has a value."""
        storage.write(inserting(make_item(1), make_item(2, due=0.0), make_item(3, digest="aa")))
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "due")]) == [2]
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "digest")]) == [3]
        assert storage.read(lambda r: list(r.scan(ITEMS, "blocker"))) == []
        storage.write(lambda tx: tx.replace(ITEMS, make_item(1), make_item(1, due=-1.0)))
        storage.write(lambda tx: tx.replace(ITEMS, make_item(2, due=0.0), make_item(2)))
        assert storage.read(lambda r: [row.seq for row in r.scan(ITEMS, "due")]) == [1]

    def test_a_scan_can_be_stopped_early(self, storage: Storage) -> None:
        """Several scans may run in one view; writes succeed afterwards."""
        fill(storage, ITEMS, [make_item(seq) for seq in range(1, 501)])

        def work(tx: Transaction) -> list[int]:
            first, second = tx.scan(ITEMS), tx.scan(ITEMS, reverse=True)
            collected = [
                row.seq for pair in islice(zip(first, second, strict=True), 2) for row in pair
            ]
            tx.delete(META, Meta("a", "1"))
            return collected

        fill(storage, META, [Meta("a", "1")])
        assert storage.write(work) == [1, 500, 2, 499]
        storage.write(inserting(make_item(501)))
        assert storage.read(lambda r: next(r.scan(ITEMS, reverse=True)).seq) == 501

    def test_a_scan_sees_its_own_transaction(self, storage: Storage) -> None:
        """It returns rows inserted earlier in the same transaction."""

        def work(tx: Transaction) -> list[int]:
            tx.insert(ITEMS, make_item(2))
            tx.insert(ITEMS, make_item(1))
            return [row.seq for row in tx.scan(ITEMS, "record", ("notes", "r1"))]

        assert storage.write(work) == [1, 2]

    def test_take_returns_the_rows_of_scan(self, storage: Storage) -> None:
        """If no other transaction has locked a row."""
        rows = SAMPLES[ITEMS.name]
        fill(storage, ITEMS, rows)
        result = storage.write(
            lambda tx: list(tx.take(ITEMS, "lane", (Lane.READY, "notes"), upto=(9,), limit=2))
        )
        assert result == expected_rows(
            rows, ITEMS, "lane", (Lane.READY, "notes"), upto=(9,), limit=2
        )
        assert storage.write(lambda tx: list(tx.take(ITEMS))) == rows

    # -- counts and the sequence -----------------------------------------------------------------

    def test_counts_follow_every_change(self, storage: Storage) -> None:
        """In the transaction and afterwards; combinations without rows are omitted."""

        def work(tx: Transaction) -> list[Any]:
            collected: list[Any] = [tx.count(ITEMS), tx.counts(ITEMS)]
            for seq in (1, 2, 3):
                tx.insert(ITEMS, make_item(seq, entity="notes" if seq < 3 else "tasks"))
            collected.append((tx.count(ITEMS), tx.count(ITEMS, 0), tx.count(ITEMS, 0, "notes")))
            tx.replace(ITEMS, make_item(1), make_item(1, lane=Lane.FAILED))
            tx.delete(ITEMS, make_item(2))
            collected.append((tx.count(ITEMS), tx.count(ITEMS, 0), tx.count(ITEMS, 0, "notes")))
            return [*collected, tx.counts(ITEMS)]

        remaining = {(Lane.FAILED, "notes"): 1, (Lane.READY, "tasks"): 1}
        assert storage.write(work) == [0, {}, (3, 3, 2), (2, 1, 0), remaining]
        assert storage.read(lambda reader: reader.counts(ITEMS)) == remaining
        assert storage.read(lambda reader: reader.count(ITEMS, Lane.FAILED)) == 1
        assert storage.read(lambda reader: reader.count(ITEMS, Lane.PARKED, "notes")) == 0

    def test_counts_are_undone_with_the_transaction(self, storage: Storage) -> None:
        """The next transaction counts correctly."""
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

    def test_numbers_ascend_and_are_never_used_twice(self, storage: Storage) -> None:
        """Across transactions and a close; a number that was rolled back may be used again."""
        assert storage.read(lambda reader: reader.last_number()) == 0

        def work(tx: Transaction) -> list[int]:
            numbers = [tx.next_number(), tx.next_number()]
            assert tx.last_number() == numbers[-1]
            return numbers

        def refused(tx: Transaction) -> None:
            tx.next_number()
            raise RefusedError

        numbers = storage.write(work)
        with pytest.raises(RefusedError):
            storage.write(refused)
        numbers += storage.write(work)
        storage.close()
        numbers += storage.write(work)
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert storage.read(lambda reader: reader.last_number()) >= numbers[-1]
