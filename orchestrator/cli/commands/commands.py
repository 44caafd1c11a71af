"""Plan, approve and execute commands."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from orchestrator.cli import governed
from orchestrator.cli.governed import Notes, Wait, Yes
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show, table

app = typer.Typer(
    help="Plan, approve and execute commands.\n\nExamples: orchestrator commands create 'reverse a string'; "
    "orchestrator commands approve ID; orchestrator commands execute ID",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(help="The command's id.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="commands")


@app.command("list")
def listing(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that await a person.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest commands.

    Example: orchestrator commands list --open
    """
    wanted = f"/v1/commands?limit={limit}" + ("&open=true" if only_open else "")
    table(governed.call("GET", wanted)["items"], ["id", "status", "open", "created_at", "intent"], as_json)


@app.command()
def create(
    intent: Annotated[str, typer.Argument(help='A sentence, or \'{"capability": "…", "params": {…}}\'.')],
    max_usd: Annotated[float | None, typer.Option(help="The most that it may cost, in dollars.", min=0)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens that it may use.", min=0)] = None,
    step_by_step: Annotated[bool, typer.Option("--step-by-step", help="Each step is approved on its own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a command of an intent, plan it, and show the plan.

    Example: orchestrator commands create 'reverse a string' --max-usd 0.01
    """
    most = {name: value for name, value in (("usd", max_usd), ("tokens", max_tokens)) if value is not None}
    body = {
        "intent": intent,
        "approval_mode": "step" if step_by_step else "plan",
        **({"maxBudget": most} if most else {}),
    }
    made = governed.call("POST", "/v1/commands", body)
    governed.call("POST", f"/v1/commands/{made['id']}/plan")
    _show(made["id"], as_json)
    governed.said(f"read it, then: orchestrator commands approve {made['id']}", as_json)


@app.command("show")
def one(command_id: Id, as_json: AsJson = False) -> None:
    """A command and its plan.

    Example: orchestrator commands show ID
    """
    _show(command_id, as_json)


@app.command()
def plan(command_id: Id, as_json: AsJson = False) -> None:
    """Plan it, or plan it again, which voids an approval; shows the plan.

    Example: orchestrator commands plan ID
    """
    governed.call("POST", f"{_path(command_id)}/plan")
    _show(command_id, as_json)


@app.command()
def approve(command_id: Id, yes: Yes = False, notes: Notes = None, as_json: AsJson = False) -> None:
    """Show the plan, ask, and approve just what was shown.

    Example: orchestrator commands approve ID
    """
    command, plan = _found(command_id)
    if not as_json:
        _print(command, plan, as_json)
    governed.confirm("Approve this plan?", yes, as_json)
    body = {"approved": True, **({"digest": plan["digest"]} if plan else {}), **({"notes": notes} if notes else {})}
    told = governed.call("POST", f"{_path(command_id)}/approve", body)
    governed.told(told, as_json)
    governed.said(f"do it: orchestrator commands execute {told['id']}", as_json)


@app.command()
def reject(command_id: Id, notes: Notes = None, as_json: AsJson = False) -> None:
    """Refuse the plan; the command is cancelled.

    Example: orchestrator commands reject ID --notes 'too dear'
    """
    governed.told(governed.call("POST", f"{_path(command_id)}/reject", {"notes": notes} if notes else {}), as_json)


@app.command()
def execute(command_id: Id, wait: Wait = True, as_json: AsJson = False) -> None:
    """Do what was approved; exit 4 where nobody approved it, 1 where it fails.

    Example: orchestrator commands execute ID
    """
    begun = governed.call("POST", f"{_path(command_id)}/execute")
    if not wait:
        show(begun, as_json)
        return
    told = governed.settled(f"{_path(command_id)}/status")
    _show(command_id, as_json)
    governed.judge(told, (told.get("failure") or {}).get("error"))


@app.command()
def cancel(command_id: Id, as_json: AsJson = False) -> None:
    """End it, and what runs of it.

    Example: orchestrator commands cancel ID
    """
    governed.told(governed.call("POST", f"{_path(command_id)}/cancel"), as_json)


@app.command()
def decide(
    command_id: Id,
    action: Annotated[Literal["retry", "modify", "discard"], typer.Argument(help="What becomes of what failed.")],
    as_json: AsJson = False,
) -> None:
    """Say what becomes of a failed command: the same steps once more, another plan, or nothing.

    Example: orchestrator commands decide ID retry
    """
    governed.told(governed.call("POST", f"{_path(command_id)}/decision", {"action": action}), as_json)


def _show(command_id: str, as_json: bool) -> None:
    _print(*_found(command_id), as_json)


def _found(command_id: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A command, and its plan if it has one yet."""
    command = governed.call("GET", _path(command_id))
    return command, governed.call("GET", f"{_path(command_id)}/plan") if command["plan_version"] else None


def _print(command: dict[str, Any], plan: dict[str, Any] | None, as_json: bool) -> None:
    if as_json or plan is None:
        show({**command, "plan": plan}, as_json)
    else:
        governed.show_plan(plan, command, f"{command['id']} {command['intent']}")


def _path(command_id: str) -> str:
    return f"/v1/commands/{quote(command_id, safe='')}"
