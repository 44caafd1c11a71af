"""Programs that run inside a container to try its walls. Nothing imports them: they are sent as jobs."""
