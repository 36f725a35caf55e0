"""Imports the modules of all verbs: each adds its verbs to the group."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from importlib import import_module

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root

__all__ = ["root", "run"]

for _name in (
    "setup_verbs",
    "store_verbs",
    "records",
    "network_verbs",
    "failed_verbs",
    "conflict_verbs",
    "experiment_verbs",
    "transfer",
    "copy_verb",
    "sign_out",
    "doctor",
    "dialect_verbs",
    "ops",
):
    import_module(f"bytelyst_sync.cli.{_name}")  # in the order in which --help lists the verbs


def run(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        root.main(args=None if argv is None else list(argv))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    if code == ExitCode.INTERRUPTED and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the exit
    return code
