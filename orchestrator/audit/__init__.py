"""Floor 3: the journal of what happened, hash-chained, and published only once it is durable."""
