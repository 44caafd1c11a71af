"""What runs workers: one file a backend, one port before them all."""
