"""Commands: what has effects is planned, budgeted, approved, audited and can be undone, or is not done (seed 004)."""
