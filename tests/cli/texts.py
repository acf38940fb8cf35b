"""Workflows that the tests of the commands import."""

from __future__ import annotations

GREET = """\
name: greet
description: Greets somebody
inputs:
  name: {type: string, default: world}
  times: {type: integer, default: 1}
steps:
  - id: hello
    type: transform
    config: {expression: "{{ ('Hello ' ~ input.name ~ '! ') * input.times }}"}
  - {id: tell, type: log, config: {level: warning, message: "greeted {{ input.name }}"}}
outputs: {text: "{{ steps.hello.output }}"}
"""
BREAK = """\
name: break
steps:
  - {id: bad, type: transform, config: {expression: "{{ input.missing.field }}"}}
"""
SLEEP = """\
name: sleep
inputs: {seconds: {type: number, default: 300}}
steps:
  - {id: nap, type: delay, config: {seconds: "{{ input.seconds }}"}}
"""
INNER = "name: inner\nsteps:\n  - {id: deep, type: transform, config: {expression: '{{ 42 }}'}}\n"
OUTER = "name: outer\nsteps:\n  - {id: call, type: sub_workflow, config: {workflow: inner, input: {}}}\n"
