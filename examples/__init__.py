"""Example workflows, each a folder: the definition, what to send, what comes back. Tests run all of them."""
