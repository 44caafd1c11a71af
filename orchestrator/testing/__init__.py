"""Floor 10: what plugin authors and this project's own tests build upon."""
