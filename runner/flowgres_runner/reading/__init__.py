"""Large values: read, put in order and computed with in a process of its own, so that the event loop never waits.

`Reader` (in the runner) asks; `child` answers there. What it runs is ours: strangers' expressions go to the evaluators.
"""
