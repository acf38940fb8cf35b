"""What runners do for the whole installation besides steps: rescue, expiry, partitions, checks of versions."""
