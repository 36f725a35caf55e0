"""What a log may say of an exception: its kind and where it happened.

Its message may quote a payload or a token, whoever raised it, and those are never logged
(SPEC §10).
"""

from __future__ import annotations

import logging
import traceback

__all__ = ["log_raised"]


def log_raised(logger: logging.Logger, error: BaseException, message: str, *args: object) -> None:
    """Logs an error: the message, and then the exception's kind and its traceback's lines."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error(f"{message}: %s\n%s", *args, type(error).__name__, where)  # noqa: G004
