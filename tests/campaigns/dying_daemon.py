"""`orchestrator serve` that kills itself before or after its n-th commit, counted once a file is there.

`python -m tests.campaigns.dying_daemon FILE before|after N serve …`
"""

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.cli.main import main
from orchestrator.kernel.metrics import Metrics
from orchestrator.storage.batches import Bounds, Committer


def die_at(armed: Path, when: str, number: int) -> None:
    """Count the commits of every store that is opened from now on."""
    count = itertools.count(1)
    born = Committer.__init__

    def init(self: Committer, bounds: Bounds, metrics: Metrics) -> None:
        def commit(connection: Connection) -> None:
            this_one = armed.exists() and next(count) == number
            if this_one and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            bounds.commit(connection)
            if this_one:
                os.kill(os.getpid(), signal.SIGKILL)

        born(self, replace(bounds, commit=commit), metrics)

    Committer.__init__ = init  # type: ignore[method-assign]


if __name__ == "__main__":
    die_at(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.argv[1:] = sys.argv[4:]
    main()
