"""How much of everything: the full run, a quick one for people, and a tiny one for the test of the program."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of the workloads, and the time after which a part is given up."""

    warm_up_executions: int = 500
    chain_executions: int = 20_000
    idle_history: int = 5_000
    idle_executions: int = 300
    fan_executions: int = 1_500
    http_executions: int = 4_000
    stock_http_executions: int = 1_000
    slot_executions: int = 1_500
    load_seconds: float = 5.0
    bulk_calls: int = 5
    backlog_small: int = 10_000
    backlog_ready: int = 1_000_000
    backlog_finished: int = 5_000_000
    timers: int = 1_000_000
    idle_tenants: int = 1_000
    claims: int = 80
    in_flight: int = 100_000
    input_executions: tuple[int, int, int] = (10_000, 3_000, 400)
    wide_executions: int = 150
    items: int = 10_000
    short_lists: int = 30
    schedules: int = 1_000
    idle_schedules: int = 10_000
    changed_rows: int = 10_000
    idle_seconds: float = 60.0
    webhook_seconds: float = 60.0
    crowds: int = 30
    neighbour_ready: int = 100_000
    neighbour_starts: int = 200
    limited_executions: int = 2_000
    few_foreign: int = 20_000
    many_foreign: int = 2_000_000
    measured: int = 1_000_000
    lists: int = 100
    advances: int = 100
    held_seconds: int = 60
    held_looks: int = 10
    held_burst: int = 2_000
    held_claims: int = 10
    dbos_executions: int = 400
    procrastinate_executions: int = 600
    pgqueuer_executions: int = 2_000
    peer_idle_executions: int = 100
    part_seconds: int = 180
    backlog_seconds: int = 900

    @property
    def held_part_seconds(self) -> int:
        """Besides the load: runners come and go, and bursts have to end."""
        return self.held_seconds + self.part_seconds

    def written(self) -> dict[str, str]:
        """What the titles of the table need."""
        return {
            "ready": f"{self.backlog_ready:,}",
            "finished": f"{self.backlog_finished:,}",
            "timers": f"{self.timers:,}",
            "in_flight": f"{self.in_flight:,}",
            "items": f"{self.items:,}",
            "schedules": f"{self.schedules:,}",
            "idle_schedules": f"{self.idle_schedules:,}",
            "changed_rows": f"{self.changed_rows:,}",
            "few_foreign": f"{self.few_foreign:,}",
            "many_foreign": f"{self.many_foreign:,}",
            "measured": f"{self.measured:,}",
            "neighbour_ready": f"{self.neighbour_ready:,}",
            "held": f"{self.held_seconds:,}",
        }


QUICK = Scale(
    chain_executions=2_000,
    idle_executions=50,
    fan_executions=150,
    http_executions=300,
    stock_http_executions=100,
    slot_executions=150,
    load_seconds=1.5,
    bulk_calls=2,
    backlog_ready=100_000,
    backlog_finished=500_000,
    timers=100_000,
    claims=20,
    in_flight=5_000,
    input_executions=(1_000, 300, 40),
    wide_executions=30,
    items=1_000,
    short_lists=10,
    schedules=1_000,
    idle_schedules=10_000,
    changed_rows=10_000,
    idle_seconds=20.0,
    webhook_seconds=10.0,
    crowds=10,
    neighbour_starts=60,
    limited_executions=500,
    few_foreign=2_000,
    many_foreign=200_000,
    measured=50_000,
    lists=30,
    advances=30,
    held_seconds=20,
    held_burst=500,
    held_claims=3,
    dbos_executions=60,
    procrastinate_executions=100,
    pgqueuer_executions=300,
    peer_idle_executions=20,
    part_seconds=90,
    backlog_seconds=240,
)

TINY = replace(
    QUICK,
    warm_up_executions=20,
    chain_executions=60,
    idle_history=20,
    idle_executions=5,
    fan_executions=5,
    http_executions=10,
    stock_http_executions=5,
    slot_executions=10,
    # Thirty-two connections of a busy machine take a second to open.
    load_seconds=3.0,
    bulk_calls=1,
    backlog_small=2_000,
    backlog_ready=4_000,
    backlog_finished=6_000,
    timers=2_000,
    idle_tenants=10,
    claims=2,
    in_flight=50,
    input_executions=(20, 10, 3),
    wide_executions=5,
    items=50,
    short_lists=2,
    schedules=20,
    idle_schedules=50,
    changed_rows=300,
    idle_seconds=1.0,
    webhook_seconds=1.0,
    crowds=2,
    neighbour_ready=4_000,
    neighbour_starts=3,
    limited_executions=20,
    few_foreign=200,
    many_foreign=2_000,
    measured=200,
    lists=5,
    advances=2,
    held_seconds=1,
    held_looks=3,
    held_burst=50,
    held_claims=1,
    dbos_executions=5,
    procrastinate_executions=5,
    pgqueuer_executions=5,
    peer_idle_executions=2,
    part_seconds=300,
)
