"""Floor 7: the HTTP door. Translates between the outside and the contracts, and decides nothing."""
