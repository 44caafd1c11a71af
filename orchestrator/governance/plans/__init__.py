"""Plans that were given in seed 001's words: each is done by a command, and has a history of its own."""
