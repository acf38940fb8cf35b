"""The private stack of `flowgres dev`, `flowgres demo` and the tests: PostgreSQL, PostgREST, and processes beside them.

Nothing here runs at import, and psycopg is imported only where it is needed.
"""
