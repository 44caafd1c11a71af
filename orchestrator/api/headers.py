"""What every answer carries, whoever it is for and wherever in the exchange it was made (CONTRACT 1)."""

from aiohttp import web

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def stamp(response: web.StreamResponse, request_id: str) -> None:
    """Add them; what the answer says itself stays."""
    response.headers["X-Request-Id"] = request_id
    response.headers["Server"] = "orchestrator"
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)
