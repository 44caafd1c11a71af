"""`make demo`: the quickstart end to end, then hostile programs and their verdicts, printed for a person."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.syntax import Syntax

from orchestrator.kernel import logs
from orchestrator.testing.daemons import Client, running

HOSTILE = [
    ("a loop that never ends", "while True: pass", {"wall_ms": 1000}),
    ("a fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", {"wall_ms": 1500}),
    ("all the memory there is", "x = []\nwhile True: x.append(bytearray(10**6))", {"wall_ms": 5000}),
    ("a gigabyte of output", "while True: print('x' * 10**6)", {"wall_ms": 5000}),
    ("a call home", "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=2)", {}),
    ("a look at the host", "print(open('/etc/shadow').read())", {}),
]


async def main() -> int:
    """Show it on a daemon of its own in a temporary folder; 0 if all went as it should."""
    console = Console(highlight=False)
    logs.configure("error")
    with tempfile.TemporaryDirectory(prefix="orchestrator-demo-") as folder:
        async with running(Path(folder) / "state") as daemon:
            console.print(f"A daemon serves at {daemon.url}.\n")
            good = await _quickstart(console, daemon.keyless)
            good &= await _hostile(console, daemon.admin)
            verdict = (await daemon.admin.post("/v1/audit/verify")).json
            console.print(f"\nThe audit has {verdict['entries']} rows, and its chain holds: {verdict['ok']}.")
            return 0 if good and verdict["ok"] else 1


async def _quickstart(console: Console, client: Client) -> bool:
    console.print("[bold]A query:[/bold] reverse a string")
    answer = await client.post("/query", json={"text": "reverse a string", "intent": "generate_code"})
    if answer.status != 200:
        console.print(f"refused: {answer.json['detail']}")
        return False
    response: dict[str, Any] = answer.json["response"]
    console.print(Syntax(response["code"], "python", background_color="default"))
    execution = response["execution"]
    console.print(
        f"verified: {response['verified']}, by {len(response['checks'])} checks in a container with network "
        f"{execution['sandbox']['network']}, {execution['usage']['wall_ms']:.0f} ms\n"
    )
    return bool(response["verified"])


async def _hostile(console: Console, admin: Client) -> bool:
    console.print("[bold]Hostile programs[/bold] and what is said of them:")
    for title, code, limits in HOSTILE:
        answer = await admin.post("/v1/sandbox/executions", json={"code": code, "limits": limits})
        if answer.status != 200:
            console.print(f"refused: {answer.json['detail']}")
            return False
        outcome = answer.json
        last = outcome["stderr"].strip().splitlines()[-1:] or [outcome["reason"]]
        console.print(f"  {title:24} [bold]{outcome['status']:13}[/bold] {last[0][:90]}", soft_wrap=True)
    return True


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
