"""Steps that are run ahead under one lease: which of them go together, and how a whole chain of them is reported.

The database compiles the chains of plain steps (`PlainChain`), and takes each in one piece. The runner knows which
steps it can render in one go (`Chain`). Where one is the other, the evaluator gives all outputs as one text, which goes
to the database as it is; it is only looked at when steps outside of the chain refer to what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowgres_definitions.expressions import holds_expression
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator.jobs import Follower
from flowgres_runner.execution.compiled import Chain, CompiledStep, PlainChain
from flowgres_runner.execution.results import Member, Result, replacement
from flowgres_runner.json_values import canonical_json, encode_json
from flowgres_runner.steps.base import Completed, Json, Outcome

MAX_AHEAD = 15
"""Steps run ahead under one lease: enough to save most round trips, few enough to share and to cancel."""


def compile_plain_chain(head: CompiledStep, raw: Any, steps: Mapping[int, CompiledStep]) -> PlainChain | None:
    """The chain that begins at a step, from what get_version tells of it."""
    if raw is None:
        return None
    indexes = [head.index]
    while len(indexes) < raw["count"]:
        after = steps[indexes[-1]].next_index
        if after is None:
            return None
        indexes.append(after)
    referred = {name for step in steps.values() if step.index not in indexes for name in step.references}
    wanted = [(place, steps[index].id) for place, index in enumerate(indexes) if steps[index].id in referred]
    return PlainChain(tuple(indexes), bool(raw["is_whole"]), int(raw["opened_count"]), tuple(wanted))


def compile_chain(head: CompiledStep, plain: PlainChain | None, steps: Mapping[int, CompiledStep]) -> Chain | None:
    """What can be rendered together with a step; a template without expressions is not even sent to be rendered."""
    if head.when is None and not holds_expression(head.config):
        return None
    then: list[Follower] = []
    roots, members = set(head.roots), {head.id}
    references: dict[str, None] = {}
    step = head
    while step.next_index is not None and step.output_path is not None and len(then) < MAX_AHEAD:
        after = steps[step.next_index]
        if after.pure is None or after.secret_names:
            break
        then.append(Follower(after.key, after.config, after.when, after.references, step.id, step.output_path))
        references |= dict.fromkeys(name for name in after.references if name not in members)
        roots |= after.roots
        members.add(after.id)
        step = after
    is_plain = plain is not None and len(plain.indexes) == len(members)
    last_path = step.output_path if is_plain else None
    if not then and last_path is None:
        return None
    return Chain(tuple(then), head.key, frozenset(roots), tuple(references), last_path)


def may_be_plain(claimed: ClaimedStep) -> bool:
    """Whether complete_chains takes a lease like this at all: a first attempt that was never suspended."""
    return claimed.attempt == 1 and claimed.generation == 1 and claimed.iteration == -1 and claimed.resume is None


def is_as_shown(step: CompiledStep, config: Any, outcome: Outcome) -> bool:
    """Whether the output is that very part of the configuration which the steps rendered along with it were shown."""
    if step.output_path is None or not isinstance(outcome, Completed):
        return False
    for name in step.output_path:
        config = config[name]
    return config is outcome.output


class ChainResult:
    """A whole chain of plain ends: one row of the arrays that complete_chains takes.

    `text` is [[milliseconds, output], ...], if what an evaluator said is true: PostgreSQL checks it. `size` is that of
    the text, in characters.
    """

    __slots__ = ("claimed", "opened_count", "passed_over", "size", "step_indexes", "text")
    is_final = True
    is_replaced = False

    def __init__(self, claimed: ClaimedStep, plain: PlainChain, text: str) -> None:
        self.claimed = claimed
        self.step_indexes = plain.indexes
        self.opened_count = plain.opened_count
        self.text = text
        self.size = len(text)
        self.passed_over = 0

    def outputs(self) -> list[Json] | None:
        """The outputs of its steps, if it is the text that it should be."""
        try:
            pairs = json.loads(self.text)
            outputs = [output for _, output in pairs]
        except (ValueError, TypeError, RecursionError):
            return None
        return outputs if len(outputs) == len(self.step_indexes) else None

    def simpler(self) -> Result:
        """A form that may be taken when this is refused."""
        return self.unfolded()

    def unfolded(self) -> Result:
        """The same as an object, each member checked as if it had come by itself."""
        try:
            members = [
                Member(index, "completed", _milliseconds(milliseconds), encode_json(canonical_json(output)))
                for index, (milliseconds, output) in zip(self.step_indexes, json.loads(self.text), strict=True)
            ]
        except (ValueError, TypeError, RecursionError, OutputError):
            return replacement(self.claimed)
        result = Result(self.claimed, members)
        result.passed_over = self.passed_over
        return result


AnyResult = Result | ChainResult


def as_chain(result: Result, plain: PlainChain) -> AnyResult:
    """A result whose members are a whole chain of plain ends in its shorter form; any other as it is."""
    members = result.members
    if not result.is_final or len(members) != len(plain.indexes) or not all([member.is_plain for member in members]):
        return result
    pieces = [f"[{member.milliseconds:.3f},{member.output}]" for member in members]
    return ChainResult(result.claimed, plain, f"[{','.join(pieces)}]")


def chain_arrays(chains: Sequence[ChainResult]) -> tuple[str, ...]:
    """The arrays that complete_chains takes, as text: tenants, executions, queue rows, tokens, versions, heads, counts,
    steps. The texts come from evaluators, so they are put into quotes here, where nothing can break out of them."""
    claims = [chain.claimed for chain in chains]
    return (
        _array_text([claimed.tenant_id for claimed in claims]),
        _array_text([claimed.execution_id for claimed in claims]),
        _array_text([str(claimed.queue_id) for claimed in claims]),
        _array_text([str(claimed.token) for claimed in claims]),
        _array_text([claimed.version_id for claimed in claims]),
        _array_text([str(claimed.step_index) for claimed in claims]),
        _array_text([str(len(chain.step_indexes)) for chain in chains]),
        _array_text([_quoted(chain.text) for chain in chains]),
    )


def _milliseconds(value: Any) -> float:
    """No step that only computes takes a day."""
    if type(value) not in (int, float) or not 0 <= value < 86_400_000:
        raise ValueError("no milliseconds")
    return float(value)


def _array_text(members: list[str]) -> str:
    return "{" + ",".join(members) + "}"


def _quoted(text: str) -> str:
    """A member of an array's text: in quotes everything but quotes and backslashes stands for itself."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
