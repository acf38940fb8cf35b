"""Streams of events: one watcher for all who wait, topics that they share, and positions from which they go on."""
