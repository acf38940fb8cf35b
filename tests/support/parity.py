"""Definitions on which the check in SQL and the check in Python must agree, and what both must say.

`ALIKE`: both check it and say the same codes at the same paths; {} is a valid definition. `PARSED`: only Python reads
it (what takes a parser). `STORED`: only SQL can know it. In the words of other systems: `parity_aliases`.
"""

from __future__ import annotations

from typing import Any

from tests.support.definitions import condition, listed_step, log_step, workflow
from tests.support.parity_graph import GRAPH
from tests.support.parity_machines import GUARDS, MACHINES
from tests.support.parity_settings import SETTINGS, closed, triggers
from tests.support.parity_steps import CONFIG, HTTP, RECORDS, TRANSITIONS, WAITS, at, one

Definition = dict[str, Any]
Said = dict[str, str]


def http(**config: Any) -> Definition:
    """A workflow of one request."""
    return one("http", **{"url": "https://x.example/"} | config)


def with_step(**changes: Any) -> Definition:
    """A workflow of one step that logs, with other members."""
    return workflow(log_step("a", **changes))


def hook(**members: Any) -> Definition:
    """A webhook trigger."""
    return {"type": "webhook", "secret": "KEY", **members}


SECRET = "{{ secrets.KEY }}"
HOLDERS: dict[str, Any] = {
    "url": f"https://x.example/{SECRET}",
    "headers": {"A": f"Bearer {SECRET}"},
    "query": {"a": [SECRET]},
    "auth": {"type": "api_key", "name": "X-Key", "value": SECRET, "in": "query"},
}

ALIKE: list[tuple[Definition, Said]] = [
    *GRAPH,
    *MACHINES,
    *RECORDS,
    *HTTP,
    # The document
    (workflow(log_step("a")), {}),
    (workflow(log_step("a"), name="Order Pipeline"), {"name": "invalid_name"}),
    (workflow(log_step("a"), workflow={"name": "w"}), {"workflow": "unknown_key"}),
    ({}, {"name": "missing_key", "steps": "missing_key"}),
    ({"name": 1, "steps": {}}, {"name": "wrong_kind", "steps": "wrong_kind"}),
    (workflow(), {"steps": "no_steps"}),
    (workflow(1, None), {"steps[0]": "wrong_kind", "steps[1]": "wrong_kind"}),
    (workflow(*(log_step(f"s{n}") for n in range(51))), {"steps[50]": "too_many_steps"}),
    (workflow(log_step("a"), name=""), {"name": "invalid_name"}),
    (workflow(log_step("a"), name="a.b"), {"name": "invalid_name"}),
    (workflow(log_step("a"), name="steps"), {"name": "reserved_name"}),
    (workflow(log_step("a"), title="\u202eabc"), {"title": "invalid_text"}),
    (workflow(log_step("a"), title="x" * 201), {"title": "too_long"}),
    (workflow(log_step("a"), version=1.1), {"version": "wrong_kind"}),
    (workflow(log_step("a"), extra=1, metadata=[]), {"extra": "unknown_key", "metadata": "wrong_kind"}),
    ({"name": "w", "steps": [log_step("a")], "states": []}, {"states": "conflicting_keys"}),
    (workflow(log_step("a"), dialect="braces"), {"dialect": "unknown_key"}),
    (workflow(log_step("a"), dialect="brace"), {"dialect": "unknown_key"}),
    (workflow(log_step("a"), outputs={"x": "{{ steps.z.output }}"}), {"outputs.x": "unknown_step"}),
    (workflow(log_step("a"), outputs={"x": SECRET}), {"outputs.x": "secret_misuse"}),
    *SETTINGS,
    # Inputs that nobody declared
    (closed(["{{ input.name }}", "{{ input['name'].x }}", "{{ input }}", "{{ input.items() }}", "{{ input.get('x') }}",
        "{{ 'input.nme' }}", "{{ trigger.payload.nme }}", "{{ steps.a.input.nme }}"][:7]), {}),
    (closed(["{{ input.nme }}", "{{ 1 if input['nme'] is defined else 2 }}", "{{ input . nme | default('x') }}"]), {
        f"{CONFIG}.message[{place}]": "unknown_input" for place in range(3)}),
    (closed("{{ input.nme }}", additional_inputs=True), {}),
    (closed("{{ input.nme }}", additional_inputs=False), at("message", "unknown_input")),
    (closed("{{ input.nme }}", additional_inputs=None, inputs=None), {}),
    (closed("{{ input.nme }}", inputs={}), at("message", "unknown_input")),
    (closed("x", additional_inputs="yes"), {"additional_inputs": "wrong_kind"}),
    (closed("x", outputs={"a": ["{{ input.nme }}"]}), {"outputs.a[0]": "unknown_input"}),
    (closed("x", settings={"correlation_id": "$.nme.id"}), {"settings.correlation_id": "unknown_input"}),
    (closed("x", settings={"correlation_id": "lax $ . \"nme\""}), {"settings.correlation_id": "unknown_input"}),
    (closed("x", settings={"correlation_id": "$.name"}), {}),
    (closed("x", settings={"correlation_id": "$.size()"}), {}),
    (closed("x", triggers=[{"type": "webhook", "scheme": "none", "input": {"name": 1, "nme": 2}}]), {
        "triggers[0].input.nme": "unknown_input"}),
    (closed() | {"steps": [log_step("a", when="{{ input.nme }}", output="{{ input.Name }}")]}, {
        "steps[0].when": "unknown_input", "steps[0].output": "unknown_input"}),
    (closed() | one("condition", field="input.nme", operator="exists"), at("field", "unknown_input")),
    (closed() | one("condition", field="input.name", operator="exists"), {}),
    (triggers({"type": "webhook", "path": "orders", "scheme": "github", "secret": "ORDERS_HMAC"}), {}),
    (triggers({"type": "cron", "cron": "0 6 * * 1-5", "timezone": "Europe/Berlin", "catch_up": "latest"}), {}),
    (triggers({"type": "cron", "cron": "0 0 31 2 *", "timezone": "Mars/Olympus"}), {
        "triggers[0].cron": "cron_invalid", "triggers[0].timezone": "timezone_unknown"}),
    (triggers({"type": "cron", "cron": "*/10 3 L * fri#2", "timezone": "CEST", "jitter": "2h",
        "until": "2027-01-31"}), {"triggers[0].timezone": "timezone_unknown"}),
    (triggers({"type": "cron", "cron": "@daily", "jitter": "2d", "until": "soon", "input": [1], "catch_up": "some"}), {
        "triggers[0].jitter": "out_of_range", "triggers[0].until": "invalid_text", "triggers[0].input": "wrong_kind",
        "triggers[0].catch_up": "unknown_word"}),
    (triggers({"type": "cron"}, {}), {"triggers[0].cron": "missing_key", "triggers[1].type": "missing_key"}),
    (triggers({"type": "hook"}, 1), {"triggers[0].type": "unknown_word", "triggers[1]": "wrong_kind"}),
    (triggers({"type": "event", "name": "order.paid", "when": '$.total > 100 && $.kind == "big" || !exists($.test)',
        "input": {"id": "$.order.id", "price": "$$5", "all": ["$", {"x": "$.lines[*].sku"}], "n": 1, "t": "5 $"}}), {}),
    (triggers({"type": "event"}, {"type": "event", "name": "order paid", "when": "$.total", "input": "$"}), {
        "triggers[0].name": "missing_key", "triggers[1].name": "invalid_name", "triggers[1].when": "jsonpath_invalid",
        "triggers[1].input": "wrong_kind"}),
    (triggers({"type": "event", "name": "a", "when": "{{ x }}", "input": {"a": "{{ x }}", "b": [{"c": "$.a["}]}}), {
        "triggers[0].when": "expression_not_allowed", "triggers[0].input.a": "expression_not_allowed",
        "triggers[0].input.b[0].c": "jsonpath_invalid"}),
    (triggers({"type": "event", "name": "a", "when": "$.a == $.b"},
        {"type": "event", "name": "a", "when": "$.** > 1"}), {
        "triggers[0].when": "jsonpath_invalid", "triggers[1].when": "jsonpath_invalid"}),
    (triggers({"type": "table", "table": "shop.orders", "events": ["insert", "update"], "when": "$.new.n >= 1"}), {}),
    (triggers({"type": "table", "table": "Orders", "events": ["truncate"]},
        {"type": "table", "table": "a.b", "events": []}), {
        "triggers[0].table": "invalid_name", "triggers[0].events[0]": "unknown_word",
        "triggers[1].events": "invalid_text"}),
    (closed("x", triggers=[{"type": "event", "name": "a", "input": {"name": "$.a", "nme": "$.b"}}]), {
        "triggers[0].input.nme": "unknown_input"}),
    (triggers({"type": "webhook", "path": "a/b", "scheme": "githb"}), {
        "triggers[0]": "secret_needed", "triggers[0].path": "invalid_name", "triggers[0].scheme": "unknown_word"}),
    (triggers({"type": "webhook", "path": "steps", "cron": "* * * * *"}), {
        "triggers[0]": "secret_needed", "triggers[0].path": "reserved_name", "triggers[0].cron": "unknown_key"}),
    (triggers({"type": "webhook", "secret": "p4ss word"}), {"triggers[0].secret": "inline_secret"}),
    (triggers({"type": "webhook", "secret": "KEY"}) | {"trigger_type": "webhook"}, {"trigger_type": "unknown_key"}),
    (triggers({"type": "webhook"}, {"type": "webhook", "scheme": "stripe"}, {"type": "webhook", "scheme": "none"}), {
        "triggers[0]": "secret_needed", "triggers[1]": "secret_needed"}),
    (triggers({"type": "webhook", "scheme": "none", "secret": "KEY"}), {"triggers[0].secret": "conflicting_keys"}),
    (triggers({"type": "webhook", "path": "a", "secret": "A"}, {"type": "webhook", "path": "a", "secret": "B"}), {
        "triggers[1].path": "duplicate_path"}),
    (triggers(hook(input={"id": "$.order.id", "no": "{{ trigger.payload.no }}", "ab": "$.x ? (@ > 1)"})), {
        "triggers[0].input.no": "expression_not_allowed", "triggers[0].input.ab": "jsonpath_invalid"}),
    (triggers(hook(input="$.order")), {"triggers[0].input": "wrong_kind"}),
    (workflow(log_step("a"), cron_expression="@daily"), {"cron_expression": "unknown_key"}),
    (workflow(log_step("a"), webhook_secret="x"), {"webhook_secret": "inline_secret"}),
    (workflow({"name": "a", "task_type": "log", "step_order": 1, "config": {"message": "x"}}), {
        "steps[0].id": "missing_key", "steps[0].type": "missing_key", "steps[0].name": "unknown_key",
        "steps[0].task_type": "unknown_key", "steps[0].step_order": "unknown_key"}),
    (workflow({"id": "a", "type": "http_request"}), {"steps[0].type": "unknown_step_type"}),
    (one("sub_workflow", workflow_name="x"), at("workflow", "missing_key") | at("workflow_name", "unknown_key")),
    # Steps
    (workflow({}), {"steps[0].id": "missing_key", "steps[0].type": "missing_key"}),
    (workflow({"id": 1, "type": 2, "config": 3, "depends_on": 4}), {
        f"steps[0].{key}": "wrong_kind" for key in ("id", "type", "config", "depends_on")}),
    (with_step(id="B"), {"steps[0].id": "invalid_name"}),
    (with_step(id="on"), {"steps[0].id": "reserved_name"}),
    (with_step(confg={}), {"steps[0].confg": "unknown_key"}),
    (workflow({"id": "a", "type": "Lgo", "config": {}}), {"steps[0].type": "unknown_step_type"}),
    (one("approval"), {}),
    (one("approval", role="manager", approvers=["ann", "{{ input.who }}"], quorum="{{ input.n }}", remind="1d",
        not_starter=True, form={"amount": {"type": "number", "minimum": 1}}), {}),
    (one("approval", role=[], quorum=0, remind="30s", not_starter="maybe", title=""), {
        f"steps[0].config.{key}": code for key, code in {
            "role": "invalid_text", "quorum": "out_of_range", "remind": "out_of_range", "not_starter": "wrong_kind",
            "title": "invalid_text"}.items()}),
    (one("approval", approver="ann", form={"1x": {"type": "text"}}), {
        "steps[0].config.approver": "unknown_key", "steps[0].config.form.1x": "invalid_name",
        "steps[0].config.form.1x.type": "unknown_word"}),
    (workflow({"id": "a", "type": "approval", "retry": 2, "on_timeout": {"output": {"decision": "rejected"}}}), {
        "steps[0]": "retry_not_allowed"}),
    (with_step(timeout="soon", on_error="ignore", join="some"), {
        "steps[0].timeout": "duration_invalid", "steps[0].on_error": "unknown_word", "steps[0].join": "unknown_word"}),
    (with_step(timeout="0s"), {"steps[0].timeout": "out_of_range"}),
    (with_step(retry={"attempts": 6, "delay": "PT1S", "errors": ["timeout", 429]}), {}),
    (with_step(retry={"attempts": 101, "delay": -1, "factor": "x", "tries": 1}), {
        "steps[0].retry.attempts": "out_of_range", "steps[0].retry.delay": "out_of_range",
        "steps[0].retry.factor": "wrong_kind", "steps[0].retry.tries": "unknown_key"}),
    (with_step(retry={"errors": [503, "503", 503.0, "5xx", "5XX", "4xx", "timeout", "connect", "tls", "child",
        "internal", "http_status", "step_error"]}), {}),
    (with_step(retry={"errors": ["50x", "timeuot", 503.5, 600, "HTTP 503", "", True, "validation"]}), {
        **{f"steps[0].retry.errors[{place}]": "unknown_word" for place in range(6)},
        "steps[0].retry.errors[6]": "wrong_kind", "steps[0].retry.errors[7]": "retry_impossible"}),
    (workflow(log_step("a"), defaults={"retry": {"errors": ["503", "5x"]}}), {
        "defaults.retry.errors[1]": "unknown_word"}),
    (with_step(join="all"), {"steps[0].join": "join_without_dependencies"}),
    (with_step(when="input.x"), {"steps[0].when": "expression_not_boolean"}),
    (with_step(when=SECRET), {"steps[0].when": "secret_misuse"}),
    (workflow(log_step("a"), log_step("a")), {"steps[1].id": "duplicate_step"}),
    (workflow(log_step("a", "a", "z")), {
        "steps[0].depends_on[0]": "self_dependency", "steps[0].depends_on[1]": "unknown_step"}),
    (workflow(log_step("a", "b"), log_step("b", "a")), {"steps[0].depends_on": "cycle"}),
    (workflow(log_step("z"), log_step("a", "c", "z"), log_step("b", "a"), log_step("c", "b")), {
        "steps[1].depends_on": "cycle"}),
    (workflow(log_step("a"), log_step("b", config={"message": "{{ steps.a.output }}"})), {
        "steps[1].config.message": "reference_not_ancestor"}),
    (workflow(listed_step("a"), listed_step("b", config={"message": ["{{ steps['a'].output }}"]})), {}),
    (one("log", message=["x", {"y": "{{ steps.z.output }}"}]), at("message[1].y", "unknown_step")),
    # Expressions
    (one("log", message="{{ input. }}"), at("message", "expression_syntax")),
    (one("log", message=["{{ input.x } }", "{{ 'a }}", "{# a", "{{ }}", "{{ input.x is defined if input.y }}"]), {
        f"{CONFIG}.message[{place}]": "expression_syntax" for place in range(5)}),
    (one("log", message="{% if input.x %}"), at("message", "expression_unsafe")),
    (one("log", message=["{{ input.x | uper }}", "{{ input.x is nope }}", "{{ input.x.append(1) }}", "{{ range(9) }}",
        "{{ input.__class__ }}", "{{ input['__class__'] }}", "{{ self }}", "{{ input.x.join(*input.y) }}"]), {
        f"{CONFIG}.message[{place}]": "expression_unsafe" for place in range(8)}),
    (one("log", message="{{ inptu.x and (input.x | uper) }}"), at("message", "expression_unsafe")),
    (one("log", message={"a": "{{ inptu.x }}", "b": ["{{ inptu.x }}", "{{ item }}", "{{ output }}"]}), {
        f"{CONFIG}.message.{place}": "expression_name" for place in ("a", "b[0]", "b[1]", "b[2]")}),
    (one("log", message="{{ steps }}"), at("message", "expression_reference")),
    (one("log", message=["{{ trigger.body.x | default(1) }}", "{{ trigger['body'] }}", "{{ trigger.bodyguard }}",
        "{{ 'trigger.body' }}", "{{ trigger.payload.body }}"]), {
        f"{CONFIG}.message[{place}]": "expression_reference" for place in range(2)}),
    (one("condition", field="trigger.body.x", operator="exists"), at("field", "expression_reference")),
    (one("log", message="{{ " + "(" * 100 + "1" + ")" * 100 + " }}" + "x" * 17_000), at("message", "expression_limit")),
    (one("log", message="{{ " + "(" * 200 + "1" + ")" * 200 + " }}"), at("message", "expression_limit")),
    (one("log", message="{{ [" + "1," * 2_100 + "] }}"), at("message", "expression_limit")),
    (one("log", message=["{{ a", "}} {", "{ {% }", "100 {#", "100 {#-", "{# "]), {
        f"{CONFIG}.message[0]": "expression_syntax", f"{CONFIG}.message[2]": "expression_unsafe",
        f"{CONFIG}.message[5]": "expression_syntax"}),
    (one("log", message="{# a note #}{{- {'a': {'b': input.x[1:]}}.a.b ~ '}}' is not none -}} it's {{ 1, }}"), {}),
    (with_step(when="{{ input.a }} {{ input.b }}"), {"steps[0].when": "expression_not_boolean"}),
    *((with_step(when=text), {}) for text in ("{{ input.a }}\n", "\n{{ input.a }}\r\n", "{{\n  input.a\n}}\n\n")),
    *((one("condition", expression=text), {}) for text in ("{{ input.a }}\n", "\n{{ input.a }}\r\n")),
    *((with_step(when=text), {"steps[0].when": "expression_not_boolean"}) for text in (" {{ input.a }}", "{{ 1 }}\t")),
    (with_step(when="{{ input. }} "), {"steps[0].when": "expression_syntax"}),
    (with_step(when="{{ input.a == '}}{{' }}"), {}),
    (with_step(output="{{ output.x or response }}"), {"steps[0].output": "expression_name"}),
    (http() | {"outputs": {"x": "{{ output }}"}}, {"outputs.x": "expression_name"}),
    (workflow({"id": "a", "type": "http", "config": {"url": "https://x.example/"}, "output": "{{ response.a }}"}), {}),
    (one("condition", expression=" {{ input.x }}"), at("expression", "expression_not_boolean")),
    (one("condition", field="{{ input. }}", operator="exists"), at("field", "expression_syntax")),
    # Configuration
    *((http(**{key: value}), {}) for key, value in HOLDERS.items()),
    *((http(**{key: {"a": SECRET}}), {}) for key in ("json", "body", "form")),
    (http(json=["{{ [secrets.A ~ secrets['B'], 'secrets'] }}", "{{ secrets.A if input.x else 'y' }}"]), {}),
    (http(method=SECRET), at("method", "secret_misuse")),
    (http(expected_status=[SECRET]), at("expected_status[0]", "secret_misuse")),
    (http(headers={"A": "{{ secrets.KEY | upper }}"}), at("headers.A", "secret_misuse")),
    (http(headers={"A": "{{ secrets }}"}), at("headers.A", "secret_misuse")),
    (http(headers={"A": "{{ 'x' if secrets.KEY == input.x else 'y' }}"}), at("headers.A", "secret_misuse")),
    (one("notify", channel="log", message=SECRET), at("message", "secret_misuse")),
    (one("notify", channel="email", recipient="a@b.example", message="x", server=SECRET), {}),
    (one("notify", channel="email", recipient=SECRET, message="x"), at("recipient", "secret_misuse")),
    (one("llm", provider="openai", model="m", prompt="x", api_key=SECRET, base_url=SECRET), {}),
    (one("llm", provider="openai", model="m", prompt=SECRET), at("prompt", "secret_misuse")),
    (one("transform", expression="{{ secrets }}"), at("expression", "secret_misuse")),
    (one("http"), at("url", "missing_key")),
    (http(url="ftp://x", metod="GET"), at("url", "invalid_text") | at("metod", "unknown_key")),
    (http(method="FETCH"), at("method", "unknown_word")),
    (http(json={}, body="x"), at("", "conflicting_keys")),
    (http(headers={"X A": "1", "X-B": "a\r\nb", "C": None}), at('headers["X A"]', "header_invalid")
        | at("headers.X-B", "header_invalid")),
    (http(headers={"A": []}, query={"a": [1, None], "b": {}}), at("headers.A", "wrong_kind") | at("query.b",
        "wrong_kind")),
    (http(expected_status=["2xx", 99, "9xx"]), at("expected_status[1]", "out_of_range") | at("expected_status[2]",
        "invalid_text")),
    (http(expected_status=[]), at("expected_status", "invalid_text")),
    (http(auth={"type": "basic", "username": "u"}), at("auth.password", "missing_key")),
    (http(auth={"type": "bearer", "token": None}), at("auth.token", "missing_key")),
    (http(auth={"type": "digest"}), at("auth.type", "unknown_word")),
    (http(auth={}), at("auth.type", "missing_key")),
    (http(auth="{{ input.auth }}", follow_redirects="{{ input.follow }}", headers="{{ input.headers }}"), {}),
    *((http(response=word), {}) for word in ("auto", "json", "text", "bytes", "{{ input.reading }}")),
    (http(response="xml"), at("response", "unknown_word")),
    (http(response="JSON"), at("response", "unknown_word")),
    (http(response=["json"]), at("response", "wrong_kind")),
    (one("transform"), at("", "missing_key")),
    (one("transform", expression=None), {}),
    (one("transform", expression="1", output={}), at("", "conflicting_keys")),
    (one("transform", expression="1", source={}), at("", "conflicting_keys")),
    (one("transform", source="{{ input }}", transforms=[{"op": "set", "field": "a", "value": 1}]), {}),
    (one("transform", transforms=[1, {"op": "move"}, {"ob": "set"}]), at("transforms[0]", "wrong_kind")
        | at("transforms[1].op", "unknown_word") | at("transforms[2].ob", "unknown_key")),
    (one("condition"), at("", "missing_key")),
    (one("condition", expression="input.x > 1"), at("expression", "expression_not_boolean")),
    (one("condition", expression=1), at("expression", "wrong_kind")),
    (one("condition", expression=True), {}),
    (one("condition", expression="{{ input.x }}", value=1), at("", "conflicting_keys")),
    (one("condition", field="x"), at("operator", "missing_key")),
    (one("condition", field="x", operator="eq"), at("value", "missing_key")),
    (one("condition", field="x", operator="exists"), {}),
    (one("condition", field="", operator="eq", value=None), at("field", "invalid_text")),
    (one("condition", field="x", operator="like", value=1), at("operator", "unknown_word")),
    (one("condition", field="steps.z.output", operator="exists"), at("field", "unknown_step")),
    (workflow(condition("c", true=["x"], false=["x", "c", "ghost"]), listed_step("x")), at(
        "false_branch[0]", "ambiguous_branch") | at("false_branch[1]", "self_dependency") | at("false_branch[2]",
        "unknown_step")),
    (workflow({"id": "c", "type": "condition", "config": {"expression": "{{ input.x }}", "true_branch": [1],
        "false_branch": "x"}}, listed_step("x")), at("true_branch[0]", "wrong_kind")),
    (one("condition", expression="{{ input.x }}", on_true={"x": 1}), at("on_true", "unknown_key")),
    (workflow({"id": "c", "type": "condition", "config": {"expression": True, "true_branch": [1, "ghost"],
        "false_branch": [{}, "x"]}}, listed_step("x")), at("true_branch[0]", "wrong_kind")
        | at("true_branch[1]", "unknown_step") | at("false_branch[0]", "wrong_kind")),
    (http(auth="Bearer x", follow_redirects="yes"), at("auth", "wrong_kind") | at("follow_redirects", "wrong_kind")),
    (one("switch"), at("value", "missing_key") | at("cases", "missing_key")),
    (one("switch", value=None, cases=[]), at("cases", "invalid_text")),
    (one("switch", value=1, cases=[{"equals": 1, "nxt": []}, 2], otherwise=[]), at("cases[0].next", "missing_key")
        | at("cases[0].nxt", "unknown_key") | at("cases[1]", "wrong_kind") | at("otherwise", "unknown_key")),
    (workflow({"id": "s", "type": "switch", "config": {"value": "{{ input.x }}", "cases": [
        {"equals": "a", "next": "x"}, {"equals": None, "next": ["x", "y"]}], "default": ["y"]}}, listed_step("x"),
        listed_step("y", config={"message": "{{ steps.s.output.branch }}"})), {}),
    (workflow({"id": "s", "type": "switch", "config": {"value": 1, "cases": [{"equals": 1, "next": ["x", "s"]}],
        "default": ["x", "ghost"]}}, listed_step("x")), at("cases[0].next[1]", "self_dependency")
        | at("default[0]", "ambiguous_branch") | at("default[1]", "unknown_step")),
    (workflow({"id": "s", "type": "switch", "config": {"value": 1, "cases": [{"equals": 1, "next": "x"}]}},
        listed_step("x", config={"message": "{{ steps.z.output }}"})), {"steps[1].config.message": "unknown_step"}),
    (one("switch", value="{{ secrets.KEY }}", cases=[{"equals": 1, "next": []}]), at("value", "secret_misuse")),
    (one("delay"), at("", "missing_key")),
    (one("delay", seconds=None), at("", "missing_key")),
    (one("delay", seconds="soon"), at("seconds", "duration_invalid")),
    (one("delay", seconds="400d"), at("seconds", "out_of_range")),
    (one("delay", seconds=-1), at("seconds", "out_of_range")),
    (one("delay", duration="{{ input.wait }}"), {}),
    *((one("delay", until=text), {}) for text in ("2027-01-31", "2027-01-31T12:00:00Z", "2028-02-29 10:00+02:00")),
    *((one("delay", until=text), at("until", "invalid_text")) for text in ("tomorrow", "2027-02-29", "2027-01-31T24:00",
        "2027-01-31T12:00 CET", "20270131")),
    (http(url=" https://x.example/a b?q=c d"), {}),
    *((http(url=text), at("url", "invalid_text")) for text in ("https:///x", "https://x\n", "https:// x", "x.example")),
    (one("delay", until=""), at("until", "invalid_text")),
    (one("delay", seconds=1, until="2027-01-01T00:00:00Z"), at("", "conflicting_keys")),
    (one("sub_workflow"), at("workflow", "missing_key")),
    (one("sub_workflow", workflow="Not A Name"), at("workflow", "invalid_text")),
    (one("sub_workflow", workflow="child", version=0, input=[]), at("version", "out_of_range") | at("input",
        "wrong_kind")),
    *TRANSITIONS,
    *WAITS,
    (one("log"), at("message", "missing_key")),
    (one("log", message="x", level="loud", data=1), at("level", "unknown_word") | at("data", "unknown_key")),
    (one("notify", message="x"), at("channel", "missing_key")),
    (one("notify", channel="fax", message="x", to="y"), at("channel", "unknown_word") | at("to", "unknown_key")),
    (one("notify", channel="email", message="x"), at("recipient", "missing_key")),
    (one("notify", channel="email", recipient=[], message="x"), at("recipient", "invalid_text")),
    (
        one("notify", channel="email", recipient="a@b.example", message="x", subject="s" * 10_001, reply_to="r" * 513),
        at("subject", "too_long") | at("reply_to", "too_long"),
    ),
    (one("notify", channel="email", recipient="r" * 513, message="x"), at("recipient", "too_long")),
    (one("llm", model="m", prompt="x"), at("provider", "missing_key")),
    (one("llm", provider="openai", model="m"), at("", "missing_key")),
    (one("llm", provider="openai", model="m", prompt="x", messages=[{"role": "user", "content": "x"}]),
        at("", "conflicting_keys")),
    (one("llm", provider="ask", model="", prompt="x", max_tokens=0, temperature=3), at("provider", "unknown_word")
        | at("model", "invalid_text") | at("max_tokens", "out_of_range") | at("temperature", "out_of_range")),
    (one("llm", provider="openai", model="m", messages=[{"role": "system", "content": 1}]),
        at("messages[0].role", "unknown_word") | at("messages[0].content", "wrong_kind")),
    (one("llm", provider="openai", model="m", prompt="x", schema="{{ input.schema }}"), {}),
]  # fmt: skip

PARSED: list[tuple[Definition, Said]] = [
    (one("log", message="{{ input.ä. }}"), at("message", "expression_syntax")),
    (one("log", message="{{ {1: {1: {1: {1: inptu}}}} }}"), at("message", "expression_name")),
    (one("log", message="{{ 1" + " + 1" * 70 + " }}"), at("message", "expression_limit")),
    (http(body="{{ (input.x ~ secrets.KEY) | upper }}"), at("body", "secret_misuse")),
]  # fmt: skip

STORED: list[tuple[Definition, Said]] = [
    (one("sub_workflow", workflow="w"), at("workflow", "sub_workflow_recursion")),
    *GUARDS,
]
