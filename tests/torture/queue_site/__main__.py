"""Runs one function of ``work`` in a program of its own, whose clock may be faked:
``python -m tests.torture.queue_site FUNCTION ARGUMENTS``, these as JSON.
"""

import json
import sys
import time

from tests.torture.clock_program import sleep
from tests.torture.queue_site import work

if __name__ == "__main__":
    time.sleep = sleep
    getattr(work, sys.argv[1])(*json.loads(sys.argv[2]))
