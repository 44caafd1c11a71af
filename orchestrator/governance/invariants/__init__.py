"""What must hold of a store at every moment, checked by reading it (REQUIREMENTS 3.3, I1 to I12; R4-41)."""
