"""Reading the configuration for a command, with all faults told at once."""

import os
from pathlib import Path
from typing import Any

from orchestrator.cli.output import CliFault
from orchestrator.config import sources
from orchestrator.config.load import BadConfiguration, Configuration, judge
from orchestrator.config.places import checkout


def read(config: Path | None, flags: dict[str, Any]) -> Configuration:
    """The configuration. Raises `BadConfiguration`."""
    given = {name: value for name, value in flags.items() if value is not None}
    return judge(sources.gather(sources.files(config, os.environ, checkout()), os.environ, given))


def read_or_fail(config: Path | None, flags: dict[str, Any]) -> Configuration:
    """The same for a person: raises `CliFault` 2 with every fault on a line of its own."""
    try:
        return read(config, flags)
    except BadConfiguration as bad:
        count = f"{len(bad.faults)} faults" if len(bad.faults) > 1 else "a fault"
        problem = {"code": "bad_configuration", "errors": [{"loc": [], "msg": fault} for fault in bad.faults]}
        raise CliFault(f"{count} in the configuration:\n  " + "\n  ".join(bad.faults), 2, problem) from None
