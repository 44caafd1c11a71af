"""`orchestrator env`."""

import typer

from orchestrator.cli import client


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(env)


def env() -> None:
    """Print address, key and headers as shell variables for curl.

    Example: eval "$(orchestrator env)"; curl -H "$ORCHESTRATOR_AUTH" $ORCHESTRATOR_URL/v1/me
    """
    found = client.target()
    print(f"export ORCHESTRATOR_URL={found.url}")
    if found.key:
        me = client.call("GET", "/v1/me", at=found)
        context = next((c["id"] for c in me["contexts"] if c["active"]), "")
        print(f"export ORCHESTRATOR_KEY={found.key}")
        print(f"export ORCHESTRATOR_AUTH='X-API-Key: {found.key}'")
        print(f"export ORCHESTRATOR_IDENTITY='x-identity-id: {me['identity_id']}'")
        print(f"export ORCHESTRATOR_CONTEXT='x-context-id: {context}'")
