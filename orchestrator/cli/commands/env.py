"""Print address, key and headers as shell variables for curl."""

from shlex import quote

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(env)


def env(as_json: AsJson = False) -> None:
    """Print address, key and headers as shell variables for curl.

    Example: eval "$(orchestrator env)"; curl -H "$ORCHESTRATOR_AUTH" $ORCHESTRATOR_URL/v1/me
    """
    found = client.target()
    variables = {"ORCHESTRATOR_URL": found.url}
    if found.key:
        me = client.call("GET", "/v1/me", at=found)
        context = next((c["id"] for c in me["contexts"] if c["active"]), "")
        variables["ORCHESTRATOR_KEY"] = found.key
        variables["ORCHESTRATOR_AUTH"] = f"X-API-Key: {found.key}"
        variables["ORCHESTRATOR_IDENTITY"] = f"x-identity-id: {me['identity_id']}"
        variables["ORCHESTRATOR_CONTEXT"] = f"x-context-id: {context}"
    if as_json:
        show(variables, as_json)
    else:
        print("\n".join(f"export {name}={quote(value)}" for name, value in variables.items()))
