"""A daemon with two plugins, and people who act in contexts of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.testing.daemons import NO_ENGINE, Answered, Client, Running, running

SHOUT = """
PLUGIN = {"intents": ["shout"], "keywords": ["shout"], "version": "1.2.0"}
def handle(request):
    return {"said": request.text.upper(), "params": dict(request.params)}
"""
WHISPER = """
PLUGIN = {"intents": ["whisper"], "keywords": ["whisper"], "version": "2.0.0"}
def handle(request):
    return {"said": request.text.lower()}
"""


class Person:
    """An identity with a key and a context."""

    def __init__(self, client: Client, identity: str, context: str) -> None:
        self.client = client
        self.identity = identity
        self.context = context
        self.headers = {"x-identity-id": identity, "x-context-id": context}

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answered:
        options: dict[str, Any] = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers={**self.headers, **headers}, **options)

    async def planned(self, intent: str, **body: object) -> tuple[str, Answered]:
        """A command's path, and the answer to planning it."""
        made = await self.ask("POST", "/v1/commands", {"intent": intent, **body})
        assert made.status == 201, made.body
        path = f"/v1/commands/{made.json['id']}"
        return path, await self.ask("POST", f"{path}/plan")

    async def status(self, path: str) -> str:
        return str((await self.ask("GET", f"{path}/status")).json["status"])

    async def ended(self, path: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (told := (await self.ask("GET", f"{path}/status")).json)["status"] == "executing":
                await asyncio.sleep(0.01)
        return dict(told)


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "loud.py").write_text(SHOUT)
    (folder / "plugins" / "quiet.py").write_text(WHISPER)
    settings = {"sandbox__docker_host": NO_ENGINE, **settings}
    async with running(folder / "state", [folder / "plugins"], bundled=False, **settings) as daemon:
        yield daemon


async def operator_of(daemon: Running) -> Person:
    me = (await daemon.admin.get("/v1/me")).json
    return Person(daemon.admin, me["identity_id"], me["contexts"][0]["id"])


async def another(daemon: Running, *scopes: str, kind: str = "person", **context: object) -> Person:
    """A second identity with a context and a key of these scopes."""
    who = (await daemon.admin.post("/v1/identities", json={"kind": kind, "name": "second"})).json["id"]
    body = {"identity_id": who, "sphere": "my_team", **context}
    where = await daemon.admin.post("/v1/contexts", json=body)
    assert where.status == 201, where.body
    key = await daemon.admin.post("/v1/keys", json={"name": "k", "scopes": scopes, "identity_id": who})
    assert key.status == 201, key.body
    return Person(daemon.admin.with_key(key.json["key"]), who, where.json["id"])


async def edited(daemon: Running, file: Path) -> None:
    """Another version of a plugin, once the daemon serves it."""
    where = f"/plugins/{file.stem}"
    before = (await daemon.admin.get(where)).json["digest"]
    file.write_text(file.read_text() + "# other\n")
    async with asyncio.timeout(10):
        while (await daemon.admin.get(where)).json["digest"] == before:
            await asyncio.sleep(0.01)
