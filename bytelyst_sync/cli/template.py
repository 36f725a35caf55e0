"""The configuration file that ``init`` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["configuration"]

_TEMPLATE = """\
# Settings of bytelyst-sync. BYTELYST_SYNC_* in the environment, and flags, take precedence.
# `bytelyst-sync doctor` checks them, and the server, and the store.

# Where the API is.
base_url = {base_url}

# Where the queue lives: a file on a local disk. A relative path counts from this file.
storage = {storage}

# Credentials stay out of this file: the name of the variable that holds them,
# as "user:password", "Bearer TOKEN", or the bare token.
# auth_env = "API_TOKEN"

# Seconds to connect, and to answer.
# timeout = [3.05, 30.0]

# After so many retries an item is failed, and waits for a decision.
# max_retries = 5

# Seconds before the first retry, doubled for each further one, and the longest wait.
# retry_delay = 1.0
# max_retry_delay = 300.0

# Who wins where both sides changed a record: "server-wins", "client-wins",
# "last-write-wins", "merge", or "manual" (`bytelyst-sync conflicts` settles those).
# conflict = "server-wins"

# What a push survives: "full" a power cut, "normal" a crash of the program.
# durability = "full"

# Headers of every request; [headers_env] names the variables that hold secret ones.
# [headers]
# X-Client = "cash desk 3"
# [headers_env]
# X-Api-Key = "API_KEY"

# What is in the API: names and the paths below base_url.
[entities]
{entities}

# An entity with settings of its own:
# [entities.tasks]
# endpoint = "/tasks"
# conflict = "merge"
# references = {{ project_id = "projects" }}

# How the API speaks, where it is not the default: see the page on the protocol.
# `false` says "none".
# [dialect]
# items = "results"
# next_page = "url:next"
# tombstone = false
"""


def configuration(base_url: str, storage: str, entities: Mapping[str, str]) -> str:
    """The text of a configuration with these values, and comments on the others."""
    lines = [f"{_key(name)} = {_text(endpoint)}" for name, endpoint in entities.items()]
    return _TEMPLATE.format(
        base_url=_text(base_url), storage=_text(storage), entities="\n".join(lines)
    )


def _text(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()
    return name if bare else _text(name)
