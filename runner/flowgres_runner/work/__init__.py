"""Taking and reporting work: the lanes, results on their way, what is held, and the heartbeat that keeps it."""
