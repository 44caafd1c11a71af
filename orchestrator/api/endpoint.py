"""What an endpoint is, and how the folder `endpoints` is the list of them."""

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pydantic_core
from aiohttp import web
from pydantic import BaseModel

from orchestrator.api.rooms import Rooms
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import ApprovalRequired, Invalid
from orchestrator.governance.identities import Context


@dataclass(slots=True)
class Call:
    """One admitted request: who asks, the validated body, and the rooms that can answer."""

    request: web.Request
    request_id: str
    caller: Caller
    body: Any
    rooms: Rooms
    raw: bytes = b""
    context: Context | None = None
    """In whose name and where, for what is governed."""
    audited: bool = False
    """Set by handlers whose room writes its own audit row, refusals too."""

    @property
    def acting(self) -> Context:
        """The context of what is governed."""
        assert self.context is not None, "the gate has looked"
        return self.context

    @property
    def actor(self) -> str:
        """Who it is, for the audit."""
        return self.caller.owner

    def parameter(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    def check_query(self, endpoint: "Endpoint") -> None:
        """Raise `Invalid` for parameters that the endpoint does not take."""
        known = (*endpoint.query, *_LIST) if endpoint.lists else endpoint.query
        unknown = sorted(set(self.request.query) - set(known))
        if unknown:
            errors = [{"loc": ["query", name[:100]], "msg": "no such parameter"} for name in unknown[:_MOST_TOLD]]
            raise Invalid(f"{unknown[0][:100]}: no such parameter", errors=errors)

    def page(self) -> "Page":
        """The list's parameters. Raises `Invalid`."""
        return Page.of(self.request)


_LIST = ("limit", "after", "subject")


@dataclass(frozen=True, slots=True)
class Page:
    """`?limit=&after=&subject=` of a list."""

    limit: int
    after: str | None
    subject: str | None

    @classmethod
    def of(cls, request: web.Request) -> "Page":
        """Read them. Raises `Invalid` for a limit that is none."""
        text = request.query.get("limit", "100")
        if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= 1000):
            raise Invalid("limit: 1 to 1000", errors=[{"loc": ["query", "limit"], "msg": "1 to 1000"}])
        return cls(int(text), request.query.get("after"), request.query.get("subject"))

    def sequence(self) -> int | None:
        """`after` as the number of a row. Raises `Invalid`."""
        after = self._cursor(re.compile(r"[0-9]{1,18}"))
        return None if after is None else int(after)

    def identifier(self) -> str | None:
        """`after` as an id. Raises `Invalid`."""
        return self._cursor(re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"))

    def name(self) -> str | None:
        """`after` as the name of a thing. Raises `Invalid`."""
        return self._cursor(re.compile(r"[A-Za-z0-9_.-]{1,64}"))

    def _cursor(self, form: re.Pattern[str]) -> str | None:
        if self.after is None or form.fullmatch(self.after):
            return self.after
        errors = [{"loc": ["query", "after"], "msg": "not a cursor of this list"}]
        raise Invalid("after: not a cursor", errors=errors)

    def answer(self, items: list[dict[str, Any]], cursor: str) -> dict[str, Any]:
        """The list, with the cursor of its next page: the member `cursor` of its last item."""
        more = len(items) == self.limit
        return {"items": items, "next": str(items[-1][cursor]) if more else None}


_MOST_TOLD = 20
_JSON = "application/json; charset=utf-8"
Handler = Callable[[Call], Awaitable[web.StreamResponse]]
F = TypeVar("F", bound=Handler)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path. `scope` None: no key is asked for; `any_key`: any good key will do."""

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    any_key: bool = False
    aliases: tuple[str, ...] = ()
    media_type: str = "application/json"
    secret_members: tuple[str, ...] = ()
    lists: bool = False
    codes: tuple[str, ...] = field(default=())
    governed: bool = False
    """Whether the two headers of a command are mandatory (R4-01)."""
    body_code: str = "invalid"
    """The code of the refusal of a body that is not the model."""
    raw: bool = False
    """Whether the handler reads the body's bytes itself; `body` is then for the interface's description."""
    query: tuple[str, ...] = ()
    """Names of the query parameters that it takes, beside those of a list."""
    awaits: bool = False
    """Whether it answers 202 where a person has to be asked first."""


def endpoint(
    method: str,
    path: str,
    *,
    scope: Scope | None = None,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    status: int = 200,
    any_key: bool = False,
    aliases: tuple[str, ...] = (),
    media_type: str = "application/json",
    secret_members: tuple[str, ...] = (),
    lists: bool = False,
    codes: tuple[str, ...] = (),
    governed: bool = False,
    query: tuple[str, ...] = (),
    body_code: str = "invalid",
    raw: bool = False,
    awaits: bool = False,
) -> Callable[[F], F]:
    """Declare an endpoint; the first line of the function's docstring is its summary."""

    def declare(handler: F) -> F:
        handler.__endpoint__ = Endpoint(  # type: ignore[attr-defined]
            method,
            path,
            handler,
            scope,
            (handler.__doc__ or "").partition("\n")[0].rstrip("."),
            body,
            answer,
            status,
            any_key,
            aliases,
            media_type,
            secret_members,
            lists,
            codes,
            governed,
            body_code,
            raw,
            query,
            awaits,
        )
        return handler

    return declare


def discover(package: Any) -> Iterator[Endpoint]:
    """All endpoints declared in the modules of a package, in order of module and position."""
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for value in vars(module).values():
            declared = getattr(value, "__endpoint__", None)
            if isinstance(declared, Endpoint) and value.__module__ == module.__name__:
                yield declared


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response: a model, a JSON value, or JSON bytes as they are."""
    if isinstance(value, BaseModel):
        data = value.model_dump_json().encode()
    else:
        data = value if isinstance(value, bytes) else pydantic_core.to_json(value, inf_nan_mode="null")
    return web.Response(status=status, body=data, headers={"Content-Type": _JSON, **(headers or {})})


def awaiting(required: ApprovalRequired, path: str) -> web.Response:
    """What waits for a person, and where it will be answered (CONTRACT 2)."""
    waits = {"id": required.extra["id"], "status": required.code, "command_id": required.extra["command_id"]}
    return json_answer(waits, required.status, {"Location": f"{path}/{waits['id']}"})
