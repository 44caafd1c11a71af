"""What the daemon is measured against: the same exchange by servers that do nothing."""

import sys

import uvicorn
from aiohttp import web
from fastapi import FastAPI
from pydantic import BaseModel


class Body(BaseModel):
    """The body of a query."""

    text: str
    intent: str | None = None


def fastapi_app() -> FastAPI:
    """One route that validates its body and answers a constant."""
    app = FastAPI()

    @app.post("/query")
    async def query(body: Body) -> dict[str, str]:
        return {"response": "pong"}

    return app


def aiohttp_app() -> web.Application:
    """The same by aiohttp, which reads the body and answers a constant."""
    app = web.Application()

    async def query(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response({"response": "pong"})

    app.router.add_post("/query", query)
    return app


if __name__ == "__main__":
    port = int(sys.argv[2])
    if sys.argv[1] == "fastapi":
        uvicorn.run(fastapi_app(), host="127.0.0.1", port=port, log_level="warning", access_log=False)
    else:
        web.run_app(aiohttp_app(), host="127.0.0.1", port=port, print=None, access_log=None)
