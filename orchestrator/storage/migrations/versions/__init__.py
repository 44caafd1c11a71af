"""Steps in order of their numbers. A landed step is never edited."""
