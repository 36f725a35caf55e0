"""File systems of a scenario's own, which go when its process does.

``private()`` gives the process its own view of what is mounted: nothing of it is seen elsewhere,
and the system unmounts it all, and frees the loop devices, when the last process in it is gone.
"""

import ctypes
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = [
    "make_ext4",
    "mount",
    "mount_image",
    "mount_tmpfs",
    "needs_root",
    "private",
    "read_only",
    "unmount",
]

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 32, 16384, 1 << 18
_UMOUNT_BOUND_S = 10.0


def needs_root() -> str | None:
    """Why nothing can be mounted here; ``None`` if it can."""
    if not sys.platform.startswith("linux"):
        return "it mounts file systems of its own, which is written for Linux"
    if os.geteuid() != 0:
        return "it mounts file systems of its own, for which it must be run as root"
    return None


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")


def private() -> None:
    """Before any thread is started: what this process mounts from now on is its own."""
    _call("unshare", _CLONE_NEWNS)
    mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)


def mount(source: str, place: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """The system's call of this name."""
    place.mkdir(exist_ok=True)
    texts = [each.encode() for each in (source, str(place), kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), options.encode())


def unmount(place: Path) -> None:
    """Unmounts it; waits, within bounds, for whoever still lets go of it."""
    deadline = time.monotonic() + _UMOUNT_BOUND_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            return _call("umount2", str(place).encode(), 0)
        time.sleep(0.005)
    return _call("umount2", str(place).encode(), 0)


def mount_tmpfs(place: Path, size_bytes: int) -> None:
    """A small file system in memory."""
    mount("tmpfs", place, "tmpfs", options=f"size={size_bytes},mode=0700")


def read_only(place: Path, on: bool) -> None:
    """Mounts it anew, so that nothing can be written to it, or so that it can."""
    _call(
        "mount",
        b"none",
        str(place).encode(),
        b"",
        ctypes.c_ulong(_MS_REMOUNT | (_MS_RDONLY if on else 0)),
        b"",
    )


def mount_image(image: Path, place: Path, options: str = "") -> None:
    """Mounts a file that holds a file system, on a loop device that is freed with it."""
    place.mkdir(exist_ok=True)
    _program("mount", "-o", f"loop,{options}" if options else "loop", image, place)


def make_ext4(image: Path, *options: str) -> None:
    """Makes a file, or what stands for one, an ext4 file system."""
    _program("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", *options, image)


def _program(*arguments: object) -> None:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
