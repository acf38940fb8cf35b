"""State machines on which both checks must agree: `MACHINES`; guards, which only the database can read: `GUARDS`.

`ODD` are valid ones, with the warnings that both give, and those that only the database can.
"""

from __future__ import annotations

from typing import Any

Definition = dict[str, Any]
Said = dict[str, str]

NEW = {"name": "new", "initial": True}
OPEN = {"name": "open"}
DONE = {"name": "done", "final": True}
NO_FIELDS: list[Any] = ["", [], [""], ["a", 1], [["a"]], {}, 1, True, [None]]
OF_STEPS = ("inputs", "additional_inputs", "settings", "defaults", "on_failure", "outputs")


def machine(*transitions: Any, states: Any = (NEW, OPEN, DONE), name: str = "w", **members: Any) -> Definition:
    """A machine with these transitions: new is the initial state, done a final one."""
    listed = list(states) if isinstance(states, tuple) else states
    return {"name": name, "states": listed, "transitions": list(transitions)} | members


def way(from_: Any = "new", to: Any = "done", **members: Any) -> Definition:
    """A transition."""
    return {"from": from_, "to": to, **members}


def states(*given: Any) -> Definition:
    """A machine of these states, beside the initial one, and no transitions."""
    return {"name": "w", "states": [NEW, *given]}


def enforced(fields: Any) -> Definition:
    """A machine with a transition that needs what `field_required` says."""
    return machine(way(enforce=True, conditions={"field_required": fields}))


def first(key: str, code: str) -> Said:
    """One error in the first transition."""
    return {f"transitions[0].{key}" if key else "transitions[0]": code}


MACHINES: list[tuple[Definition, Said]] = [
    # The document
    (machine(way("new", "open"), way("open"), way("*", "done", name="cancel")), {}),
    (states(), {}),
    (machine(), {}),
    (machine(transitions=None), {}),
    (machine(states=[]), {"states": "no_states"}),
    (machine(states={}), {"states": "wrong_kind"}),
    (machine(states=None), {"states": "missing_key"}),
    ({"name": "w", "transitions": [way()]}, {"states": "missing_key"}),
    ({"states": [NEW]}, {"name": "missing_key"}),
    (machine(way(), name="on"), {"name": "reserved_name"}),
    (machine(way(), title="Order", version="1.0", description="x", metadata={"category": "a"}), {}),
    (machine(way(), steps=[]), {"states": "conflicting_keys"}),
    ({"name": "w", "steps": [], "transitions": []}, {"transitions": "conflicting_keys"}),
    ({"name": "w", "states": [NEW], "steps": None}, {}),
    (machine(way(), triggers=[{"type": "cron"}]), {"triggers": "conflicting_keys",
        "triggers[0].cron": "missing_key"}),
    (machine(way(), inputs={}, additional_inputs=True, settings={}, defaults={}, on_failure=[], outputs={}),
        dict.fromkeys(OF_STEPS, "conflicting_keys")),
    (machine(way(), inputs=None, settings=None), {}),
    (machine(way(), state=[], webhook_secret="x"), {"state": "unknown_key", "webhook_secret": "inline_secret"}),
    (states(*({"name": f"s{n}"} for n in range(200))), {"states": "too_many_states"}),
    (machine(*[way()] * 1001), {"transitions": "too_many_transitions"}),
    # States
    (states(1, None, {}), {"states[1]": "wrong_kind", "states[2]": "wrong_kind", "states[3].name": "missing_key"}),
    (states(OPEN, {"name": "open"}, {"name": "open"}), {"states[2].name": "duplicate_state",
        "states[3].name": "duplicate_state"}),
    (states({"name": "Open"}, OPEN), {}),
    ({"name": "w", "states": [OPEN, DONE]}, {"states": "no_initial_state"}),
    ({"name": "w", "states": [OPEN, 1]}, {"states": "no_initial_state", "states[1]": "wrong_kind"}),
    ({"name": "w", "states": [{"initial": True}]}, {"states[0].name": "missing_key"}),
    (states({"name": "open", "initial": True}, {"name": 1, "initial": True}), {"states[1].initial":
        "several_initial_states", "states[2].initial": "several_initial_states", "states[2].name": "wrong_kind"}),
    (states({"name": "a", "initial": "yes", "final": 1}), {"states[1].initial": "wrong_kind",
        "states[1].final": "wrong_kind"}),
    (states({"name": "a", "initial": None, "final": None, "metadata": None, "sla": None}), {}),
    (states({"name": "a", "metadata": []}, {"name": "b", "colour": "red"}), {"states[1].metadata": "wrong_kind",
        "states[2].colour": "unknown_key"}),
    (states({"name": "a", "metadata": {"display_name": "A", "color": "#orange", "x": [None, {"y": 1.5}]}}), {}),
    *((states({"name": name}), {}) for name in ("In Analisi", "3", "a.b/c", "größe", "x" * 100, "{{ a }}", "$.a")),
    *((states({"name": name}), {"states[1].name": "invalid_name"}) for name in ("", " ", " a", "a ", "a\n", "a\tb",
        "a\u00a0b", "\u202ea", "a\u200bb")),
    (states({"name": "x" * 101}), {"states[1].name": "too_long"}),
    (states({"name": "*"}), {"states[1].name": "reserved_name"}),
    (states({"name": "a", "sla": {"after": "48h", "to": "new"}}), {}),
    (states({"name": "a", "sla": {"after": 0, "to": "b"}}), {"states[1].sla.after": "out_of_range",
        "states[1].sla.to": "unknown_state"}),
    (states({"name": "a", "sla": {"after": "soon"}}), {"states[1].sla": "missing_key", "states[1].sla.after":
        "duration_invalid"}),
    (states({"name": "a", "sla": {"after": "1h", "event": "order.late"}}), {}),
    (states({"name": "a", "sla": {"event": "order.late"}}), {"states[1].sla.after": "missing_key"}),
    (states({"name": "a", "sla": {"after": "1h", "event": "order.late", "to": "new"}}), {"states[1].sla":
        "conflicting_keys"}),
    (states({"name": "a", "sla": {"after": "1h", "event": "no event"}}), {"states[1].sla.event": "invalid_name"}),
    (states({"name": "a", "final": True, "sla": {"after": "1h", "event": "late"}}), {"states[1].sla":
        "sla_of_final_state"}),
    (states({"name": "a", "sla": {"after": "400d", "to": 1, "then": 1}}), {"states[1].sla.after": "out_of_range",
        "states[1].sla.to": "wrong_kind", "states[1].sla.then": "unknown_key"}),
    (states({"name": "a", "final": True, "sla": {"after": "1h", "to": "new"}}), {"states[1].sla":
        "sla_of_final_state"}),
    (states({"name": "a", "final": False, "sla": "1h"}), {"states[1].sla": "wrong_kind"}),
    # Transitions
    (machine(1, {}, way(1, [])), {"transitions[0]": "wrong_kind", "transitions[1].from": "missing_key",
        "transitions[1].to": "missing_key", "transitions[2].from": "wrong_kind", "transitions[2].to": "wrong_kind"}),
    (machine(way("nwe", "dnoe")), first("from", "unknown_state") | first("to", "unknown_state")),
    (machine(way("*", "*")), first("to", "unknown_state")),
    (machine(way("done", "open")), {}),
    (machine(way(), way()), {}),
    (machine(way("open", "open")), {}),
    (machine(way(name="Ship it!"), way(name="x" * 210)), {}),
    (machine(way(name="")), first("name", "invalid_name")),
    (machine(way(name="x" * 211)), first("name", "too_long")),
    (machine(way(conditions={"a": None}, context={"b": [1, "x"]}, metadata={})), {}),
    (machine(way(conditions=[], context="x", metadata=1)), first("conditions", "wrong_kind") | first("context",
        "wrong_kind") | first("metadata", "wrong_kind")),
    (machine(way(guard="$.metadata.amount <= 10000")), {}),
    (machine(way(guard="")), first("guard", "invalid_text")),
    (machine(way(guard=1)), first("guard", "wrong_kind")),
    (machine(way(guard="{{ input.x }}")), first("guard", "expression_not_allowed")),
    (machine(way(guard="$" * 1001)), first("guard", "too_long")),
    (machine(way(roles="manager", required=["reason", "reason", "a b"])), {}),
    (machine(way(roles=[], required=[])), first("roles", "invalid_text") | first("required", "invalid_text")),
    (machine(way(roles=[1, " x"], required={})), first("roles[0]", "wrong_kind") | first("roles[1]", "invalid_name")
        | first("required", "wrong_kind")),
    (machine(way(name="*", roles=["*"])), first("name", "reserved_name") | first("roles[0]", "reserved_name")),
    (machine(way(role="manager")), first("role", "unknown_key")),
    (machine(way(enforce=True)), first("enforce", "nothing_to_enforce")),
    (machine(way(enforce=True, roles=["a"], conditions={"x": 1})), first("enforce", "nothing_to_enforce")),
    (machine(way(enforce=False)), {}),
    (machine(way(enforce="yes")), first("enforce", "wrong_kind")),
    *((enforced(fields), {}) for fields in ("a", ["a"], ["a", "b c"])),
    *((enforced(fields), first("conditions.field_required", "invalid_value")) for fields in NO_FIELDS),
    (enforced(None), first("enforce", "nothing_to_enforce")),
    (machine(way(conditions={"field_required": 1})), {}),
    (machine(way(start={"workflow": "ship", "input": {"id": "$.entity_id", "all": "$", "n": 1, "text": "$$5"}})), {}),
    (machine(way(start={"workflow": "ship", "on_success": "done", "on_failure": "gone"})), first("start.on_failure",
        "unknown_state")),
    (machine(way(start={})), first("start.workflow", "missing_key")),
    (machine(way(start={"workflow": "Ship It", "input": [], "version": 1})), first("start.workflow", "invalid_text")
        | first("start.input", "wrong_kind") | first("start.version", "unknown_key")),
    (machine(way(start={"workflow": "ship", "input": {"a": "$.x[", "b": ["{{ x }}"]}})), first("start.input.a",
        "jsonpath_invalid") | first("start.input.b[0]", "expression_not_allowed")),
    (machine(way(start="ship")), first("start", "wrong_kind")),
]  # fmt: skip

GUARDS: list[tuple[Definition, Said]] = [
    (machine(way(guard=guard)), first("guard", "jsonpath_invalid"))
    for guard in ("amount > 1", "$.a >", "$.a == $role", "approved", '$.a like_regex "["', "$.a[", " ")
] + [
    (machine(way(guard=guard)), first("guard", "guard_not_boolean"))
    for guard in (
        "$",
        "$.metadata.approved",
        "$.data ? (@.amount > 1)",
        "$.data.amount + 1",
        "1",
        "$.data.size()",
        "strict $.a",
    )
]

ODD: list[tuple[Definition, Said]] = [
    (machine(way("new", "open"), way("open")), {}),
    (states(OPEN, DONE), {}),
    (machine(way()), {"states[1]": "unreachable_state"}),
    (machine(way("*", "open"), way("open")), {}),
    (machine(way("open"), way("open", "new")), {"states[1]": "unreachable_state", "states[2]": "unreachable_state"}),
    (machine(states=(NEW | {"final": True}, OPEN)), {"states[1]": "unreachable_state"}),
    (machine(way(), way("done", "open")), {"transitions[1].from": "leaves_final_state"}),
    (machine(way(), way("*", "done"), way("new", "open"), way(name="again"), way("*", "done")), {"transitions[3]":
        "repeated_transition", "transitions[4]": "repeated_transition"}),
    (machine(way("*", "open"), way(enforce=True, conditions={"field_required": "a", "a b": 1, "b": None})), {
        'transitions[1].conditions["a b"]': "condition_not_enforced",
        "transitions[1].conditions.b": "condition_not_enforced"}),
    (machine(way("*", "open"), way("open"), states=(NEW | {"sla": {"after": "1h", "to": "open"}}, OPEN | {"sla": {
        "after": "1h", "to": "new"}}, DONE)), {"states[1].sla.to": "transition_missing"}),
    (machine(way("new", "open", start={"workflow": "ship", "on_success": "done", "on_failure": "new"}), way("open")), {
        "transitions[0].start.workflow": "workflow_not_found",
        "transitions[0].start.on_failure": "transition_missing"}),
]  # fmt: skip
