"""The right to pull in the background, in a store of one machine."""

from __future__ import annotations

__all__ = ["UndividedPullRight"]


class UndividedPullRight:
    """See ``PullRight``. Each engine pulls by its own settings."""

    def take(self, span_s: float) -> bool:  # noqa: ARG002 - there is nobody to take it from
        """Always true."""
        return True

    def keep(self) -> bool:
        """Always true."""
        return True

    def release(self) -> None:
        """Nothing to give back."""
