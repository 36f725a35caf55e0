"""Reads the pages of an LMDB file without LMDB, so that no damage can crash the process.

It reads what the release 0.9 of LMDB writes on 64-bit machines: two meta pages, of which the one
with the higher transaction number counts, and trees of branch, leaf and overflow pages. Nothing is
taken from the file unchecked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

__all__ = ["HEADER_BYTES", "Meta", "PageFile", "is_lmdb"]

_ORDER = "<" if sys.byteorder == "little" else ">"
_MAGIC = Struct(_ORDER + "I").pack(0xBEEFC0DE)
HEADER_BYTES = 16
_HEADER = Struct(_ORDER + "QHHHH")
_META = Struct(_ORDER + "4sIQQ" + "IHHQQQQQ" * 2 + "QQ")
_NODE = Struct(_ORDER + "HHHH")
_POINTER = Struct(_ORDER + "H")
_NUMBER = Struct(_ORDER + "Q")
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_BIG = 1
_VERSION = 1
_NO_PAGE = 2**64 - 1
_PAGE_SIZES = frozenset(1 << power for power in range(9, 16))
_DEEPEST = 32


class Meta(NamedTuple):
    """What a meta page says."""

    page_bytes: int
    map_bytes: int
    last_page: int
    transaction: int
    free_root: int
    free_depth: int
    root: int
    depth: int
    entries: int


class _DamagedPage(Exception):  # noqa: N818  not raised to callers
    """A page is not what it must be."""


def is_lmdb(header: bytes) -> bool:
    """Whether a file that starts so is one of LMDB."""
    return header[HEADER_BYTES : HEADER_BYTES + len(_MAGIC)] == _MAGIC


class PageFile:
    """One file, opened for reading. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.length = os.fstat(self._file.fileno()).st_size
        self.metas = self._read_metas()
        """The sound ones, newest first."""
        self.page_bytes = self.metas[0].page_bytes if self.metas else 0

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read_metas(self) -> list[Meta]:
        found = [meta for meta in [self._meta_at(0)] if meta is not None]
        # the page size is in the first page; if that is damaged, the second may be anywhere
        sizes = {meta.page_bytes for meta in found} or _PAGE_SIZES
        second = [self._meta_at(size) for size in sorted(sizes)]
        found += [meta for meta in second if meta is not None]
        return sorted(found, key=lambda meta: -meta.transaction)[:2]

    def _meta_at(self, place: int) -> Meta | None:
        raw = self._read(place, HEADER_BYTES + _META.size)
        if len(raw) < HEADER_BYTES + _META.size:
            return None
        page, _, flags, _, _ = _HEADER.unpack_from(raw)
        values = _META.unpack_from(raw, HEADER_BYTES)
        magic, version, _, map_bytes, page_bytes = values[:5]
        if magic != _MAGIC or version != _VERSION or flags != _META_PAGE:
            return None
        if page_bytes not in _PAGE_SIZES or page * page_bytes != place:
            return None
        if values[13]:  # a flag of a tree of another kind
            return None
        last_page, transaction = values[-2:]
        return Meta(
            page_bytes=page_bytes,
            map_bytes=map_bytes,
            last_page=last_page,
            transaction=transaction,
            free_root=values[11],
            free_depth=values[6],
            root=values[19],
            depth=values[14],
            entries=values[18],
        )

    def is_well_formed(self) -> bool:
        """Whether LMDB can open the file and walk through it without ending the process.

        Both meta pages are sound, the file has all pages that the newest names, and every page of
        both trees is of the right kind. The content of leaves is not read: this takes less than a
        second for a million rows.
        """
        if len(self.metas) < 2:
            return False
        meta = self.metas[0]
        if not 1 <= meta.last_page < self.length // self.page_bytes:
            return False
        try:
            self._check_shape(meta.free_root, meta.free_depth)
            self._check_shape(meta.root, meta.depth)
        except _DamagedPage:
            return False
        return True

    def _check_shape(self, root: int, depth: int) -> None:
        if root == _NO_PAGE:
            return
        if depth > _DEEPEST:
            raise _DamagedPage
        seen: set[int] = set()
        level = [root]
        for _ in range(depth - 1):
            below: list[int] = []
            for number in level:
                flags, nodes = self._nodes(number, seen)
                if flags != _BRANCH or not nodes:
                    raise _DamagedPage
                below += self._children(nodes)
            level = below
        for number in level:
            header = self._read(number * self.page_bytes, HEADER_BYTES)
            if len(header) < HEADER_BYTES or number in seen:
                raise _DamagedPage
            seen.add(number)
            own, _, flags, lower, upper = _HEADER.unpack(header)
            if own != number or flags != _LEAF or not lower <= upper <= self.page_bytes:
                raise _DamagedPage

    # -- trees -----------------------------------------------------------------------------------

    def first(self, meta: Meta) -> tuple[bytes, bytes] | None:
        """The smallest key and its value; ``None`` if the tree is empty or damaged there."""
        return next(self.entries(meta.root, set(), [], lenient=False), None)

    def entries(
        self, root: int, seen: set[int], damaged: list[int], *, lenient: bool = True
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values of a tree, in order.

        ``seen`` gets the pages that were read; none is read twice. ``damaged`` gets those that
        could not be read. Without ``lenient`` it ends at the first of these.
        """
        waiting = [] if root == _NO_PAGE else [(root, 0)]
        while waiting:
            number, depth = waiting.pop()
            try:
                flags, nodes = self._nodes(number, seen if depth < _DEEPEST else {number})
                if flags == _BRANCH:
                    waiting += [(each, depth + 1) for each in reversed(self._children(nodes))]
                    continue
            except _DamagedPage:
                damaged.append(number)
                if not lenient:
                    return
                continue
            yield from self._leaf(number, nodes, seen, damaged)

    def leaf_entries(
        self, number: int, seen: set[int], damaged: list[int]
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values of one page, if it is a leaf."""
        try:
            flags, nodes = self._nodes(number, seen)
        except _DamagedPage:
            return
        if flags == _LEAF:
            yield from self._leaf(number, nodes, seen, damaged)

    def free_pages(self, meta: Meta) -> set[int] | None:
        """The pages that are not in use; ``None`` if that cannot be read."""
        damaged: list[int] = []
        free: set[int] = set()
        for _, value in self.entries(meta.free_root, free, damaged):
            count = _NUMBER.unpack_from(value)[0] if len(value) >= _NUMBER.size else -1
            if (count + 1) * _NUMBER.size != len(value):
                return None
            numbers = [each for (each,) in _NUMBER.iter_unpack(value)]
            free.update(numbers[1:])
        return None if damaged else free

    # -- pages -----------------------------------------------------------------------------------

    def _read(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        return self._file.read(length)

    def _page(self, number: int, count: int = 1) -> bytes:
        size = self.page_bytes
        if number < 2 or (number + count) * size > self.length:
            raise _DamagedPage
        page = self._read(number * size, count * size)
        if len(page) != count * size or _HEADER.unpack_from(page)[0] != number:
            raise _DamagedPage
        return page

    def _nodes(
        self, number: int, seen: set[int]
    ) -> tuple[int, list[tuple[int, int, bytes, bytes]]]:
        """The flags of a branch or leaf page and its nodes: size, flags, key and what follows."""
        if number in seen:
            raise _DamagedPage
        seen.add(number)
        page = self._page(number)
        _, _, flags, lower, upper = _HEADER.unpack_from(page)
        if flags not in (_BRANCH, _LEAF) or not HEADER_BYTES <= lower <= upper <= len(page):
            raise _DamagedPage
        nodes = []
        for place in range(HEADER_BYTES, lower - 1, _POINTER.size):
            start = _POINTER.unpack_from(page, place)[0]
            if not upper <= start <= len(page) - _NODE.size:
                raise _DamagedPage
            low, high, node_flags, key_bytes = _NODE.unpack_from(page, start)
            rest = start + _NODE.size + key_bytes
            if rest > len(page):
                raise _DamagedPage
            key = page[start + _NODE.size : rest]
            nodes.append((low | high << 16, node_flags, key, page[rest:]))
        return flags, nodes

    @staticmethod
    def _children(nodes: list[tuple[int, int, bytes, bytes]]) -> list[int]:
        return [low | flags << 32 for low, flags, _, _ in nodes]

    def _leaf(
        self,
        number: int,
        nodes: list[tuple[int, int, bytes, bytes]],
        seen: set[int],
        damaged: list[int],
    ) -> Iterator[tuple[bytes, bytes]]:
        for size, flags, key, rest in nodes:
            try:
                yield key, self._value(size, flags, rest, seen)
            except _DamagedPage:  # noqa: PERF203  each value may be on a page of its own
                damaged.append(number)

    def _value(self, size: int, flags: int, rest: bytes, seen: set[int]) -> bytes:
        if flags not in (0, _BIG):
            raise _DamagedPage
        if flags == 0:
            if size > len(rest):
                raise _DamagedPage
            return rest[:size]
        if len(rest) < _NUMBER.size:
            raise _DamagedPage
        number = _NUMBER.unpack_from(rest)[0]
        count = (HEADER_BYTES - 1 + size) // self.page_bytes + 1
        if number < 2 or (number + count) * self.page_bytes > self.length:
            raise _DamagedPage
        pages = self._page(number, count)
        if _HEADER.unpack_from(pages)[2] != _OVERFLOW:
            raise _DamagedPage
        seen.update(range(number, number + count))
        return pages[HEADER_BYTES : HEADER_BYTES + size]
