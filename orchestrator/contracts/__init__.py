"""Floor 1: frozen data, ports and errors that rooms exchange. No behaviour beyond validating itself, no input or output."""
