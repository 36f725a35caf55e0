"""Decides whether a configuration file in the working directory may name secrets and files.

A command in somebody else's directory must not send the user's credentials to a server of their
choice, nor open the user's files. So a file that was not named explicitly is trusted only if the
user owns it, and nobody else may write to its directory.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from bytelyst_sync.errors import ConfigError
from bytelyst_sync.storage.location import split_location

if sys.platform != "win32":
    import grp
    import pwd

__all__ = ["check_untrusted", "remedy", "untrusted_reason"]

_SECRET_SETTINGS = ("auth_env", "headers_env", "headers", "key_env")


def untrusted_reason(path: Path, status: os.stat_result) -> str | None:
    """Why somebody else may have written a file; ``None`` if only the user can have written it.

    ``status`` is that of the opened file. Without owners (Windows), a file in the user's home
    directory is the user's.
    """
    folder = path.absolute().parent
    if not hasattr(os, "geteuid"):
        at_home = folder.resolve().is_relative_to(Path.home().resolve())
        return None if at_home else f"{folder} is outside of your home directory"
    about = folder.stat()
    user = os.geteuid()
    for name, file_status in ((path, status), (folder, about)):
        if file_status.st_uid != user:
            return f"{name} belongs to user {file_status.st_uid}, not to you (user {user})"
        if _others_may_write(file_status):
            return f"{name} can be changed by others (mode {stat.S_IMODE(file_status.st_mode):04o})"
    return None


def _others_may_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status.st_gid)


if sys.platform == "win32":

    def _is_private_group(_: int) -> bool:
        return False

else:

    def _is_private_group(number: int) -> bool:
        """Whether a group is the user's own, as Debian and Fedora make one for each user."""
        try:
            group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
        except KeyError:
            return False
        alone = set(group.gr_mem) <= {user.pw_name}
        return alone and (group.gr_name, number) == (user.pw_name, user.pw_gid)


def check_untrusted(options: dict[str, Any], path: Path, reason: str) -> None:
    """``ConfigError`` if an untrusted file names secrets, variables or a store elsewhere.

    ``options`` are the settings of the file, its storage as a path.
    """
    for name in _SECRET_SETTINGS:
        if options.get(name):
            raise _refused(path, reason, name, f"{name} of {path} is not used")
    storage = options.get("storage")
    folder = path.absolute().parent.resolve()
    if isinstance(storage, str) and not Path(split_location(storage)[1]).resolve().is_relative_to(
        folder
    ):
        text = f"the store that {path} names ({storage}) is outside of {folder} and is not opened"
        raise _refused(path, reason, "storage", text)


def _refused(path: Path, reason: str, field: str, text: str) -> ConfigError:
    return ConfigError(f"{text}, because {reason}: {remedy(path)}", field=field)


def remedy(path: Path) -> str:
    """How to trust the file, for messages."""
    return f"if you trust this file, name it: --config {path}"
