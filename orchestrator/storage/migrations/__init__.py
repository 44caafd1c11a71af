"""The schema's history, one step a file of `versions`, run by `storage.migrate`."""

from pathlib import Path

FOLDER = Path(__file__).parent
