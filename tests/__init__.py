"""The tests of flowgres. `tests/support` holds what they share."""
