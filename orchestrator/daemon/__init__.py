"""Floor 9: the composition root. Builds the rooms, supervises them, drains them."""
