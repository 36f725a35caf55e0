"""Print the lowest versions that setup.cfg allows, one requirement a line: ``attrs == 23.1``.

A requirement is the package's own or one of the extras named as arguments.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.cfg"
LOWER_BOUND = re.compile(r"(?P<name>[\w.-]+)\s*>=\s*(?P<version>[\w.]+)(?P<marker>\s*;.*)?")


def lowest(extras: list[str]) -> list[str]:
    """The pinned requirements; raises ``ValueError`` for one without a lower bound."""
    settings = configparser.ConfigParser()
    settings.read(SETUP, encoding="utf-8")
    parts = [settings["options"]["install_requires"]]
    parts += [settings["options.extras_require"][extra] for extra in extras]
    pinned = []
    for line in "\n".join(parts).split("\n"):
        if not line.strip():
            continue
        found = LOWER_BOUND.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"{line!r} in setup.cfg has no lower bound alone: NAME >= VERSION")
        pinned.append(f"{found['name']} == {found['version']}{found['marker'] or ''}")
    return pinned


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
