"""Comparing what is expected with what there is."""

from __future__ import annotations

from typing import Any

import pytest

from flowgres_cli.testing.matching import ABSENT, compare, find_matcher_fault, fits_url


def _paths(expected: Any, got: Any, *, is_exact: bool = False) -> list[tuple[str | int, ...]]:
    return [difference.path for difference in compare(expected, got, is_exact=is_exact)]


@pytest.mark.parametrize(
    ("expected", "got", "paths"),
    [
        (1, 1.0, []),
        (True, 1, [()]),
        (None, None, []),
        (None, ABSENT, [()]),
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}, []),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, [("a", "b", 1, "c")]),
        ({"a": 1}, {}, [("a",)]),
        ([1, 2], [1], [(1,)]),
        ([1], [1, 2], [(1,)]),
        ({"a": 1}, [1], [()]),
        ({"$any": "number"}, 1, []),
        ({"$any": "number"}, True, [()]),
        ({"$any": "value"}, None, []),
        ({"a": {"$any": "value"}}, {}, [("a",)]),
        ({"$matches": "^a.c$"}, "abc", []),
        ({"$matches": "^a.c$"}, "abd", [()]),
        ({"$matches": "1"}, 1, [()]),
    ],
)
def test_members_that_are_expected_count(expected: Any, got: Any, paths: list[tuple[str | int, ...]]) -> None:
    assert _paths(expected, got) == paths


def test_exact_objects_have_no_other_members() -> None:
    assert _paths({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}, is_exact=True) == [("a", "c"), ("d",)]


@pytest.mark.parametrize(
    ("pattern", "url", "is_meant"),
    [
        ("https://a.example/stock/*", "https://a.example/stock/7?x=1", True),
        ("https://a.example/stock/*", "https://a.example/stocks", False),
        ("https://a.example/stock?x=*", "https://a.example/stock?x=1", True),
        ("https://a.example/stock?x=2", "https://a.example/stock?x=1", False),
        ("https://a.example/stock", "https://a.example/stock?x=1", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example", "https://a.example/b", False),
        ("*", "https://a.example/b", True),
        ("https://a.example/a.b", "https://a.example/aXb", False),
    ],
)
def test_addresses_are_patterns(pattern: str, url: str, is_meant: bool) -> None:
    assert fits_url(pattern, url) is is_meant


def test_wrong_matcher_is_found_with_its_place() -> None:
    fault = find_matcher_fault({"a": [{"$matches": "("}]})
    assert fault is not None
    assert fault[0] == ("a", 0)
    assert find_matcher_fault({"a": [{"$matches": "(a)"}, {"$any": "value", "b": 1}]}) is None
