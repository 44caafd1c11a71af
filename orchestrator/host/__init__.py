"""Floor 4: the life of plugins. Find, check, load, swap, call, isolate."""
