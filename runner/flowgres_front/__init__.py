"""The front: a small HTTP server for what PostgREST cannot do.

It begins a transaction, authenticates with the function that PostgREST's pre-request calls, switches to the tenant's
role and calls SQL. It holds no rules of its own: what a caller may do is decided by the database.
"""
