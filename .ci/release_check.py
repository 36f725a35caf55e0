"""What a release has to pass: ``make release-check``. It publishes nothing.

The tracked files are copied, and a source archive and a wheel are built from the copy. Both are
checked by tools, installed in new environments on each supported Python, and used there. A line
for each check says what was found. The run fails if a check does, or if a Python that setup.cfg
names could not be tried. Only the audit may be missing, since its service may be out of reach:
then a line says so.

Run as ``python release_check.py`` by a Python that has the extra ``release``.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASES = "tests/storage/releases"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
IMPORT_SHARE = 0.7
"""The largest share of ``import requests`` that ``import bytelyst_sync`` may take."""
RUNS = 15
WHEEL_LIMIT_KB = 1200
FOR_DEVELOPERS = {"bench", "docs", "lint", "quick", "release", "test", "trials"}
"""Extras that are not part of a running program, and so not audited."""
TIMEOUT_S = 900
NOT_DONE = "NOT AUDITED"
"""What the line of an audit begins with that could not be made."""

USE = """
import sys
from bytelyst_sync import create_sync_engine
from bytelyst_sync.testing import SyncServer
with SyncServer() as server:
    with create_sync_engine(
        base_url=server.url, entities={"notes": "/notes"}, storage="notes.db"
    ) as engine:
        engine.push("notes", {"id": "1", "title": "a trial"})
        assert engine.flush(timeout=30).success
    assert server.records("notes")["1"]["title"] == "a trial"
assert "site-packages" in sys.modules["bytelyst_sync"].__file__
"""
MEASURE = """
import time
began = time.perf_counter()
import {module}
taken = time.perf_counter() - began
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(taken, status["VmHWM"].split()[0])
"""
"""Seconds and kB. ``ru_maxrss`` would count the parent's memory from before the ``exec`` too."""


class CheckError(Exception):
    """A check failed; the text says what to do."""


class Report:
    """Prints a line for each check and remembers what failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def run(self, name: str, check: Callable[[], str]) -> None:
        """Runs one check; its text or its failure is printed."""
        try:
            said = check()
        except CheckError as error:
            self.failed.append(name)
            print(f"FAILED  {name}: {error}", flush=True)
        else:
            mark = "!!" if said.startswith(NOT_DONE) else "ok"
            print(f"{mark:8}{name}: {said}", flush=True)


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it prints; raises `CheckError` if it fails."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"{Path(str(command[0])).name} said\n{done.stdout}{done.stderr}")
    return done.stdout


def tool(name: str) -> Path:
    """A program of the environment that runs this one."""
    return Path(sys.executable).with_name(name)


def find_python(version: str) -> Path | None:
    """A Python of this version that starts: on ``PATH``, or below ``~/.pyenv``."""
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    program = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        done = subprocess.run(
            [candidate, "-c", program], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == version:
            return candidate
    return None


def build(folder: Path) -> tuple[Path, Path]:
    """The source archive and the wheel, built from a copy of the tracked files."""
    source = folder / "source"
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return archive, wheel


def contents(wheel: Path) -> str:
    """The wheel holds each file of the package, and is not larger than it should be."""
    tracked = run("git", "ls-files", "bytelyst_sync", cwd=ROOT).split()
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    missing = sorted(set(tracked) - names)
    if missing:
        raise CheckError(f"it lacks {', '.join(missing[:5])}: see package_data in setup.cfg")
    size_kb = wheel.stat().st_size / 1000
    if size_kb > WHEEL_LIMIT_KB:
        raise CheckError(f"{size_kb:.0f} kB are more than {WHEEL_LIMIT_KB}")
    return f"{len(tracked)} files, {size_kb:.0f} kB"


def twine(*files: Path) -> str:
    """The metadata and the description can be shown by an index."""
    run(tool("twine"), "check", "--strict", *files, cwd=ROOT)
    return " and ".join(file.name for file in files)


def wheel_contents(wheel: Path) -> str:
    """Nothing stands in the wheel that does not belong there."""
    config = ROOT / "pyproject.toml"
    return run(tool("check-wheel-contents"), "--config", config, wheel, cwd=ROOT).strip()


def rating(archive: Path) -> str:
    """Pyroma's rating of the metadata."""
    done = subprocess.run(
        [tool("pyroma"), "--min", "10", archive],
        cwd=archive.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"say what is missing in setup.cfg\n{done.stdout}")
    return "10 of 10"


def make_environment(python: Path, folder: Path) -> Path:
    """A new environment; returns its Python."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin" / "python"


def installed(python: Path, file: Path, folder: Path) -> str:
    """The file installs in a new environment, its dependencies agree, and it delivers a change."""
    folder.mkdir()
    inside = make_environment(python, folder / "venv")
    run(inside, "-m", "pip", "install", "--quiet", "--no-input", file, cwd=folder)
    run(inside, "-m", "pip", "check", cwd=folder)
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    run(inside, "-c", USE, cwd=folder, env=clean)
    return "installed, and a change was delivered"


def tried(python: Path, version: str) -> str:
    """The quick tests pass on this Python."""
    command = ["make", "--no-print-directory", "quick", f"VENV=.venv-quick-{version}"]
    said = run(*command, f"PYTHON={python}", cwd=ROOT)
    return said.strip().splitlines()[-1].strip("= ")


def classifiers(found: set[str]) -> str:
    """The metadata names exactly the Pythons that were tried."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    named = set(re.findall(r"Python :: (3\.\d+)", settings["metadata"]["classifiers"]))
    if named - found:
        raise CheckError(f"{', '.join(sorted(named - found))} named in setup.cfg and not tried")
    if found - named:
        raise CheckError(f"{', '.join(sorted(found - named))} tried and not named in setup.cfg")
    return ", ".join(sorted(named, key=lambda version: int(version.split(".")[1])))


def extras() -> dict[str, list[str]]:
    """The names of the extras by whether they are for users or for developers, and all."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    names = sorted(settings["options.extras_require"])
    return {"all": names, "users": [name for name in names if name not in FOR_DEVELOPERS]}


def resolved(python: Path, wheel: Path, names: list[str], report: Path) -> str:
    """Extras resolve to versions that go together."""
    options = ("--quiet", "--dry-run", "--ignore-installed", "--no-input", "--report", report)
    wanted = f"bytelyst-sync[{','.join(names)}] @ {wheel.as_uri()}"
    run(python, "-m", "pip", "install", *options, wanted, cwd=wheel.parent)
    return f"{len(json.loads(report.read_text('utf-8'))['install'])} packages"


def locked(report: Path) -> Iterator[str]:
    """The resolved packages as pinned requirements, without this one."""
    for each in json.loads(report.read_text("utf-8"))["install"]:
        metadata = each["metadata"]
        if metadata["name"] != "bytelyst-sync":
            yield f"{metadata['name']}=={metadata['version']}"


def audit(requirements: Path) -> str:
    """No known vulnerability is in what a user would be given today."""
    command = [str(tool("pip-audit")), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "--format", "json", "--requirement", str(requirements)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"{NOT_DONE}: {last}"
    found = [each["name"] for each in packages if each.get("vulns")]
    if found:
        raise CheckError(f"vulnerabilities in {', '.join(found)}\n{done.stdout}")
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if skipped:
        return (
            f"{NOT_DONE}: {len(skipped)} of {len(packages)} packages, which the service "
            f"does not know: {', '.join(skipped)}"
        )
    return f"{len(packages)} packages without a known vulnerability"


def import_cost(python: Path, folder: Path) -> str:
    """Time and memory of the import beside those of ``requests``, as medians of turns."""
    modules = ("sys", "bytelyst_sync", "requests")
    taken: dict[str, list[tuple[float, float]]] = {module: [] for module in modules}
    for turn in range(RUNS + 1):
        for module, values in taken.items():
            seconds, kb = run(python, "-c", MEASURE.format(module=module), cwd=folder).split()
            if turn:  # the first one compiles
                values.append((float(seconds), float(kb)))
    time_s = {name: statistics.median(value for value, _ in all_) for name, all_ in taken.items()}
    memory = {name: statistics.median(value for _, value in all_) for name, all_ in taken.items()}
    share = time_s["bytelyst_sync"] / time_s["requests"]
    own_kb, their_kb = (memory[name] - memory["sys"] for name in modules[1:])
    said = (
        f"{time_s['bytelyst_sync'] * 1000:.0f} ms, {share:.2f} of requests; "
        f"{own_kb / 1000:.1f} MB, {own_kb / their_kb:.2f} of requests"
    )
    if max(share, own_kb / their_kb) > IMPORT_SHARE:
        raise CheckError(f"{said}; at most {IMPORT_SHARE} is allowed")
    return said


def stores() -> str:
    """A store of each release is kept; the quick tests open them all."""
    text = (ROOT / "CHANGELOG.rst").read_text("utf-8")
    released = re.findall(r"^(\d+\.\d+\.\d+)\b.*\n=+$", text, re.MULTILINE)
    kept = [path.stem for path in sorted((ROOT / RELEASES).glob("*.sql"))]
    missing = [version for version in released if version not in kept]
    if missing:
        raise CheckError(f"{RELEASES} has no store of {', '.join(missing)}: see its README.rst")
    return f"{', '.join(kept)} kept"


def check(report: Report, folder: Path) -> None:
    """All checks, in a folder of their own."""
    archive, wheel = build(folder)
    report.run("contents", partial(contents, wheel))
    report.run("twine check", partial(twine, archive, wheel))
    report.run("check-wheel-contents", partial(wheel_contents, wheel))
    report.run("pyroma", partial(rating, archive))
    report.run("stores of releases", stores)
    found = {version: find_python(version) for version in VERSIONS}
    for version, python in found.items():
        if python is None:
            print(f"!!      Python {version} was not found: nothing was tried on it", flush=True)
            continue
        place = folder / version
        place.mkdir()
        on_it(report, python, version, (archive, wheel), place)
    report.run(
        "classifiers", lambda: classifiers({name for name, python in found.items() if python})
    )
    for version in [version for version, python in found.items() if python][-1:]:
        after(report, folder / version)


def on_it(
    report: Report, python: Path, version: str, files: tuple[Path, Path], place: Path
) -> None:
    """The checks of one Python."""
    archive, wheel = files
    report.run(f"{version}, sdist", partial(installed, python, archive, place / "sdist"))
    report.run(f"{version}, wheel", partial(installed, python, wheel, place / "wheel"))
    inside = place / "wheel" / "venv" / "bin" / "python"
    known = extras()
    for name in known["all"]:
        one = partial(resolved, inside, wheel, [name], place / f"{name}.json")
        report.run(f"{version}, [{name}]", one)
    for kind, names in known.items():
        together = partial(resolved, inside, wheel, names, place / f"={kind}.json")
        report.run(f"{version}, extras for {kind}, together", together)
    report.run(f"{version}, quick tests", partial(tried, python, version))


def after(report: Report, place: Path) -> None:
    """What is measured once, in the environments of the newest Python."""
    requirements = place / "locked.txt"
    resolution = place / "=users.json"
    if resolution.exists():
        requirements.write_text("\n".join(locked(resolution)) + "\n", "utf-8")
        report.run("pip-audit", partial(audit, requirements))
    else:
        report.run("pip-audit", lambda: f"{NOT_DONE}: {resolution.name} was not written")
    report.run(
        "import", lambda: import_cost(place / "wheel" / "venv" / "bin" / "python", place / "wheel")
    )


def main() -> int:
    """Runs the checks; returns the exit status."""
    report = Report()
    print(f"bytelyst-sync {importlib.metadata.version('bytelyst-sync')}", flush=True)
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        try:
            check(report, Path(folder))
        except CheckError as error:
            print(f"FAILED  build: {error}")
            return 1
    if report.failed:
        print(f"\nnot fit for a release: {'; '.join(report.failed)}")
        return 1
    print("\nfit for a release")
    return 0


if __name__ == "__main__":
    sys.exit(main())
