"""What tests of the HTTP interface share."""

from typing import Any

Start = Any
ECHO = 'PLUGIN = {"keywords": ["echo"], "intents": ["echo"]}\ndef handle(request):\n    return {"text": request.text}\n'


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status, answer.json.get("code")) == (status, code), answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(answer.json)
    assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    assert "Traceback" not in answer.body.decode()
    return answer.json
