"""The language of workflow definitions: strict loading, JSON Schema, expression syntax, cron, graph.

Nothing here evaluates an expression or talks to a database. Import the module that is needed
(`loader`, `validation`, `schema`, `expressions`, `cron`); this file imports none, because the evaluator's
child processes import `expressions` alone and must stay small.
"""
