"""The flowgres runner: claims steps from PostgreSQL, runs them, gives results back."""
