"""Commands and plans for a person: asked in his name and context, shown before he approves, waited for (CONTRACT 5)."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import client
from orchestrator.cli.output import CliFault, note, show
from orchestrator.cli.terminal import harmless

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: for scripts. On a terminal you are asked.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")]
Notes = Annotated[str | None, typer.Option(help="Why, for the record.")]
_FIRST_S, _LONGEST_S = 0.02, 1.0
_RUNS = ("executing",)
NEEDS_APPROVAL = 4


def call(method: str, path: str, body: Any = None) -> Any:
    """One request in the key's own name and its active context; the JSON answer. Raises `CliFault` as `client` does.

    Where it is an approval that is missing, the exit code is 4.
    """
    at = client.target()
    me = client.call("GET", "/v1/me", at=at)
    context = next((one["id"] for one in me["contexts"] if one["active"]), "")
    headers = {"x-identity-id": me["identity_id"], "x-context-id": context}
    status, answer = client.exchange(at, method, path, body, headers)
    if status < 400:
        return answer
    fault = client.refused(status, answer)
    if isinstance(answer, dict) and answer.get("state") == "awaiting_approval":
        fault.code = NEEDS_APPROVAL
    raise fault


def show_plan(plan: dict[str, Any], command: dict[str, Any], title: str) -> None:
    """A command's plan as one reads it before approving: all that is done, by whom, to what effect, at what cost."""
    print(harmless(f"{title}: {command['status']} in {command['sphere']}, version {plan['plan_version']}"))
    for step in plan["steps"]:
        after = f", after {', '.join(step['dependencies'])}" if step["dependencies"] else ""
        how = f"{step['skill']} by {step['tool']}" if step["type"] != "wait" else "a wait"
        print(
            harmless(
                f"  {step['step_index'] + 1}. {step['step_id']}: {how}, {step['effects']}{after} ({step['status']})"
            )
        )
        if step["params"]:
            print(harmless(f"     {json.dumps(step['params'], ensure_ascii=False)}"))
        if step["error"]:
            print(harmless(f"     {step['error']}"))
    cost = plan["estimated_cost"]
    print(f"  estimated cost: {cost['tokens']} tokens, ${cost['usd']}")
    if plan["expires_at"]:
        print(f"  the approval expires at {plan['expires_at']}")
    print(f"  digest {plan['digest']}")


def confirm(question: str, yes: bool, as_json: bool) -> None:
    """Ask on a terminal; elsewhere `--yes` has to say so. Raises `CliFault` 2 without it, 1 where the answer is no."""
    if yes:
        return
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliFault(f"{question} Nobody is there to ask: say --yes", 2, {"code": "usage"})
    if not typer.confirm(question, err=True):
        raise CliFault("nothing was done", 1, {"code": "declined"})


def settled(path: str) -> dict[str, Any]:
    """What an address answers once it says that nothing runs any more."""
    wait_s = _FIRST_S
    while True:
        told: dict[str, Any] = call("GET", path)
        if told["status"] not in _RUNS:
            return told
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _LONGEST_S)


def judge(told: dict[str, Any], error: Any) -> None:
    """Raise `CliFault` for what did not complete: 4 where the next step awaits a person, else 1."""
    status = told["status"]
    if status == "awaiting_approval":
        raise CliFault("the next step needs approval", NEEDS_APPROVAL, {"code": "awaiting_approval"})
    if status != "completed":
        raise CliFault(f"it is {status}: {error}" if error else f"it is {status}", 1, {"code": status})


def said(line: str, as_json: bool) -> None:
    """A line for a person beside the answer; nothing for a program."""
    if not as_json:
        note(harmless(line))


def told(row: dict[str, Any], as_json: bool) -> None:
    """What an act answered: where the thing is now, or all of it for a program."""
    if as_json:
        show(row, as_json)
    else:
        print(row["status"])


def read(file: str) -> bytes:
    """A file's bytes, or standard input for `-`. Raises `CliFault` 2."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise CliFault(f"{file} cannot be read: {fault.strerror}", 2, {"code": "usage"}) from None


def object_in(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises `CliFault` 2."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise CliFault(f"{what} is not JSON: {fault}", 2, {"code": "usage"}) from None
    if not isinstance(value, dict):
        raise CliFault(f"{what} is a JSON object", 2, {"code": "usage"})
    return value
