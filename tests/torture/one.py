"""One run of one scenario, in this process.

``python -m tests.torture.one MODULE NAME SEED short|full LIMIT_S FOLDER OUTCOME`` writes its result
to the file OUTCOME as JSON. A run over its limit prints the stack of each thread and ends.
"""

import faulthandler
import importlib
import json
import random
import sys
import traceback
from pathlib import Path

from tests.torture.harness import SCENARIOS, BrokenPromise, Trial


def main(arguments: list[str]) -> None:
    """Reads the arguments."""
    module, name, seed, form, limit_s, folder, result = arguments
    faulthandler.enable()
    faulthandler.dump_traceback_later(float(limit_s), exit=True)
    trial = Trial(int(seed), form == "short", Path(folder), random.Random(int(seed)))
    try:
        importlib.import_module(module)
        outcome = {"verdict": "ok", "figures": SCENARIOS[name].run(trial)}
    except BrokenPromise as broken:
        traceback.print_exc()
        outcome = {"verdict": "broken", "reason": str(broken)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the promise is not shown to hold
        traceback.print_exc()
        outcome = {"verdict": "broken", "reason": f"{type(error).__name__}: {error}"}
    temporary = Path(result).with_suffix(".part")
    temporary.write_text(json.dumps(outcome, default=str))
    temporary.rename(result)


if __name__ == "__main__":
    main(sys.argv[1:])
