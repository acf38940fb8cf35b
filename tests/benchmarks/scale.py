"""How much of everything: the full run, and a quick one that shows whether the program works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of the workloads, and the time after which a part is given up."""

    chain_executions: int = 20_000
    idle_executions: int = 300
    fan_executions: int = 1_500
    http_executions: int = 4_000
    stock_http_executions: int = 1_000
    slot_executions: int = 1_500
    load_seconds: float = 5.0
    bulk_calls: int = 5
    backlog_ready: int = 1_000_000
    backlog_finished: int = 5_000_000
    timers: int = 1_000_000
    idle_tenants: int = 1_000
    claims: int = 80
    in_flight: int = 100_000
    dbos_executions: int = 400
    procrastinate_executions: int = 600
    pgqueuer_executions: int = 2_000
    peer_idle_executions: int = 100
    part_seconds: int = 180
    backlog_seconds: int = 900

    def written(self) -> dict[str, str]:
        """What the titles of the table need."""
        return {
            "ready": f"{self.backlog_ready:,}",
            "finished": f"{self.backlog_finished:,}",
            "timers": f"{self.timers:,}",
            "in_flight": f"{self.in_flight:,}",
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
    dbos_executions=60,
    procrastinate_executions=100,
    pgqueuer_executions=300,
    peer_idle_executions=20,
    part_seconds=90,
    backlog_seconds=240,
)
