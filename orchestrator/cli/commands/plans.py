"""Give plans, approve and execute them, and read what happened."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from orchestrator.cli import governed
from orchestrator.cli.governed import Notes, Wait, Yes
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show, table

app = typer.Typer(
    help="Give plans, approve and execute them, and read what happened.\n\nExamples: "
    "orchestrator plans create plan.json; orchestrator plans approve ID; orchestrator plans execute ID; "
    "orchestrator plans timeline ID",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(help="The plan's id, as it was given or as it is inside.")]
File = Annotated[str, typer.Argument(help="A file, or - for standard input.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="plans")


@app.command("list")
def listing(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, as_json: AsJson = False) -> None:
    """The newest plans.

    Example: orchestrator plans list
    """
    found = governed.call("GET", f"/v1/plans?limit={limit}")["items"]
    rows = found if as_json else [{**one, "steps": len(one["steps"])} for one in found]
    table(rows, ["id", "goalId", "status", "open", "steps", "createdAt"], as_json)


@app.command()
def create(file: File, as_json: AsJson = False) -> None:
    """Give a plan; all that is wrong with it is told at once, else it awaits an approval.

    Example: orchestrator plans create plan.json
    """
    _made(governed.call("POST", "/v1/plans", governed.object_in(governed.read(file), file)), as_json)


@app.command()
def goal(
    description: Annotated[str, typer.Argument(help="What is wanted.")],
    criterion: Annotated[list[str] | None, typer.Option(help="What must be so in the end; may be repeated.")] = None,
    goal_id: Annotated[str, typer.Option("--id", help="The goal's id.")] = "goal",
    context: Annotated[str | None, typer.Option(help="What is known, a JSON object.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a goal: for each criterion the capability that fits it best.

    Example: orchestrator plans goal 'be fair' --criterion 'sort a list' --criterion 'reverse a string'
    """
    body: dict[str, Any] = {"id": goal_id, "description": description, "success_criteria": criterion or []}
    if context is not None:
        body["context"] = governed.object_in(context, "--context")
    _made(governed.call("POST", "/v1/goals/plan", body), as_json)


@app.command("show")
def one(plan_id: Id, as_json: AsJson = False) -> None:
    """A plan, where it is, and how its execution goes.

    Example: orchestrator plans show ID
    """
    _show(governed.call("GET", _path(plan_id)), as_json)


@app.command()
def approve(plan_id: Id, yes: Yes = False, notes: Notes = None, as_json: AsJson = False) -> None:
    """Show the plan, ask, and approve just what was shown.

    Example: orchestrator plans approve ID
    """
    plan = governed.call("GET", _path(plan_id))
    if not as_json:
        _show(plan, as_json)
    governed.confirm("Approve this plan?", yes, as_json)
    body = {"approved": True, "digest": plan.get("digest"), **({"notes": notes} if notes else {})}
    told = governed.call("POST", f"{_path(plan_id)}/approve", body)
    governed.told(told, as_json)
    governed.said(f"do it: orchestrator plans execute {told['id']}", as_json)


@app.command()
def reject(plan_id: Id, notes: Notes = None, as_json: AsJson = False) -> None:
    """Refuse the plan.

    Example: orchestrator plans reject ID
    """
    body = {"approved": False, **({"notes": notes} if notes else {})}
    governed.told(governed.call("POST", f"{_path(plan_id)}/approve", body), as_json)


@app.command()
def execute(
    plan_id: Id,
    wait: Wait = True,
    context: Annotated[str | None, typer.Option(help="What policy hooks are told, a JSON object.")] = None,
    as_json: AsJson = False,
) -> None:
    """Do what was approved; exit 4 where nobody approved it, 1 where it fails.

    Example: orchestrator plans execute ID --context '{"userId": "123", "consentGiven": true}'
    """
    body = {} if context is None else {"context": governed.object_in(context, "--context")}
    begun = governed.call("POST", f"{_path(plan_id)}/execute", body)
    if not wait:
        show(begun, as_json)
        return
    plan = governed.settled(_path(plan_id))
    show(plan["execution"], as_json)
    governed.judge(plan, plan["execution"].get("error"))


@app.command()
def replan(
    plan_id: Id,
    step: Annotated[str | None, typer.Option(help="The step to leave out; the one that failed if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """A new plan without the step that failed; what completed is kept, and it is approved anew.

    Example: orchestrator plans replan ID
    """
    _made(governed.call("POST", f"{_path(plan_id)}/replan", {"stepId": step} if step else {}), as_json)


@app.command()
def timeline(plan_id: Id, as_json: AsJson = False) -> None:
    """What happened when; durations in milliseconds.

    Example: orchestrator plans timeline ID
    """
    table(governed.call("GET", f"{_path(plan_id)}/timeline")["items"], ["timestamp", "event", "duration"], as_json)


@app.command()
def stats(plan_id: Id, as_json: AsJson = False) -> None:
    """Sums over what happened; durations in milliseconds.

    Example: orchestrator plans stats ID
    """
    show(governed.call("GET", f"{_path(plan_id)}/stats"), as_json)


@app.command()
def replay(plan_id: Id, as_json: AsJson = False) -> None:
    """Every entry in order; nothing is executed.

    Example: orchestrator plans replay ID --json
    """
    table(governed.call("GET", f"{_path(plan_id)}/replay")["items"], ["timestamp", "event", "data"], as_json)


@app.command()
def export(plan_id: Id, as_json: AsJson = False) -> None:
    """The whole history as one line of JSON, for `import`.

    Example: orchestrator plans export ID > history.json
    """
    show(governed.call("GET", f"{_path(plan_id)}/export"), as_json=True)


@app.command("import")
def take_in(file: File, as_json: AsJson = False) -> None:
    """Read an exported history in, to be looked at like one of here; nothing of it is executed.

    Example: orchestrator plans import history.json
    """
    governed.object_in(text := governed.read(file), file)
    _made(governed.call("POST", "/v1/plans/import", text), as_json)


def _made(plan: dict[str, Any], as_json: bool) -> None:
    _show(plan, as_json)
    if plan["status"] == "awaiting_approval":
        governed.said(f"read it, then: orchestrator plans approve {plan['id']}", as_json)


def _show(plan: dict[str, Any], as_json: bool) -> None:
    """For a person the plan of its command, which names tools, effects and cost; of others the record."""
    command_id = plan.get("commandId")
    if as_json or command_id is None or plan["status"] == "superseded":
        show(plan, as_json)
        return
    command = governed.call("GET", f"/v1/commands/{command_id}")
    title = f"{plan['id']} for the goal {plan['goalId']}"
    governed.show_plan(governed.call("GET", f"/v1/commands/{command_id}/plan"), command, title)


def _path(plan_id: str) -> str:
    return f"/v1/plans/{quote(plan_id, safe='')}"
