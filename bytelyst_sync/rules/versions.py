"""Compares versions without their notation: ``W/"3"``, ``"3"`` and ``3`` are equal."""

from __future__ import annotations

__all__ = ["plain_version", "same_version"]

Version = str | int | None


def plain_version(version: Version) -> str | None:
    """The version without the quotes and the weakness mark of an ETag."""
    if version is None:
        return None
    text = str(version).strip().removeprefix("W/")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text


def same_version(one: Version, other: Version) -> bool:
    """Whether both are known and equal."""
    return one is not None and other is not None and plain_version(one) == plain_version(other)
