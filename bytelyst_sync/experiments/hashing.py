"""Hashes that place a unit in a bucket, as GrowthBook's SDKs compute them.

Source: "Build Your Own SDK" of GrowthBook's documentation, sections "hash" and "Hash versions";
FNV-1a: draft-eastlake-fnv, with 32 bits. Strings are hashed by their UTF-16 code units, because the
JavaScript SDK does so; for ASCII that is the same as by bytes.
"""

from __future__ import annotations

__all__ = ["BASIS", "bucket", "fnv1a32", "units_of"]

BASIS = 0x811C9DC5
_PRIME = 0x01000193
_MASK = 0xFFFFFFFF


def units_of(text: str) -> bytes | memoryview:
    """The UTF-16 code units of a text, as numbers."""
    if text.isascii():
        return text.encode("ascii")
    return memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")


def fnv1a32(text: str, state: int = BASIS) -> int:
    """The 32-bit FNV-1a hash of a text; ``state`` is the hash of the text before it."""
    for unit in units_of(text):
        state = ((state ^ unit) * _PRIME) & _MASK
    return state


def bucket(seed: str, value: str, version: int) -> float | None:
    """The place of a value between 0 and 1; ``None`` for an unknown version of the hash."""
    if version == 2:  # unbiased: the hash is hashed again
        return fnv1a32(str(fnv1a32(value, fnv1a32(seed)))) % 10_000 / 10_000
    if version == 1:
        return fnv1a32(seed, fnv1a32(value)) % 1_000 / 1_000
    return None
