"""The same chain of six on other engines. These scripts run in an environment of their own: see requirements.txt."""
