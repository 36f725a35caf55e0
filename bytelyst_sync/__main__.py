"""``python -m bytelyst_sync``: the same as the command ``bytelyst-sync``."""

from __future__ import annotations

import sys

from bytelyst_sync.cli import main

if __name__ == "__main__":
    sys.exit(main())
