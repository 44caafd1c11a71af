"""What the packages' own scripts would have made: the names by which scripts call these commands."""

from pathlib import Path

PROGRAMS = Path("/usr/bin")
CHOSEN = {"awk": "gawk", "nawk": "gawk", "which": "which.debianutils"}

for name, program in CHOSEN.items():
    (PROGRAMS / program).stat()  # a name that leads nowhere is a fault of this list
    (PROGRAMS / name).unlink(missing_ok=True)
    (PROGRAMS / name).symlink_to(program)
