"""Assignment, against the cases that GrowthBook publishes for its SDKs (version 0.8.0, MIT).

They are read from beside the checkout and are not part of it. Where they are not there, the numbers
in this file stand for them: they are from the same document.

Two kinds of cases are left out: ``urlRedirect``, which moves a browser to another page, and
``decrypt``, because definitions come through the engine, whose own encryption keeps them.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytelyst_sync.experiments.assignment import run
from bytelyst_sync.experiments.buckets import (
    choose_variation,
    equal_weights,
    in_namespace,
    query_override,
    ranges_of,
)
from bytelyst_sync.experiments.conditions import matches
from bytelyst_sync.experiments.features import evaluate
from bytelyst_sync.experiments.format import Context, Experiment, as_text
from bytelyst_sync.experiments.hashing import bucket, fnv1a32
from bytelyst_sync.model import Json
from tests.experiments.vectors import published_cases
from tests.typed import present

CASES = published_cases()
COUNTS = {
    "evalCondition": 248,
    "hash": 15,
    "getBucketRange": 13,
    "feature": 55,
    "run": 73,
    "chooseVariation": 13,
    "getQueryStringOverride": 16,
    "inNamespace": 16,
    "getEqualWeights": 6,
    "stickyBucket": 13,
    "contextualBandit": 35,
}
"""How many there are of each kind; no case may be lost on the way."""


def test_all_published_cases_are_there() -> None:
    assert {kind: len(CASES[kind]) for kind in COUNTS if CASES} == (COUNTS if CASES else {})


def each_case(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "case", [pytest.param(each, id=str(each[0])) for each in CASES.get(kind, [])] or [None]
    )


def context_of(source: Json, documents: Json | None = None) -> Context:
    return Context(
        attributes=source.get("attributes") or {},
        features=source.get("features", {}),
        groups=source.get("savedGroups", {}),
        bandits=source.get("contextualBandits", {}),
        forced=source.get("forcedVariations", {}),
        sticky=documents,
        url=source.get("url", ""),
        enabled=source.get("enabled", True),
        qa_mode=source.get("qaMode", False),
    )


def result_json(feature: Any, experiment: Any, result: Any) -> Any:
    meta = experiment.meta[result.variation] if experiment.meta else {}
    found = {
        "key": str(meta.get("key") or result.variation),
        "featureId": feature,
        "inExperiment": result.in_experiment,
        "hashUsed": result.hashed,
        "variationId": result.variation,
        "value": experiment.variations[result.variation],
        "hashAttribute": result.attribute,
        "hashValue": result.value,
        "stickyBucketUsed": result.sticky,
    }
    if result.bucket is not None:
        found["bucket"] = result.bucket
    if "name" in meta:
        found["name"] = meta["name"]
    return {**found, **(experiment.bandit or {} if result.hashed else {})}


@each_case("hash")
def test_hash(case: Any) -> None:
    seed, value, version, expected = case or ["seed", "a", 2, 0.0505]
    assert bucket(seed, value, version) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", 2166136261), ("a", 3826002220), ("foobar", 3214735720)]
)
def test_fnv_1a_of_the_published_texts(text: str, expected: int) -> None:
    # draft-eastlake-fnv, appendix C: the 32-bit hashes of these texts
    assert fnv1a32(text) == expected


def test_a_text_is_hashed_by_its_utf_16_units_as_javascript_does() -> None:
    assert fnv1a32("u😀") == 293983861


@each_case("getBucketRange")
def test_bucket_ranges(case: Any) -> None:
    _, arguments, expected = case or ["", [2, 0.5, None], [[0, 0.25], [0.5, 0.75]]]
    for got, want in zip(ranges_of(*arguments), expected, strict=True):
        assert got == pytest.approx(want)


@each_case("chooseVariation")
def test_choose_variation(case: Any) -> None:
    _, place, ranges, expected = case or ["", 0.6, [[0, 0.5], [0.5, 1]], 1]
    assert choose_variation(place, ranges) == expected


@each_case("inNamespace")
def test_namespaces(case: Any) -> None:
    _, value, namespace, expected = case or ["", "1", ["namespace1", 0.4, 1], True]
    assert in_namespace(value, namespace) is expected


@each_case("getEqualWeights")
def test_equal_weights(case: Any) -> None:
    count, expected = case or [2, [0.5, 0.5]]
    assert equal_weights(count) == pytest.approx(expected)


@each_case("getQueryStringOverride")
def test_a_variation_forced_by_the_query(case: Any) -> None:
    _, key, url, count, expected = case or ["", "my-test", "http://example.com?my-test=1", 2, 1]
    assert query_override(key, url, count) == expected


@each_case("evalCondition")
def test_conditions(case: Any) -> None:
    _, condition, attributes, expected, *groups = case or ["", {"a": {"$gt": 1}}, {"a": 2}, True]
    assert matches(attributes, condition, groups[0] if groups else None) is expected


@each_case("run")
def test_run(case: Any) -> None:
    _, source, experiment, value, inside, hashed = case or [
        *("", {"attributes": {"id": "1"}}, {"key": "my-test", "variations": [0, 1]}),
        *(1, True, True),
    ]
    read = Experiment.of(experiment)

    def parent(key: Any, context: Any) -> Any:
        feature = evaluate(key, context)
        return feature.value, feature.source

    result = run(read, context_of(source), parent)
    assert (read.variations[result.variation], result.in_experiment, result.hashed) == (
        *(value, inside, hashed),
    )


FORCED = ["", {"features": {"f": {"rules": [{"force": 3}]}}}, "f"]
FORCED_RESULT = {"value": 3, "on": True, "off": False, "source": "force", "ruleId": ""}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(each, id=f"{kind}: {each[0]}")
        for kind in ("feature", "contextualBandit")
        for each in CASES.get(kind, [])
    ]
    or [[*FORCED, FORCED_RESULT]],
)
def test_features(case: Any) -> None:
    _, source, key, expected = case
    found = evaluate(key, context_of(source))
    expected = dict(expected)
    experiment = expected.pop("experiment", None)
    result = expected.pop("experimentResult", None)
    assert expected == {
        "value": found.value,
        "on": found.on,
        "off": not found.on,
        "source": found.source,
        "ruleId": found.rule,
    }
    if experiment is not None:
        bandit = present(found.experiment).bandit if present(found.result).hashed else None
        assert bandit == experiment.get("contextualBandit")
    if result is not None:
        result["hashValue"] = as_text(result["hashValue"])
        assert result_json(key, found.experiment, found.result) == result


@each_case("stickyBucket")
def test_sticky_buckets(case: Any) -> None:
    if case is None:
        rule = {"variations": [0, 1, 2, 3], "fallbackAttribute": "a"}
        source = {"attributes": {"a": "123"}, "features": {"f": {"rules": [rule]}}}
        stored = {"attributeName": "a", "attributeValue": "123", "assignments": {"f__0": "3"}}
        documents: dict[Any, Any] = {}
        evaluate("f", context_of(source, documents))
        assert set(documents) == {"a||123"} == {f"{stored['attributeName']}||123"}
        return
    _, source, stored, key, expected, after = case
    attributes = source["attributes"]
    documents = dict(source.get("stickyBucketAssignmentDocs", {}))
    for each in stored:  # a store of documents gives those of this unit only
        if attributes.get(each["attributeName"]) == each["attributeValue"]:
            documents[f"{each['attributeName']}||{each['attributeValue']}"] = each
    found = evaluate(key, context_of(source, documents))
    result = found.result and result_json(key, found.experiment, found.result)
    assert result == expected
    assert documents == after


@given(st.text(min_size=1), st.lists(st.floats(0.01, 1), min_size=2, max_size=5))
def test_a_unit_keeps_its_variation_while_the_coverage_grows(unit: str, parts: list[float]) -> None:
    weights = [each / sum(parts) for each in parts]
    seen = set()
    for coverage in (0.1, 0.3, 0.7, 1.0):
        source = {"key": "k", "variations": list(range(len(parts))), "weights": weights}
        result = run(
            Experiment.of({**source, "coverage": coverage, "hashVersion": 2}),
            Context(attributes={"id": unit}),
        )
        if result.in_experiment:
            seen.add(result.variation)
    assert len(seen) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_the_calculated_part_of_the_hash_changes_nothing(version: int) -> None:
    experiment = Experiment.of(
        {"key": "k", "seed": "é😀", "variations": [0, 1], "hashVersion": version}
    )
    for unit in ("u7", "ü", "u😀", "\ud800"):
        result = run(experiment, Context(attributes={"id": unit}))
        assert result.bucket == bucket("é😀", unit, version)
