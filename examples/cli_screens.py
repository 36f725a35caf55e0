"""Draws the pictures of the command line in the documentation, from real runs of it.

``python examples/cli_screens.py`` starts a server on loopback, runs the command at a
pseudo-terminal, and writes ``docs/_static/cli-*.svg``, or into the folder that is named. It needs
the extra ``cli``, and POSIX.
"""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import Reply, SyncServer

ROOT = Path(__file__).parents[1]
PICTURES = Path(sys.argv[1] if sys.argv[1:] else ROOT / "docs" / "_static").resolve()
WIDTH = 96
END = b"\x04"
STEERING = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n")


def run(*arguments: str) -> str:
    """What the command shows at a terminal, with its colours and moves of the cursor."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    shown = b""
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "bytelyst_sync", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
    ) as command:
        ended = False
        while not shown.endswith(END):
            if select.select([master], [], [], 0.05)[0]:
                shown += os.read(master, 65536)
            elif not ended and command.poll() is not None:
                os.write(slave, END)  # behind all that the command wrote
                ended = True
    os.close(slave)
    os.close(master)
    return shown.removesuffix(END).decode().replace("\r\n", "\n")


def frames(shown: str) -> Iterator[str]:
    """What stood on the terminal, before each time that a line was wiped."""
    lines, row, at = [""], 0, 0
    for found in STEERING.finditer(shown):
        lines[row] += shown[at : found.start()]
        at = found.end()
        if found[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif found[2] == "m":
            lines[row] += found[0]
        elif found[2] == "A":
            row -= int(found[1] or 1)
        elif found[2] == "K":
            yield "\n".join(lines)
            lines[row] = ""
    lines[row] += shown[at:]
    yield "\n".join(lines)


def draw(name: str, command: str, shown: str, hide: dict[str, str]) -> None:
    """Writes a picture; ``hide`` maps what is of this machine to as much that is not."""
    for old, new in hide.items():
        assert len(old) == len(new), f"{new!r} would break the lines that have {old!r}"
        shown = shown.replace(old, new)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(shown.rstrip()))
    picture = console.export_svg(title="", unique_id=f"cli-{name}")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (PICTURES / f"cli-{name}.svg").write_text(picture, "utf-8")
    print(f"cli-{name}.svg: {len(picture) // 1024} KiB")


def main() -> None:
    """Plays one afternoon at a cash desk."""
    PICTURES.mkdir(exist_ok=True)
    with SyncServer() as server, tempfile.TemporaryDirectory(prefix="desk-") as folder:
        os.chdir(folder)
        port = f":{server.port}"
        hide = {
            folder: "/srv/shop/" + "cashdesk-1"[: len(folder) - 10].ljust(len(folder) - 10, "0"),
            f"http://127.0.0.1{port}": "http://api.example.com".ljust(16 + len(port), "/"),
        }
        flags = ["--entity", "orders=/orders", "--entity", "articles=/articles"]
        run("init", "--base-url", server.url, *flags)
        engine = create_sync_engine(
            base_url=server.url,
            entities={"orders": "/orders", "articles": "/articles"},
            storage="bytelyst-sync.db",
            auto_flush=False,
            conflict="manual",
        )
        article = {"id": "tea-17", "name": "Green tea", "price": 4.9, "stock": 12}
        server.put("articles", article)
        for number in range(400):
            server.put("articles", {"id": f"a-{number}", "price": number})
        server.reject = lambda seen: (
            Reply(422, {"error": "total must be above 0"})
            if isinstance(seen.body, dict) and seen.body.get("total") == 0
            else None
        )
        with engine:
            engine.pull()
            engine.push("orders", {"id": "1041", "total": 0})
            engine.flush()
            engine.push("articles", {"id": "tea-17", "price": 5.2, "stock": 11}, "update")
            server.patch("articles", "tea-17", {"price": 4.5, "name": "Green tea, loose"})
            engine.pull()
            (conflict,) = engine.conflicts()
            engine.push_many("orders", [{"total": 1 + number} for number in range(120)])
        draw("status", "bytelyst-sync status --probe", run("status", "--probe"), hide)
        show = ["conflicts", "show", conflict.id]
        draw("conflict", f"bytelyst-sync {' '.join(show)}", run(*show), hide)
        draw("doctor", "bytelyst-sync doctor", run("doctor"), hide)
        for number in range(400):
            server.put("articles", {"id": f"b-{number}", "price": number})
        server.latency_s = 0.02
        shown = [each for each in frames(run("sync")) if "fetching" in each and "/120" in each]
        half = min(shown, key=lambda each: abs(int(re.findall(r"(\d+)/120", each)[0]) - 70))
        draw("sync", "bytelyst-sync sync", half, hide)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
