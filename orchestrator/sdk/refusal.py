"""How a plugin says no."""

from typing import Any


class Refused(Exception):
    """Raise it when the request is understood and cannot be served: the client gets 422 with this code and detail.

    Extra members are added to the problem document, to say what would help.
    """

    def __init__(self, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.members = members
