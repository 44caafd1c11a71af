"""Grants: what a person allows beforehand, so that nobody need be asked each time."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, note, show, table

app = typer.Typer(help=__doc__, no_args_is_help=True)
_DIGEST_CHARACTERS = 64


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="grants")


@app.command("list")
def listing(as_json: AsJson = False) -> None:
    """All grants, the default one among them.

    Example: orchestrator grants list --json
    """
    rows = client.call("GET", "/v1/grants?limit=1000")["items"]
    if not as_json:
        rows = [{**row, "capabilities": [_told(one) for one in row["capabilities"]]} for row in rows]
    columns = ["id", "kind", "capabilities", "sandbox", "uses_left", "expires_at", "granted_by", "revoked_at"]
    table(rows, columns, as_json)


@app.command()
def create(
    capability: Annotated[
        list[str], typer.Argument(help="NAME@VERSION or NAME@DIGEST, as GET /capabilities lists it.")
    ],
    uses: Annotated[int | None, typer.Option(help="How often; any number of times if absent.")] = None,
    usd: Annotated[str | None, typer.Option(help="The most that all uses together may cost.")] = None,
    tokens: Annotated[int | None, typer.Option(help="The most tokens of all uses together.")] = None,
    usd_per_use: Annotated[str | None, typer.Option(help="The most that one use may be estimated at.")] = None,
    tokens_per_use: Annotated[int | None, typer.Option(help="The most tokens of one use.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339, such as 2027-01-01T00:00:00Z.")] = None,
    sandbox: Annotated[str | None, typer.Option(help="Where code may run: network-less, container or cell.")] = None,
    identity: Annotated[str | None, typer.Option(help="Whose calls it covers; an admin's covers everybody's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Allow capabilities beforehand; the grant's id is alone on stdout.

    Example: orchestrator grants create generate_code@0.1.0 --uses 10 --tokens 100
    """
    body: dict[str, Any] = {"capabilities": [_named(one) for one in capability]}
    optional = {
        "uses_left": uses, "expires_at": expires_at, "sandbox": sandbox, "identity_id": identity,
        "budget_total": _bound(usd, tokens), "budget_per_use": _bound(usd_per_use, tokens_per_use),
    }  # fmt: skip
    body |= {name: value for name, value in optional.items() if value is not None}
    made = client.call("POST", "/v1/grants", body)
    if as_json:
        show(made, as_json)
    else:
        print(made["id"])
        note(f"end it with: orchestrator grants revoke {made['id']}")


@app.command()
def revoke(grant_id: Annotated[str, typer.Argument(help="The grant's id.")], as_json: AsJson = False) -> None:
    """End a grant at once and for good.

    Example: orchestrator grants revoke 0190f3c1-5f7e-7c3a-9d2b-0a1b2c3d4e5f
    """
    show(client.call("DELETE", f"/v1/grants/{quote(grant_id, safe='')}"), as_json)


def _named(text: str) -> dict[str, str]:
    name, at, version = text.rpartition("@")
    if not (name and at and version):
        raise CliFault(f"{text}: say NAME@VERSION, such as generate_code@0.1.0", 2, {"code": "usage"})
    is_digest = len(version) == _DIGEST_CHARACTERS and all(c in "0123456789abcdef" for c in version)
    return {"name": name, "digest" if is_digest else "version": version}


def _told(capability: dict[str, str]) -> str:
    version = capability.get("version") or capability.get("digest", "")[:12]
    return f"{capability['name']}@{version}"


def _bound(usd: str | None, tokens: int | None) -> dict[str, Any] | None:
    """A budget, as the daemon reads it; it judges it, too."""
    given = {"usd": usd, "tokens": tokens}
    return {name: value for name, value in given.items() if value is not None} or None
