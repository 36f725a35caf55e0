"""What the tests of experiments share."""

import json
from pathlib import Path
from typing import Any

from bytelyst_sync.model import Json

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
"""Data of others. It lies beside a checkout, and CI lays it there."""


def vector_file(name: str) -> Any:
    """The path of a file of such data; ``None`` where it is not beside the checkout."""
    path = VECTORS / name
    return path if path.exists() else None


def published_cases() -> Json:
    """GrowthBook's cases, by kind; nothing where they are not beside the checkout."""
    path = vector_file("growthbook-cases-0.8.0.json")
    return json.loads(path.read_text(encoding="utf-8")) if path else {}
