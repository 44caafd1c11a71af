"""Names of workers, and ids for their jobs: none is used twice at a time, in one daemon."""

import os

UIDS_EACH = 2
"""How many ids the jobs of one worker take turns at: no two in a row have the same."""
BLOCKS = 600
"""How many such blocks there are: more than workers, so that one is long free before its next turn."""


class Names:
    """Those that are given out and not yet taken back. A name is new in every life of a daemon."""

    def __init__(self, uid_first: int) -> None:
        self._uid_first = uid_first
        self._life = os.urandom(4).hex()
        self._made = 0
        self._taken: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def take(self) -> tuple[str, range]:
        """A name that no other worker has, and a free block of ids."""
        self._made += 1
        name = f"orchestrator-{self._life}-{self._made}"
        taken = set(self._taken.values())
        blocks = (number % BLOCKS for number in range(self._made, self._made + BLOCKS))
        ids = (self._uid_first + block * UIDS_EACH for block in blocks)
        first = self._taken[name] = next(uid for uid in ids if uid not in taken)
        return name, range(first, first + UIDS_EACH)

    def free(self, name: str) -> None:
        """Take a name back, and its ids."""
        self._taken.pop(name, None)
