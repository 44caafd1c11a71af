"""Floor 0, standard library only: what `make` calls on a machine on which nothing is installed yet."""
