"""The pages that the daemon serves itself: how it is, and its interface. No script, nothing from outside."""

import json
import re
from html import escape
from typing import Any

from orchestrator.api.rooms import Rooms

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --ok: #2a7; --bad: #c43; --warn: #b80; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
code, pre { font: .9em ui-monospace, monospace; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
.ok, .active { color: var(--ok); } .failed, .broken { color: var(--bad); }
.degraded, .disabled, .draining, .starting { color: var(--warn); }
.method { font-weight: 600; } .quiet { opacity: .7; }
""".strip()


def page(title: str, body: str) -> str:
    """A whole page; `body` is markup, all text in it escaped."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css"></head>'
        f"<body>{body}</body></html>"
    )


def status(rooms: Rooms) -> str:
    """The status page: its parts, its plugins by state, and where to go from here. Shows nothing that needs a key."""
    checks = rooms.checks()
    overall = (
        "draining" if rooms.draining else "degraded" if any(c["status"] != "ok" for c in checks.values()) else "ok"
    )
    parts = "".join(_row(name, c["status"], c["detail"]) for name, c in checks.items())
    plugins = "".join(
        _row(v.name, v.state, v.error.message if v.error else v.description) for v in rooms.host.views(admin=False)
    )
    return page(
        "orchestrator",
        f'<h1>orchestrator {escape(rooms.version)} <span class="{overall}">{overall}</span></h1>'
        f"<h2>Parts</h2><table>{parts}</table><h2>Plugins</h2><table>{plugins}</table>"
        '<h2>From here</h2><p><a href="/docs">Interface</a> · <a href="/openapi.json">OpenAPI</a> · '
        '<a href="/readyz">Readiness</a> · <a href="/metrics">Metrics</a> · <a href="/plugins">Plugins</a></p>'
        f"<pre>curl -X POST http://{escape(rooms.settings.host)}:{rooms.settings.port}/query \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        '  -d \'{"text": "reverse a string", "intent": "generate_code"}\'</pre>',
    )


def docs(openapi: dict[str, Any]) -> str:
    """The interface page."""
    rows = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            scope = escape(operation.get("x-scope", "–"))
            rows.append(
                f'<tr><td class="method">{method.upper()}</td><td><code>{escape(path)}</code></td>'
                f"<td>{_prose(operation['summary'])}{_body(operation)}</td><td>{scope}</td></tr>"
            )
    schemas = "".join(_schema(name, schema) for name, schema in sorted(openapi["components"]["schemas"].items()))
    return page(
        "orchestrator: interface",
        "<h1>Interface</h1><p>A key goes into <code>X-API-Key</code> or <code>Authorization: Bearer</code>. "
        'The machine-readable form is <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<table><tr><th>Method</th><th>Path</th><th>What it does</th><th>Scope</th></tr>{''.join(rows)}</table>"
        f"<h2>Objects</h2>{schemas}",
    )


def _row(name: str, state: str, detail: str) -> str:
    shown = escape(state)
    return f'<tr><td>{escape(name)}</td><td class="{shown}">{shown}</td><td class="quiet">{escape(detail)}</td></tr>'


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    name = next((c["schema"].get("$ref", "").rpartition("/")[2] for c in content.values()), "")
    return f' <a class="quiet" href="#{escape(name)}">{escape(name)}</a>' if name else ""


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' <span class=quiet>optional</span>'}</td>"
        f"<td>{escape(_kind(s))}</td><td>{_prose(s.get('description', ''))}{_default(s)}</td></tr>"
        for field, s in schema.get("properties", {}).items()
    )
    told = _prose(schema.get("description", ""))
    if "enum" in schema:
        told += f" <code>{escape(_kind(schema))}</code>"
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{told}</p><table>{rows}</table>'


def _default(schema: dict[str, Any]) -> str:
    """What holds where a field is absent, if that is anything."""
    if schema.get("default") in (None, "", [], {}):
        return ""
    return f' <span class="quiet">Default: <code>{escape(json.dumps(schema["default"]))}</code></span>'


def _prose(text: str) -> str:
    """Text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(s) for s in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(str(v) for v in schema["enum"])
    return str(schema.get("const", schema.get("type", "any")))
