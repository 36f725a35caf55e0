"""An engine that does what its standard input says.

Its argument is the configuration as JSON. Each line is ``[method, arguments, named arguments]``
and is answered by a line of JSON. It ends with its input.
"""

import json
import sys
from typing import Any

import attrs

from bytelyst_sync import create_sync_engine


def plain(value: Any) -> object:
    """What JSON can say of a result."""
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return {field.name: getattr(value, field.name) for field in fields}
    return list(value) if hasattr(value, "__next__") else value


def main() -> None:
    """Serves the input."""
    engine = create_sync_engine(**{"probe": None, **json.loads(sys.argv[1])})
    sys.stdout.write("ready\n")
    for line in sys.stdin:
        name, arguments, named = json.loads(line)
        found = getattr(engine, name)
        result = plain(found(*arguments, **named) if callable(found) else found)
        sys.stdout.write(json.dumps(result, default=str) + "\n")


if __name__ == "__main__":
    main()
