"""JSON objects that read as mappings and by attribute alike."""

from typing import Any


class Record(dict[str, Any]):
    """A JSON object whose members are attributes too, at every depth: `result["usage"]`, `result.usage.wall_ms`.

    A missing member raises `KeyError` or `AttributeError`; methods of `dict` win over members of the same name.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(name) from None
        return Record(value) if type(value) is dict else value


class Request(Record):
    """What `handle` gets: `text`, `intent`, `params`, `id`, `source`.

    `intent` is None where nothing named one.
    """
