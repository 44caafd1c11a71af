"""The right to do one thing once. The sandbox and the host act on nothing else; only `governance` makes one."""

from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.contracts.executions import Kernel


@dataclass(frozen=True, slots=True)
class Permit:
    """What a person allowed, by an approval or a standing grant (CONTRACT 5, X-01).

    `capability` is `sandbox.execute` or `plugin:NAME@DIGEST`; `subject` the id of the query or execution that it is
    for; `kernel` the least boundary that its code may run behind; `seal` an authenticator over all other fields that
    only the issuing room can compute.
    """

    id: str
    capability: str
    subject: str
    owner: str
    basis: Literal["grant", "approval"]
    basis_id: str
    approved_by: str
    expires_at: float
    kernel: Kernel
    seal: bytes


class PermitCheck(Protocol):
    """How a room that acts asks whether a permit is genuine, unused, unexpired and for this very thing."""

    def __call__(self, permit: Permit, capability: str, subject: str) -> None:
        """Consume `permit`, or raise `Forbidden`."""
        ...
