"""Floor 2: telling things. `ask` has one handler and an answer, `tell` many listeners that never delay anybody."""
