"""Floor 10: the command line, for people and scripts."""
