"""API keys: made once, shown once, stored as hashes, belonging to an identity (CONTRACT 1, R2-15)."""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.costs import Quota
from orchestrator.contracts.errors import Invalid, NotFound
from orchestrator.contracts.executions import Kernel
from orchestrator.governance.identities import Identities
from orchestrator.kernel.canonical import sha256_hex
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import keys

PREFIX = "orc_"


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret."""

    id: str
    identity_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    kernel: Kernel
    active: bool = True
    quota: Quota | None = None

    def as_json(self) -> dict[str, Any]:
        """The key as `GET /v1/keys` lists it."""
        return {
            "id": self.id,
            "identity_id": self.identity_id,
            "name": self.name,
            "scopes": sorted(self.scopes),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "kernel": self.kernel,
            "active": self.active,
            "quota": None if self.quota is None else self.quota.model_dump(mode="json", exclude_none=True),
        }


class Keys:
    """All keys. Looking one up is a dictionary access on the hash of what the client sent."""

    def __init__(self, store: Store, journal: Journal, identities: Identities, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._identities = identities
        self._clock = clock
        self._by_hash: dict[str, Key] = {}

    async def open(self) -> None:
        """Load all keys."""
        rows = await self._store.read(lambda tx: tx.execute(select(keys)).mappings().all())
        self._by_hash = {row["hash"]: _key(row) for row in rows}

    def caller(self, secret: str) -> Caller | None:
        """The caller behind a key, or None if it is unknown, revoked, expired, or it or its identity is off."""
        key = self._by_hash.get(sha256_hex(secret.encode("utf-8", "surrogatepass")))
        if key is None or key.revoked_at is not None or not key.active:
            return None
        if key.expires_at is not None and key.expires_at <= rfc3339(self._clock.now()):
            return None
        identity = self._identities.get(key.identity_id)
        if identity is None or not identity.active:
            return None
        return Caller(
            owner=identity.id, kind=identity.kind, scopes=key.scopes, key_id=key.id, kernel=key.kernel, quota=key.quota
        )

    def list(self) -> list[Key]:
        """All keys, newest first, revoked ones too."""
        return sorted(self._by_hash.values(), key=lambda key: key.id, reverse=True)

    async def create(
        self,
        name: str,
        scopes: frozenset[Scope],
        identity_id: str,
        actor: str,
        *,
        expires_at: datetime | None = None,
        kernel: Kernel = "shared",
        quota: Quota | None = None,
        secret: str | None = None,
    ) -> tuple[Key, str]:
        """Make a key; it and its secret, which cannot be had again. Raises `Invalid` for an identity there is not."""
        identity = self._identities.get(identity_id)
        if identity is None:
            raise Invalid("no such identity", errors=[{"loc": ["identity_id"], "msg": "names no identity"}])
        secret = secret or PREFIX + secrets.token_urlsafe(32)
        row = {
            "id": new_id(),
            "identity_id": identity_id,
            "name": name,
            "scopes": sorted(scopes),
            "hash": sha256_hex(secret.encode()),
            "created_at": rfc3339(self._clock.now()),
            "expires_at": rfc3339(expires_at) if expires_at else None,
            "revoked_at": None,
            "kernel": kernel,
            "active": True,
            "quota": None if quota is None else quota.model_dump(mode="json", exclude_none=True),
        }

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(keys), row)
            data = {
                "name": name,
                "scopes": row["scopes"],
                "identity_id": identity_id,
                "kernel": kernel,
                "quota": row["quota"],
            }
            return None, [Entry("key.created", str(row["id"]), actor, data=data, owner=identity_id)]

        await self._journal.write(work)
        key = self._by_hash[str(row["hash"])] = _key(row)
        return key, secret

    async def revoke(self, key_id: str, actor: str) -> Key:
        """End a key at once and for good; a second time is the same as once. Raises `NotFound`."""
        digest, key = self._find(key_id)
        if key.revoked_at is None:
            now, facts = rfc3339(self._clock.now()), (key.name, key.identity_id)

            def work(tx: Tx) -> tuple[None, list[Entry]]:
                tx.execute(update(keys).where(keys.c.id == key_id).values(revoked_at=now))
                return None, [Entry("key.revoked", key_id, actor, data={"name": facts[0]}, owner=facts[1])]

            await self._journal.write(work)
            key = self._by_hash[digest] = replace(self._by_hash[digest], revoked_at=now)
        return key

    async def switch(self, key_id: str, active: bool, actor: str) -> Key:
        """Switch a key off, or on again, with effect at once. Raises `NotFound`."""
        digest, key = self._find(key_id)
        if key.active != active:
            topic = "key.activated" if active else "key.deactivated"

            def work(tx: Tx) -> tuple[None, list[Entry]]:
                tx.execute(update(keys).where(keys.c.id == key_id).values(active=active))
                return None, [Entry(topic, key_id, actor, data={"active": active}, owner=key.identity_id)]

            await self._journal.write(work)
            key = self._by_hash[digest] = replace(self._by_hash[digest], active=active)
        return key

    def _find(self, key_id: str) -> tuple[str, Key]:
        for digest, key in self._by_hash.items():
            if key.id == key_id:
                return digest, key
        raise NotFound("no such key")


def _key(row: Any) -> Key:
    return Key(
        id=row["id"],
        identity_id=row["identity_id"],
        name=row["name"],
        scopes=frozenset(Scope(s) for s in row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        kernel=row["kernel"],
        active=row["active"],
        quota=Quota.model_validate(row["quota"]) if row["quota"] else None,
    )
