"""The environment in which tests start a fresh interpreter."""

import os

__all__ = ["plain_environment"]


def plain_environment() -> dict[str, str]:
    """This process's environment without what configures Python, or measures its coverage."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("COVERAGE_", "COV_", "PYTHON"))
    }
