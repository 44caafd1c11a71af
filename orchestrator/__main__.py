"""`python -m orchestrator` is the command `orchestrator`; without arguments it serves (R2-02)."""

import sys

from orchestrator.cli.main import main

if len(sys.argv) == 1:
    sys.argv.append("serve")
main()
