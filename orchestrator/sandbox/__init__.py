"""Floor 3: untrusted code in containers without a network, run only against a permit."""
