"""Where definitions come from: an entity that is pulled, a file, or a list in code.

Who owns what: ``_known`` is replaced as a whole, so any thread may read it. A pulled definition
that cannot be read is kept as its problem: it assigns nobody, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bytelyst_sync.config.validators import nearest
from bytelyst_sync.errors import ConfigError, InvalidDataError
from bytelyst_sync.experiments.definitions import Definition, read_definition
from bytelyst_sync.rules.json_text import loads

__all__ = ["Catalog", "Contents", "definitions_in", "read_contents"]

Json = Any
Source = Callable[[], Iterable[Mapping[str, Json]]]
_ENCRYPTED = ("encryptedFeatures", "encryptedExperiments")
_REREAD_S = 1.0
"""How long definitions of an entity are used before they are read again."""


class Contents(NamedTuple):
    """What a source holds: experiments, features, saved groups, and what could not be read."""

    definitions: dict[str, Definition]
    features: dict[str, Mapping[str, Json]]
    groups: dict[str, Json]
    problems: dict[str, str]


class Catalog:
    """The definitions of one source."""

    def __init__(self, source: Source, clock: Callable[[], float], *, fixed: bool) -> None:
        self._source = source
        self._clock = clock
        self._fixed = fixed
        self._known = read_contents(source()) if fixed else Contents({}, {}, {}, {})
        self._read_at: float | None = None
        """When an entity was read last."""

    def contents(self, *, fresh: bool = False) -> Contents:
        """The definitions, at most a second old; ``fresh``: as they are now."""
        if self._fixed:
            return self._known
        read_at = self._read_at
        if read_at is None or fresh or self._clock() - read_at >= _REREAD_S:
            self._known = read_contents(self._source())
            self._read_at = self._clock()
        return self._known

    def find(self, key: str) -> Definition | None:
        """The experiment of that key. If it is not known, the source is read again."""
        return self.contents().definitions.get(key) or self.contents(fresh=True).definitions.get(
            key
        )

    def missing(self, key: str) -> str:
        """Why there is no experiment of that key, and what to do about it."""
        contents = self.contents()
        if key in contents.problems:
            return contents.problems[key]
        near = nearest(key, contents.definitions)
        hint = "" if near is None else f". Did you mean {near!r}?"
        if not self._fixed:
            return f"experiment {key!r} is not here yet: pull its definition{hint}"
        known = ", ".join(map(repr, sorted(contents.definitions))) or "no experiments"
        return f"experiment {key!r} is not among the given definitions, which have {known}{hint}"


def read_contents(records: Iterable[Mapping[str, Json]]) -> Contents:
    """Reads records: experiments, features, and payloads of GrowthBook's endpoint."""
    found = Contents({}, {}, {}, {})
    for record in records:
        for each in _unpacked(record, found):
            key = str(each.get("key") or each.get("id"))
            if "variations" not in each and ("rules" in each or "defaultValue" in each):
                found.features[key] = each
            else:
                _add_definition(found, key, each)
    for name, feature in found.features.items():
        for rule in _list_in(feature, "rules"):
            if isinstance(rule, Mapping) and "variations" in rule:
                key = str(rule.get("key") or name)
                if key not in found.definitions:
                    _add_definition(found, key, {**rule, "key": key})
    return found


def _add_definition(found: Contents, key: str, source: Mapping[str, Json]) -> None:
    try:
        definition = read_definition(source)
    except InvalidDataError as error:
        found.problems[key] = str(error)
    else:
        found.definitions[definition.key] = definition


def _unpacked(record: Mapping[str, Json], found: Contents) -> Iterator[Mapping[str, Json]]:
    """The records in a payload of GrowthBook's endpoint; any other record is one itself."""
    features = record.get("features")
    encrypted = [name for name in _ENCRYPTED if record.get(name)]
    for name in encrypted:
        found.problems[name] = (
            f"GrowthBook's payload has {name}, which cannot be read: turn encryption off for this"
            " SDK connection"
        )
    if not isinstance(features, Mapping):
        if not encrypted:
            yield record
        return
    groups = record.get("savedGroups")
    found.groups.update(groups if isinstance(groups, Mapping) else {})
    for key, feature in features.items():
        if isinstance(feature, Mapping):
            yield {**feature, "key": key}
        else:
            found.problems[key] = f"feature {key!r} is {feature!r:.80}; an object was expected"
    for each in _list_in(record, "experiments"):
        if isinstance(each, Mapping):
            yield each
        else:
            found.problems["experiments"] = f"an experiment is {each!r:.80}, not an object"


def _list_in(record: Mapping[str, Json], field: str) -> list[Json]:
    value = record.get(field)
    return value if isinstance(value, list) else []


def definitions_in(given: object) -> list[Mapping[str, Json]]:
    """The checked records of a file or of a list in code; raises ``ConfigError``."""
    if isinstance(given, (str, Path)):
        path = Path(given)
        try:
            given = loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"definitions={str(path)!r} cannot be read ({error}):"
                " give the path of a file that this program may read"
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"definitions={str(path)!r} is not JSON: {error}; correct the file"
            ) from error
    if isinstance(given, Mapping):
        given = [given]
    if not isinstance(given, (list, tuple)):
        raise ConfigError(
            "definitions must be None (the entity), the path of a JSON file, or a list of"
            f" definitions, not {type(given).__name__}"
        )
    records = list(given)
    problems = read_contents(records).problems
    if problems:
        raise ConfigError("; ".join(problems.values()))
    return records
