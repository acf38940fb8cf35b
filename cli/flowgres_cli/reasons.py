"""Why an execution does not move, in sentences: what the view `execution_why` says of its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowgres_cli.output import clean, moment, one_line, plain

Json = Any
Row = Mapping[str, Json]

# What goes on by itself at any moment, and what hangs on it.
MOVING = frozenset({"running", "queued", "waits_for_steps", "ended"})
FEW_ITERATIONS = 5


def step_of(row: Row) -> str:
    """The step with its iteration."""
    step = str(row.get("step") or "-")
    return step if row.get("iteration") is None else f"{step}[{row['iteration']}]"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """A paragraph for each step: its name and the sentence, below it what else there is, and the command that helps.

    Of the iterations of a step that stand for one reason a few are told, and how many more there are: a list may have
    ten thousand.
    """
    alike = Counter((row.get("step"), row["reason"]) for row in rows if row.get("iteration") is not None)
    told: Counter[tuple[Json, Json]] = Counter()
    width = max((len(step_of(row)) for row in rows), default=0)
    for row in rows:
        if row.get("iteration") is not None:
            kind = row.get("step"), row["reason"]
            told[kind] += 1
            if told[kind] == FEW_ITERATIONS + 1:
                yield clean(
                    f"{row.get('step') or '-':<{width}}  and {alike[kind] - FEW_ITERATIONS} more of its iterations"
                )
            if told[kind] > FEW_ITERATIONS:
                continue
        since = f" (since {moment(row['since'])})" if row.get("since") and row["reason"] != "waits_for_steps" else ""
        yield clean(f"{step_of(row):<{width}}  {sentence(row)}{since}")
        for more in (*_seen(row), *([f"try: {row['command']}"] if row.get("command") else [])):
            yield clean(f"{'':<{width}}  {more}")


def sentence(row: Row) -> str:
    """The reason for a person. One that this program does not know yet is told by its word and its facts."""
    detail: dict[str, Json] = row.get("detail") or {}
    reason = str(row["reason"])
    make = _SENTENCES.get(reason)
    text = make(detail) if make is not None else " ".join(filter(None, (reason.replace("_", " "), _facts(detail))))
    return one_line(text, 400)


def _until(detail: dict[str, Json]) -> str:
    return f", until {moment(detail['due_at'])}" if detail.get("due_at") else ""


def _listed(values: Json) -> str:
    return ", ".join(str(value) for value in values or ())


def _facts(detail: dict[str, Json]) -> str:
    return ", ".join(f"{name} {plain(value)}" for name, value in detail.items() if value is not None)


def _awaited(one: dict[str, Json]) -> str:
    kind = "event" if "event" in one else "signal"
    text = f"the {kind} {one.get(kind)}"
    if one.get("key") is not None:
        text += f" with the key {one['key']}"
    if one.get("match") is not None:
        text += f" that contains {plain(one['match'])}"
    if one.get("when") is not None:
        text += f" where {one['when']}"
    return text + (", from now on" if one.get("only_new") else "")


def _wait(detail: dict[str, Json]) -> str:
    awaited = [_awaited(one) for one in detail.get("for") or ()]
    first = "waits for " if len(awaited) < 2 else "waits for the first of: "
    return first + "; ".join(awaited) + _until(detail)


def _approval(detail: dict[str, Json]) -> str:
    roles, people = _listed(detail.get("roles")), _listed(detail.get("approvers"))
    who = " or ".join(filter(None, (f"the role {roles}" if roles else "", people))) or "any member"
    text = f"waits for a decision by {who}"
    if detail.get("title"):
        text += f": {detail['title']}"
    if (detail.get("quorum") or 1) > 1:
        text += f" ({detail.get('approved_count')} of {detail['quorum']} have approved)"
    return text + (", not by who started it" if detail.get("not_starter") else "") + _until(detail)


def _task(detail: dict[str, Json]) -> str:
    if detail.get("worker"):
        return f"the worker {detail['worker']} has it until {moment(detail.get('lease_until'))}"
    busy = _listed(detail.get("workers"))
    return f"waits for a worker of the queue {detail.get('queue')}; " + (
        f"busy there: {busy}" if busy else "none has a task of it now"
    )


def _retry(detail: dict[str, Json]) -> str:
    error = detail.get("error") or {}
    said = ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    count = f"attempt {detail.get('attempt')} of {detail.get('max_attempts')}"
    text = f"is tried again at {moment(detail.get('due_at'))}, {count}"
    return text + (f"; the last one: {said}" if said else "")


def _child(detail: dict[str, Json]) -> str:
    child = f"{detail.get('workflow')} {detail.get('execution_id')}"
    return f"waits for {child}, which is {detail.get('status')}{_until(detail)}"


def _running(detail: dict[str, Json]) -> str:
    last = (
        f"; last of all: {detail['last_event']} at {moment(detail.get('last_event_at'))}"
        if detail.get("last_event")
        else ""
    )
    return f"runs on {detail.get('runner')}, attempt {detail.get('attempt')}{last}"


def _silent(detail: dict[str, Json]) -> str:
    heard = moment(detail.get("last_heard_at"))
    return f"its runner {detail.get('runner')} was last heard at {heard}; another one takes the step over"


def _line(detail: dict[str, Json]) -> str:
    before = detail.get("before")
    if before is None:
        return "is about to be claimed"
    count = f"more than {before}" if detail.get("is_more") else str(before)
    text = "is the next of its tenant" if not before else f"{count} of the same tenant go before it"
    return text + ("; tenants take turns, and others wait too" if detail.get("shares_with_others") else "")


def _holders(detail: dict[str, Json]) -> str:
    held = [
        " ".join(filter(None, (one.get("execution_id"), step_of(one) if one.get("step") else None)))
        for one in detail.get("held_by") or ()
    ]
    return f"; held by {', '.join(held)}" if held else ""


def _limit(detail: dict[str, Json]) -> str:
    name = f"the limit {detail.get('name')}"
    if detail.get("is_set") is False:
        return f"waits for {name}, which nobody has set"
    time = f" in {plain(detail['per_seconds'])} s" if detail.get("per_seconds") else ""
    return f"waits for {name} of {detail.get('capacity')}{time}{_holders(detail)}"


def _concurrency(detail: dict[str, Json]) -> str:
    if detail.get("is_refused"):
        return "was one too many of its workflow, and is about to be cancelled"
    key = f" with the key {detail['key']}" if detail.get("key") is not None else ""
    return f"waits for its turn: {detail.get('capacity')} of its workflow{key} run at once{_holders(detail)}"


def _by(detail: dict[str, Json]) -> str:
    who = f" by {detail['by']}" if detail.get("by") else ""
    return who + (f": {detail['reason']}" if detail.get("reason") else "")


def _ended(detail: dict[str, Json]) -> str:
    error = detail.get("error") or {}
    said = ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    return f"the execution {'was cancelled' if detail.get('status') == 'cancelled' else 'failed'}" + (
        f": {said}" if said else ""
    )


def _seen(row: Row) -> Iterator[str]:
    for one in (row.get("detail") or {}).get("seen") or ():
        key = f" with the key {one['key']}" if one.get("key") is not None else ""
        yield f"seen: {one.get('name')}{key} at {moment(one.get('received_at'))}, but {one.get('but')}"


_SENTENCES = {
    "running": _running,
    "runner_silent": _silent,
    "queued": lambda detail: f"is ready: {_line(detail)}",
    "runners_full": lambda detail: f"is ready, and all runners that serve it are full; {_line(detail)}",
    "no_runner": lambda detail: (
        f"is ready, and nobody takes it: {detail.get('says') or 'no runner serves ' + plain(detail.get('serves'))}"
    ),
    "scheduled": lambda detail: f"begins at {moment(detail.get('due_at'))}",
    "waits_for_steps": lambda detail: f"waits for {_listed(detail.get('steps')) or 'the steps before it'}",
    "waits_for_retry": _retry,
    "waits_for_timer": lambda detail: f"goes on at {moment(detail.get('due_at'))}",
    "waits_for_child": _child,
    "waits_for_signal": _wait,
    "waits_for_event": _wait,
    "waits_for_first_of": _wait,
    "waits_for_callback": lambda detail: f"waits for a call at its address{_until(detail)}",
    "waits_for_approval": _approval,
    "waits_for_task": _task,
    "waits_for_limit": _limit,
    "waits_for_concurrency": _concurrency,
    "paused_execution": lambda detail: (
        f"the execution is paused{' with ' + str(detail['with']) if detail.get('with') else ''}{_by(detail)}"
    ),
    "paused_workflow": lambda detail: f"the workflow {detail.get('workflow')} is paused{_by(detail)}",
    "paused_tenant": lambda detail: f"the tenant is paused{_by(detail)}",
    "held": lambda detail: "is held back",
    "ended": _ended,
}
