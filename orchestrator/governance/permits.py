"""The permit office: the only maker of permits, and the judge of those that are shown (R4-08, X-01)."""

import hmac
import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Forbidden
from orchestrator.contracts.permits import Permit
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.ids import new_id

Forged = Callable[[Permit, str, str, str], None]
"""Told of a permit that never was, or never was for this: its capability, its subject, and why."""
_EXPIRED = "it has expired"


class PermitOffice:
    """Issues permits, sealed with a secret that lives as long as the process, and lets each be used once."""

    def __init__(self, clock: Clock, ttl_s: float, forged: Forged | None = None) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._forged = forged
        self._secret = secrets.token_bytes(32)
        self._open: dict[str, float] = {}

    def issue(
        self,
        capability: str,
        subject: str,
        caller: Caller,
        basis: Literal["grant", "approval"],
        basis_id: str,
        person: str,
    ) -> Permit:
        """A permit for one use of `capability` on `subject`, resting on a grant or approval by `person`."""
        now = self._clock.monotonic()
        self._forget_expired(now)
        permit_id, ends = new_id(), now + self._ttl_s
        self._open[permit_id] = ends
        fields = (permit_id, capability, subject, caller.owner, basis, basis_id, person, ends, caller.kernel)
        return Permit(*fields, seal=self._seal(fields))

    def check(self, permit: Permit, capability: str, subject: str) -> None:
        """Consume a permit: `contracts.permits.PermitCheck`. Raises `Forbidden` (`permit_invalid`), naming why."""
        fault = self._fault(permit, capability, subject)
        if fault is not None:
            if fault != _EXPIRED and self._forged is not None:
                self._forged(permit, capability, subject, fault)
            raise Forbidden(f"no permit for {capability}: {fault}", code="permit_invalid")
        del self._open[permit.id]

    def _fault(self, permit: Permit, capability: str, subject: str) -> str | None:
        if not hmac.compare_digest(permit.seal, self._seal(_fields(permit))):
            return "this governor did not issue it"
        if permit.capability != capability:
            return f"it is for {permit.capability}"
        if permit.subject != subject:
            return "it is for another subject"
        if permit.id not in self._open:
            return "it has been used"
        if self._clock.monotonic() > permit.expires_at:
            return _EXPIRED
        return None

    def _seal(self, fields: tuple[str | float, ...]) -> bytes:
        """Keyed BLAKE2: unlike HMAC it keeps the interpreter lock, which other threads would hold for much longer."""
        text = "\x00".join(map(str, fields))
        return blake2b(text.encode(), key=self._secret, digest_size=32).digest()

    def _forget_expired(self, now: float) -> None:
        """Drop permits that nobody used; issued in order, they expire in order."""
        while self._open and next(iter(self._open.values())) < now:
            del self._open[next(iter(self._open))]


def _fields(permit: Permit) -> tuple[str | float, ...]:
    """All that a seal covers."""
    return (
        permit.id,
        permit.capability,
        permit.subject,
        permit.owner,
        permit.basis,
        permit.basis_id,
        permit.approved_by,
        permit.expires_at,
        permit.kernel,
    )
