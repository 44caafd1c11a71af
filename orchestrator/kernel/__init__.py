"""Floor 0: clock, ids, canonical JSON, supervised tasks, threads, logs, metrics. Knows nothing of the domain."""
