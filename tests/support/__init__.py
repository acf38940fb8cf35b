"""What the tests share: the server, a database per test, PostgREST, the runner, and an HTTP client for the API."""
