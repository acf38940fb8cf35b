"""The benchmark program: `python -m tests.benchmarks`, or `just bench`. See README.md."""
