"""What only many jobs show, each campaign against a daemon of its own, its figures held to bounds (`make campaign`)."""
