"""What a runner has to do with PostgreSQL: the connection, every call, LISTEN, and how long an answer counts."""
