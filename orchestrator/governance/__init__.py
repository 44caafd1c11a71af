"""Floor 5: who may do what. Identities, keys, grants, permits, and the one path to the sandbox."""
