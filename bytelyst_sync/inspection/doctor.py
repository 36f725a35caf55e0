"""All checks of a store, its settings and its server, in order.

Each check is one function of a ``DoctorContext`` that yields findings. To add a check, add its
function to the list of its module. A check that cannot be made (no network, no store) yields
none. Nothing is changed: a file is opened read-only and without its locks.
"""

from __future__ import annotations

from collections.abc import Iterator

from bytelyst_sync.inspection import (
    checks_config,
    checks_network,
    checks_queue,
    checks_server,
    checks_storage,
)
from bytelyst_sync.inspection.doctor_context import DoctorContext, Finding

__all__ = ["examine"]

_OF_NETWORK = (checks_network.CHECKS, checks_server.CHECKS)


def examine(
    context: DoctorContext, *, network: bool = True, every_page: bool = True
) -> Iterator[Finding]:
    """Runs the checks, and yields their findings.

    ``network``: also the checks that send requests. ``every_page``: also the check that reads the
    whole file.
    """
    of_file = (checks_storage.CHECKS,) if context.has_file else ()
    of_network = _OF_NETWORK if network else ()
    for checks in (checks_config.CHECKS, *of_file, checks_queue.CHECKS, *of_network):
        for check in checks:
            if every_page or check is not checks_storage.integrity:
                yield from check(context)
