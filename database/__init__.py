"""The SQL of flowgres: numbered migrations and re-appliable schema files, read with `importlib.resources`."""
