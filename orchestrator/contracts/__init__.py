"""Floor 1: frozen data, ports and errors that rooms exchange. No behaviour but validation, no input or output."""
