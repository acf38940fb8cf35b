"""What the processes of flowgres share, runner and front: their environment, logs, keys of secrets, first errors.

It knows neither of them, and holds no rules of the engine.
"""
