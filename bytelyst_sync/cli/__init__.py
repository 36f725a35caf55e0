"""The command line ``bytelyst-sync``. It needs the extra ``cli``, and is loaded only when used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from bytelyst_sync.cli.codes import ExitCode

__all__ = ["main"]

_NEEDED = ("click", "rich", "tomllib" if sys.version_info >= (3, 11) else "tomli")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"bytelyst-sync: the command line needs {' and '.join(missing)}: "
            'pip install "bytelyst-sync[cli]"\n'
        )
        return ExitCode.NOT_INSTALLED
    # click, rich and the engine are loaded only here
    from bytelyst_sync.cli.app import run  # noqa: PLC0415 - an optional extra

    return run(argv)
