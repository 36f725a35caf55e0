"""The right to deliver: whether the process that has it still runs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bytelyst_sync import create_sync_engine
from bytelyst_sync.storage.schema import META, Meta
from bytelyst_sync.testing import SyncServer


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of zombies")
def test_a_deliverer_that_ended_and_is_not_reaped_is_replaced_at_once(
    server: SyncServer, path: Path
) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as ended,
        create_sync_engine(
            base_url=server.url, entities={"notes": "/notes"}, storage=path, auto_flush=False
        ) as engine,
    ):
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        engine.push("notes", {"id": "1"})
        holder = [1, socket.gethostname(), ended.pid, boot, "token", 0.0, False]
        storage = engine._core.running().storage
        storage.write(lambda tx: tx.insert(META, Meta("deliverer", json.dumps(holder))))
        assert engine.flush(timeout=10).success
