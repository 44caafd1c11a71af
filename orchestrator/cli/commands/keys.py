"""Make and end API keys."""

from typing import Annotated, Any

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import note, show, table
from orchestrator.contracts.callers import Scope

app = typer.Typer(help=__doc__, no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="keys")


@app.command("list")
def listing(as_json: AsJson = False) -> None:
    """All keys, without their secrets."""
    table(
        client.call("GET", "/v1/keys?limit=1000")["items"],
        ["id", "name", "scopes", "created_at", "expires_at", "revoked_at"],
        as_json,
    )


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be repeated.")],
    identity: Annotated[str | None, typer.Option(help="Whose key it is; your own if absent.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="The most tokens that it may cost a day.")] = None,
    usd_per_day: Annotated[str | None, typer.Option(help="The most dollars that it may cost a day.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339, such as 2027-01-01T00:00:00Z.")] = None,
    separate_kernel: Annotated[bool, typer.Option(help="Its code runs behind a kernel of its own or not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown this once, and alone on stdout; its id goes to stderr.

    Example: orchestrator keys create ci --scope query --scope execute
    """
    body: dict[str, Any] = {"name": name, "scopes": scope, **({"expires_at": expires_at} if expires_at else {})}
    body |= {"kernel": "separate"} if separate_kernel else {}
    body |= {"identity_id": identity} if identity else {}
    quota = {name: most for name, most in (("tokens", tokens_per_day), ("usd", usd_per_day)) if most is not None}
    body |= {"quota": {**quota, "per": "day"}} if quota else {}
    made = client.call("POST", "/v1/keys", body)
    if as_json:
        show(made, as_json)
    else:
        print(made["key"])
        note(f"id {made['id']}; end it with: orchestrator keys revoke {made['id']}")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id.")], as_json: AsJson = False) -> None:
    """End a key at once and for good."""
    show(client.call("DELETE", f"/v1/keys/{key_id}"), as_json)
