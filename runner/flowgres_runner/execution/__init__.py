"""Running claimed steps: compiled versions, contexts, rendering, steps run ahead, tasks, and their results."""
