"""The contract of a store, part three: many rows found or changed at once."""

from __future__ import annotations

from bytelyst_sync.storage.base import Storage, Transaction
from bytelyst_sync.storage.schema import ITEMS, LINKS, RECORDS, Item, Lane, Link, Record
from bytelyst_sync.testing.storage_samples import all_rows, inserting, make_item

__all__ = ["LookupsContract"]

_ASKED = [f"r{number}" for number in range(1500)] + ["r1", "", "😀 '"]


class LookupsContract:
    """Tests of a reader and a transaction; see ``testing.storage``."""

    def test_matching_finds_all_rows_in_order(self, storage: Storage) -> None:
        """Of each value, in the order of the index; rows that it omits are not found."""
        rows = [make_item(seq, record="é", blocker=seq % 3) for seq in range(1, 13)]
        storage.write(inserting(*rows[6:], *rows[:6], make_item(20), make_item(21, blocker=5)))

        def look(tx: Transaction, *values: int) -> dict[int | None, list[Item]]:
            found: dict[int | None, list[Item]] = {}
            for row in tx.matching(ITEMS, "blocker", (), values):
                found.setdefault(row.blocker, []).append(row)
            return found

        found = storage.write(lambda tx: look(tx, 1, 2, 1, 7, 2**60))
        assert found == {1: rows[::3], 2: rows[1::3]}
        assert storage.write(look) == {}

    def test_matching_finds_rows_by_the_key(self, storage: Storage) -> None:
        """By a column in the middle of a key, after a prefix."""
        links = [Link(7, field, "notes", record) for field in ("a", "b") for record in "xyz"]
        storage.write(lambda tx: tx.insert(LINKS, *links, Link(8, "a", "notes", "x")))
        found = storage.read(lambda reader: reader.matching(LINKS, None, (7,), ["b", "c"]))
        assert found == links[3:]

    def test_the_first_and_the_last_row_of_each_value(self, storage: Storage) -> None:
        """In the order of the index, of this prefix only, for any number of values."""
        rows = [make_item(seq, record=f"r{seq % 10}") for seq in range(1, 41)]
        others = [make_item(50, record="r1", entity="tasks"), make_item(51, record="😀 '")]
        storage.write(inserting(*rows, *others))

        def look(entity: str, *, reverse: bool) -> dict[str, Item]:
            return storage.read(
                lambda reader: reader.first_of_each(
                    ITEMS, "record", (entity,), _ASKED, reverse=reverse
                )
            )

        assert look("notes", reverse=False) == {
            **{row.record: row for row in rows[:10]},
            "😀 '": others[1],
        }
        assert look("notes", reverse=True) == {
            **{row.record: row for row in rows[30:]},
            "😀 '": others[1],
        }
        assert look("tasks", reverse=False) == {"r1": others[0]}
        assert look("none", reverse=True) == {}

    def test_the_first_row_of_each_value_in_a_transaction(self, storage: Storage) -> None:
        """As the transaction has changed the rows."""
        rows = [make_item(seq, record=f"r{seq % 2}") for seq in range(1, 7)]

        def work(tx: Transaction) -> tuple[dict[str, Item], dict[str, Item]]:
            tx.delete(ITEMS, rows[0], rows[5])
            tx.insert(ITEMS, make_item(9, record="new"))
            asked = ["r0", "r1", "new"]
            return (
                tx.first_of_each(ITEMS, "record", ("notes",), asked),
                tx.first_of_each(ITEMS, "record", ("notes",), asked, reverse=True),
            )

        storage.write(inserting(*rows))
        first, last = storage.write(work)
        assert first == {"r0": rows[1], "r1": rows[2], "new": make_item(9, record="new")}
        assert last == {"r0": rows[3], "r1": rows[4], "new": make_item(9, record="new")}

    def test_replace_all_sets_each_row_to_its_own_values(self, storage: Storage) -> None:
        """Of all types, to and from ``None``, alike in some columns and not in others."""
        old = [make_item(seq, due=None if seq % 3 else 1.5) for seq in range(1, 251)]
        new = [
            row._replace(
                lane=int(Lane.DELAYED),
                due=row.seq * 1e-5 if row.seq % 2 else None,
                retries=row.seq % 5,
                error=f"é {row.seq}\n'%s" if row.seq % 4 else None,
                version=(None, 7, "7", "v")[row.seq % 4],
            )
            for row in old
        ]
        storage.write(inserting(*old))
        storage.write(lambda tx: tx.replace_all(ITEMS, zip(old, new, strict=True)))
        assert all_rows(storage, ITEMS) == new
        assert storage.read(lambda reader: reader.count(ITEMS, int(Lane.DELAYED))) == len(old)

    def test_replace_all_takes_rows_of_several_prefixes(self, storage: Storage) -> None:
        """Rows whose keys differ in the first column only."""
        old = [Record(entity, "r", None, None, 0, 0) for entity in ("a", "b", "c")]
        new = [row._replace(state=f'{{"n":{n}}}', changed_seq=n) for n, row in enumerate(old)]
        storage.write(lambda tx: tx.insert(RECORDS, *old))
        storage.write(lambda tx: tx.replace_all(RECORDS, zip(old, new, strict=True)))
        assert all_rows(storage, RECORDS) == new

    def test_replace_all_keeps_the_order_of_its_pairs(self, storage: Storage) -> None:
        """A row may be changed twice, and a key may be used that an earlier pair made free."""
        first, second = make_item(1), make_item(2)
        changed = first._replace(retries=1)
        pairs = [
            (first, changed),
            (changed, changed._replace(retries=2)),
            (changed._replace(retries=2), make_item(3, retries=2)),
            (second, make_item(1, retries=5)),
        ]
        storage.write(inserting(first, second))
        storage.write(lambda tx: tx.replace_all(ITEMS, pairs))
        assert all_rows(storage, ITEMS) == [make_item(1, retries=5), make_item(3, retries=2)]
