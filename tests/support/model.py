"""The rules of the graph in their shortest form: what becomes of an execution, whatever its steps end as."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

STEP: dict[str, Any] = {"type": "", "join": "default", "on_error": "fail", "cancels": [], "config": {}}


class Model:
    """One execution: `status` is that of each step ("ready" while it runs, too), `execution` its own."""

    def __init__(self, definition: dict[str, Any]) -> None:
        self.steps: dict[str, dict[str, Any]] = {step["id"]: STEP | step for step in definition["steps"]}
        self.children = {one: [c for c, step in self.steps.items() if one in step["depends_on"]] for one in self.steps}
        self.listed = {one: _listed(**step["config"]) for one, step in self.steps.items()}
        self.status = dict.fromkeys(self.steps, "pending")
        self.taken: dict[str, Collection[str]] = {}  # by the steps that completed, in the order in which they did
        self.verdict: str | None = None  # of the first unhandled failure or the first stop, whichever comes first
        self.execution, self._tail = "running", self._after_the_graph(definition)
        self._settle()

    def ready(self) -> set[str]:
        """The steps that are ready or running."""
        return {one for one, status in self.status.items() if status == "ready"}

    def end_all(self, ends: Iterable[tuple[str, str, Collection[str]]]) -> None:
        """Steps complete, fail or are skipped in one call, and take listed children: all have, before more follows."""
        cancelled: list[str] = []  # by those before them: they have not ended then
        for one, outcome, taken in (end for end in ends if end[0] not in cancelled):
            self.status[one] = outcome
            if outcome == "completed":
                self.taken[one], cancelled[:] = taken, [*cancelled, *self.steps.get(one, STEP)["cancels"]]
            self.verdict = self.verdict or self._judge(one)
        self._settle()

    def cancel(self) -> None:
        """A cancel from outside."""
        open_ones = [one for one, status in self.status.items() if status in ("pending", "ready")]
        self.status, self.execution = self.status | dict.fromkeys(open_ones, "cancelled"), "cancelled"

    def _settle(self) -> None:
        """Cancel what is to be; then start and skip what can be; when nothing more follows, see what it has come to."""
        doomed = {one: "cancelled" for one in self._doomed() if self.status[one] in ("pending", "ready")}
        fates = {one: fate for one in self.steps if self.status[one] == "pending" and (fate := self._fate(one))}
        is_lost = not (doomed or fates or self.verdict) and any(map(self._judge, self.steps))
        if doomed or fates or is_lost:
            self.status, self.verdict = self.status | (doomed or fates), "failed" if is_lost else self.verdict
            self._settle()
        elif not self.ready() and (following := next(self._tail, None)):
            self.status[following] = "ready"

    def _judge(self, one: str) -> str | None:
        """How a stop ends the execution, or a failure all of whose handlers, if any, are skipped or cancelled."""
        step, children = self.steps.get(one, STEP), self.children.get(one, [])
        handlers = {self.status[child] for child in children if self.steps[child]["join"] == "failed"}
        if (self.status[one], step["on_error"]) == ("failed", "fail") and handlers <= {"skipped", "cancelled"}:
            return "failed"
        is_stop = (self.status[one], step["type"]) == ("completed", "stop")
        return str(step["config"].get("status", "completed")) if is_stop else None

    def _doomed(self) -> Iterator[str]:
        for one, step in self.steps.items():
            yield from [one] if self.verdict and step["join"] != "always" else []
            yield from step["cancels"] if self.status[one] == "completed" else []
            if self.status[one] == "ready" and isinstance(step["join"], dict) and step["join"].get("rest") == "cancel":
                rest = {one}
                for _ in self.steps:
                    rest |= {p for p, children in self.children.items() if children and rest.issuperset(children)}
                yield from rest - {one}

    def _fate(self, one: str) -> str | None:
        """What a pending step becomes now: ready, skipped, or neither yet."""
        parents, join = self.steps[one]["depends_on"], self.steps[one]["join"]
        edges = [self._edge(parent, one) for parent in parents]
        if {edge for edge, p in zip(edges, parents, strict=True) if one in self.listed[p]} == {"dead"}:
            return "skipped"
        ended, taken, failed = None not in edges, edges.count("taken"), edges.count("failed")
        rule, least = ("any", join["at_least"]) if isinstance(join, dict) else (join, 1)
        rules = {"any": taken >= least, "failed": failed > 0, "all": taken == len(edges), "always": ended}
        is_met = rules.get(rule, ended and not failed and (taken > 0 or not parents))
        return "ready" if is_met else "skipped" if ended else None

    def _edge(self, parent: str, child: str) -> str | None:
        end = self.steps[parent]["on_error"] if self.status[parent] == "failed" else self.status[parent]
        edges = {"pending": None, "ready": None, "completed": "taken", "continue": "taken", "fail": "failed"}
        is_untaken = edges.get(end) == "taken" and child in self.listed[parent] - {*self.taken.get(parent, ())}
        return "dead" if is_untaken else edges.get(end, "dead")

    def _after_the_graph(self, definition: dict[str, Any]) -> Iterator[str]:
        yield from ["$outputs"] if "outputs" in definition and not self.verdict else []
        if self.verdict == "failed":
            yield from [f"{one}.compensate" for one in reversed(self.taken) if "compensate" in self.steps[one]]
            yield from [step["id"] for step in definition.get("on_failure", [])]
        self.execution = self.verdict or "completed"


def _listed(true_branch: Any = (), false_branch: Any = (), default: Any = (), cases: Any = (), **_: Any) -> set[str]:
    return {*true_branch, *false_branch, *default, *(one for case in cases for one in case["next"])}
