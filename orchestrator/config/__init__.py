"""Floor 8: the rooms' settings, put together from defaults, files, environment and flags."""
