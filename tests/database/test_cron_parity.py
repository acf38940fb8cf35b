"""SQL and Python read the same expressions, mean the same by them, and know the same zones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from zoneinfo import available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowgres_definitions.cron import Fields, is_timezone, next_day, read_cron
from tests.cases import load_cases
from tests.support.database import Database, Db
from tests.support.scale import IS_LONG

_VALUES = [
    *"0123456789",
    "10",
    "12",
    "23",
    "24",
    "31",
    "32",
    "59",
    "60",
    "jan",
    "DEC",
    "sun",
    "Mon",
    "fri",
    "sat",
    "xyz",
]
_ITEMS = st.one_of(
    st.sampled_from(["*", "*", "*/2", "*/15", "L", "l", "fri#2", "5L", "sun#L", "7#1", "*/0", "", "?", "1W"]),
    st.sampled_from(_VALUES),
    st.builds("{}-{}".format, st.sampled_from(_VALUES), st.sampled_from(_VALUES)),
    st.builds("{}-{}/{}".format, st.sampled_from(_VALUES), st.sampled_from(_VALUES), st.integers(0, 70)),
    st.builds("{}/{}".format, st.sampled_from([*_VALUES, "*"]), st.integers(0, 70)),
    st.text("0123456789*/-,#Lljanfri \t", max_size=5),
)
_FIELDS = st.lists(_ITEMS, min_size=1, max_size=3).map(",".join)
_WRITTEN = st.builds(
    lambda parts, gap: gap.join(parts),
    st.lists(_FIELDS, min_size=4, max_size=6),
    st.sampled_from([" ", " ", "  ", "\t"]),
)


def _sound(low: int, high: int, *more: str) -> st.SearchStrategy[str]:
    """A field that is mostly valid, so that what it means is compared as well."""
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    item = st.one_of(
        st.just("*"),
        number.map(str),
        ranges,
        st.builds("{}/{}".format, ranges, st.integers(1, 7)),
        st.sampled_from(["*/3", *more]),
    )
    return st.lists(item, min_size=1, max_size=3).map(",".join)


_SOUND = st.tuples(
    _sound(0, 59),
    _sound(0, 23),
    _sound(1, 31, "L"),
    _sound(1, 12, "jan", "JUN-aug"),
    _sound(0, 7, "mon-fri", "fri-sun", "wed#3", "5L", "sun#L", "7#5"),
).map(" ".join)
_QUERY = """
select f.p_fault, to_jsonb(f.p_fields) as fields,
  case when f.p_fault is null then flowgres.next_cron_day(f.p_fields, '2026-11-26') end as day
from flowgres.read_cron(%s) as f
"""


@pytest.fixture(scope="module")
def shared(module_database: Database) -> Iterator[Db]:
    with module_database.connect() as db:
        yield db


def assert_same(db: Db, expression: str) -> None:
    found = db.one(_QUERY, expression)
    read = read_cron(expression)
    if isinstance(read, str):
        assert found["p_fault"] == read
        return
    assert isinstance(read, Fields)
    assert found["p_fault"] is None
    assert found["fields"] == {name: list(v) if not isinstance(v, bool) else v for name, v in asdict(read).items()}
    assert found["day"] == next_day(read, date(2026, 11, 26))


@given(st.one_of(_WRITTEN, _SOUND, st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)))
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_expressions_mean_the_same(shared: Db, expression: str) -> None:
    assert_same(shared, expression)


@pytest.mark.slow
@given(st.one_of(_WRITTEN, _SOUND))
@settings(max_examples=10_000 if IS_LONG else 3_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_thousands_of_them_do(shared: Db, expression: str) -> None:
    assert_same(shared, expression)


@pytest.mark.parametrize("case", load_cases("cron"), ids=str)
def test_cases_are_judged_alike(shared: Db, case: object) -> None:
    assert_same(shared, case.input["cron"])  # type: ignore[attr-defined]


def test_both_know_the_same_zones(shared: Db) -> None:
    names = sorted(available_timezones() | {"CEST", "BST", "utc", "europe/berlin", "EST5EDT4", "<+03>-3", "posix/UTC"})
    known = set(
        shared.value("select flowgres.known_timezones(%s::text[])", "{" + ",".join(f'"{n}"' for n in names) + "}")
    )
    # Their data may be of different years: what everybody has is the same.
    apart = known ^ {name for name in names if is_timezone(name)}
    assert len(apart) < 10, apart
    assert {"UTC", "Europe/Berlin", "Asia/Kolkata", "EST5EDT"} <= known
    assert known.isdisjoint({"CEST", "BST", "utc", "europe/berlin", "EST5EDT4", "<+03>-3", "posix/UTC"})
