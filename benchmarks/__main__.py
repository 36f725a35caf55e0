"""Runs every suite, or those that are named, and writes the table and the plots of the docs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

from benchmarks import report

SUITES = (
    *("push", "growth", "settle", "footprint", "guard", "flush", "pull", "queries", "experiments"),
    *("beside", "large_page", "ops"),
)
"""In the order in which they run."""
NAMED = ("django_queue",)
"""Those that run only where they are named: they need a database server, and take longer."""

CHOICE = f"by default all of them but {', '.join(NAMED)}"
STATIC = Path(__file__).parents[1] / "docs" / "_static"


def main() -> int:
    """Each suite is a process of its own; its rows come back as JSON lines."""
    parser = ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES, *NAMED], help=CHOICE)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual rounds")
    parser.add_argument("--docs", type=Path, default=STATIC, help="where table and plots go")
    chosen = parser.parse_args()
    began = time.monotonic()
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        out.touch()
        for suite in chosen.suites or SUITES:
            command = [sys.executable, "-m", f"benchmarks.{suite}"]
            command += ["--out", str(out), "--scale", str(chosen.scale)]
            status |= subprocess.run(command, check=False).returncode  # noqa: S603
            print()
        report.write(out, chosen.docs)
    print(f"{time.monotonic() - began:.0f} s; the table and the plots are in {chosen.docs}")
    return min(status, 1)


if __name__ == "__main__":
    sys.exit(main())
