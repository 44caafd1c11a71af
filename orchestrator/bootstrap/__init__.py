"""Floor 0, standard library only: what `make` calls on a machine on which nothing is installed yet.

Each step looks first, says in one line what it finds or does, and does nothing twice. A step that cannot go on raises
a `Problem` with the one command that mends it. What was added to the machine stands in a ledger, to be removed by it.
"""
