"""Floor 1: everything that a plugin may import. Nothing here is needed: plain functions and dictionaries do too."""

from orchestrator.sdk.hooks import hookimpl
from orchestrator.sdk.manager import Manager
from orchestrator.sdk.records import Record, Request
from orchestrator.sdk.refusal import Refused

__all__ = ["Manager", "Record", "Refused", "Request", "hookimpl"]
