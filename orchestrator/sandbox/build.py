"""`python -m orchestrator.sandbox.build IMAGES PROFILE SETTINGS`: one image, in a process of its own.

It says on standard output how it comes along, a line a step; where it fails, the last line says why and its exit code
is 1.
"""

import sys
from pathlib import Path

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.sandbox import images
from orchestrator.sandbox.settings import SandboxSettings


def main(images_dir: str, profile: str, settings: str) -> int:
    """Build the image of a profile unless the engine has it; the exit code. `settings` are the room's, as JSON."""
    try:
        images.build(SandboxSettings.model_validate_json(settings), Path(images_dir), profile, _say)
    except OrchestratorError as fault:
        _say(fault.detail)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the process that waits for this one reads it


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
