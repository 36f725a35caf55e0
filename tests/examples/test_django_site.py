"""The Django site of the examples: its short form ends with books that agree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contrib.database_servers import PostgreSQL

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples/django_site/demo.py"
CUSTOMERS = 30


@pytest.mark.timeout(240)  # it starts PostgreSQL and eight programs
def test_the_books_agree_after_a_kill_and_rollbacks(tmp_path: Path) -> None:
    if reason := PostgreSQL.missing():
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, str(DEMO), "--customers", str(CUSTOMERS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "the books agree: nothing lost, nothing twice" in done.stdout
    assert "a worker was killed with" in done.stdout
    assert "1 failed item queued again" in done.stdout
    served = re.findall(r"(\d+) customers were served; (\d+) orders were rolled back", done.stdout)
    assert served[-1] == (str(CUSTOMERS), "6")
    assert "DIFFERENCE" not in done.stdout
    assert "Traceback" not in done.stdout
