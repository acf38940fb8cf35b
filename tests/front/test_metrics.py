"""GET /metrics: valid, of bounded labels, closed to strangers; and what is built on it names what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import Api
from tests.support.database import Clock, Database, Db
from tests.support.engine import Hands, completed, dag, failed, hands, import_workflow, start
from tests.support.metrics import measure_all

TOKEN = "a-token-of-the-monitor"
DEPLOY = Path(__file__).parents[2] / "deploy"
_NAME = re.compile(r"\bflowgres_[a-z_]+")


@pytest.fixture
def worker(module_database: Database) -> Iterator[Hands]:
    """A runner whose outcomes the test decides, on the database of the front."""
    with hands(module_database) as runner:
        yield runner


def _samples(answer: httpx.Response) -> dict[tuple[str, str], float]:
    """Every sample by its name and its labels, as text."""
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _read(front: Api) -> dict[tuple[str, str], float]:
    """What a front says that has not looked yet: a look serves all for a second."""
    return _samples(front.get("/metrics"))


def test_metrics_count_what_ended(start_front: Callable[..., Api], module_database: Database, worker: Hands) -> None:
    with module_database.connect() as db:
        clock = Clock(db)
        tenant = module_database.make_tenant("Counted")
        flow = import_workflow(db, tenant, dag("flow", [{"id": "a"}, {"id": "b", "depends_on": ["a"], "retry": 1}]))
        before = _read(start_front(module_database.url("front")))
        start(module_database, tenant, flow)
        worker.work(lambda lease, step: completed(1, ms=40))
        start(module_database, tenant, flow)
        worker.work(lambda lease, step: failed() if step == "b" else completed(1, ms=40))
        start(module_database, tenant, flow)
        measure_all(module_database, clock)
        worker.beat()
        after = _read(start_front(module_database.url("front")))

    def grown(name: str, labels: str = "") -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert grown("flowgres_executions_ended_total", "status=completed") == 1
    assert grown("flowgres_executions_ended_total", "status=failed") == 1
    assert grown("flowgres_steps_ended_total", "status=completed,type=transform") == 3
    assert grown("flowgres_steps_ended_total", "status=failed,type=transform") == 1
    assert grown("flowgres_step_duration_seconds_count", "type=transform") == 3
    assert grown("flowgres_step_duration_seconds_bucket", "le=0.0316,type=transform") == 0
    assert grown("flowgres_step_duration_seconds_bucket", "le=0.1,type=transform") == 3
    assert grown("flowgres_step_duration_seconds_sum", "type=transform") == pytest.approx(0.12, abs=0.01)
    assert grown("flowgres_queue_steps", "state=ready") == 1
    assert after["flowgres_runners_live", ""] >= 1
    assert after["flowgres_metrics_age_seconds", ""] < 60
    text = start_front(module_database.url("front")).get("/metrics").text
    assert tenant.tenant_id not in text
    assert "flow" not in {part for part in re.split(r"\W", text)}


def test_runners_that_are_gone_have_counted_all_the_same(database: Database, db: Db, clock: Clock) -> None:
    def total() -> dict[str, float]:
        return {row["name"]: row["total"] for row in db.all("select * from flowgres.runner_counters()")}

    with database.connect("runner") as service:
        for count in (3, 4):
            one = Hands(service)
            service.call(
                "flowgres.heartbeat",
                p_runner_id=one.id,
                p_running=[],
                p_stats={"counters": {"leases_rescued": count, "odd": "NaN", "worse": {"a": 1}}},
            )
            assert total()["leases_rescued"] == (3 if count == 3 else 7)
            service.call("flowgres.stop_runner", p_runner_id=one.id)
            clock.advance(seconds=8 * 86400)
            service.call("flowgres.prune", p_limit=100)
            assert db.value("select count(*) from flowgres.runners") == 0
    assert total() == {"leases_rescued": 7}


@pytest.mark.parametrize(
    ("token", "headers", "status", "code"),
    [
        ("", {}, 200, ""),
        ("", {"X-Forwarded-For": "203.0.113.7"}, 403, "metrics_closed"),
        ("", {"Forwarded": "for=203.0.113.7"}, 403, "metrics_closed"),
        (TOKEN, {"Authorization": f"Bearer {TOKEN}"}, 200, ""),
        (TOKEN, {"Authorization": f"bearer {TOKEN}", "X-Forwarded-For": "203.0.113.7"}, 200, ""),
        (TOKEN, {}, 401, "invalid_credentials"),
        (TOKEN, {"Authorization": f"Bearer {TOKEN}x"}, 401, "invalid_credentials"),
        (TOKEN, {"Authorization": "Bearer \xfc"}, 401, "invalid_credentials"),
        (TOKEN, {"Authorization": f"Basic {TOKEN}"}, 401, "invalid_credentials"),
    ],
)
def test_metrics_are_for_whoever_may_see_them(
    fronts: dict[str, Api], token: str, headers: dict[str, str], status: int, code: str
) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = httpx.get(f"{fronts[token].url}/metrics", headers=encoded)
    assert answer.status_code == status
    if code:
        assert answer.json()["code"] == code
        assert answer.json()["hint"]


@pytest.fixture(scope="module")
def fronts(start_front: Callable[..., Api], module_database: Database) -> dict[str, Api]:
    """A front without a token, and one with it."""
    url = module_database.url("front")
    return {"": start_front(url), TOKEN: start_front(url, METRICS_TOKEN=TOKEN)}


def test_metrics_say_that_the_database_is_away(start_front: Callable[..., Api]) -> None:
    front = start_front("postgresql://flowgres_front@127.0.0.1:1/nowhere")
    assert _read(front) == {("flowgres_database_up", ""): 0}


def test_files_of_the_monitor_name_metrics_that_there_are(fronts: dict[str, Api]) -> None:
    answer = fronts[""].get("/metrics")
    families = {family.name: family.type for family in text_string_to_metric_families(answer.text)}
    there = {name + ("_total" if kind == "counter" else "") for name, kind in families.items()}
    histograms = [name for name, kind in families.items() if kind == "histogram"]
    there |= {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
    for path in ("prometheus/alerts.yaml", "grafana/flowgres.json", "README.md"):
        named = set(_NAME.findall("\n".join(_expressions(path))))
        assert named, path
        assert named <= there, path
    # And nothing is measured that nobody looks at.
    queries = [*_expressions("prometheus/alerts.yaml"), *_expressions("grafana/flowgres.json")]
    looked_at = {name for query in queries for name in _NAME.findall(query)}
    unseen = {name for name in families if not any(seen.startswith(name) for seen in looked_at)}
    assert unseen == {"flowgres_info"}


def _expressions(path: str) -> list[str]:
    text = (DEPLOY / path).read_text()
    if path.endswith(".yaml"):
        return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    if path.endswith(".json"):
        board: dict[str, Any] = json.loads(text)
        return [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return re.findall(r"`(flowgres_[a-z_]+)`", text[text.index("## Monitoring") :])


def test_changes_of_tables_that_nobody_takes_are_seen(start_front: Callable[..., Api], database: Database) -> None:
    tenant = database.make_tenant()
    with database.connect() as db:
        db.run(
            "insert into flowgres.table_changes ("
            " tenant_id, id, name, change, new_rows, row_count, hops, attempts, changed_at, due_at)"
            " select %s, gen_random_uuid(), 'public.orders', 'insert', '[]', 1, 0, a, flowgres.now() - interval '1 h',"
            " flowgres.now() + case when a > 0 then interval '1 h' else interval '-90 s' end"
            " from unnest('{0,0,3}'::smallint[]) as a",
            tenant.tenant_id,
        )
    front = start_front(database.url("front"))
    samples = _read(front)
    assert samples["flowgres_table_changes", "state=waiting"] == 2
    assert samples["flowgres_table_changes", "state=failing"] == 1
    assert 90 <= samples["flowgres_table_changes_lag_seconds", ""] < 150
    component = front.get("/health").json()["components"]["changes"]
    assert component["status"] == "late"
    assert "table_changes" in component["message"]
