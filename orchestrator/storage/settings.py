"""What the store may be told."""

from pydantic import Field, SecretStr, field_validator

from orchestrator.contracts.model import Model

_SCHEMES = ("postgresql://", "postgres://")


class StorageSettings(Model):
    """Where rows and blobs are kept. The state directory itself is chosen by `ORCHESTRATOR_STATE_DIR`."""

    url: SecretStr = Field(
        SecretStr(""),
        description="A PostgreSQL server and database, postgresql://USER@HOST/DATABASE; empty: SQLite in the state "
        "directory. Without a password in it, PGPASSWORD and ~/.pgpass are asked.",
    )
    busy_timeout_ms: int = Field(5_000, ge=0, description="How long a transaction waits for a lock of another process.")
    silence_ms: int = Field(
        30_000, ge=100, description="How long a PostgreSQL server may take over one statement before it counts as lost."
    )
    batch_size: int = Field(512, ge=1, description="Transactions that one commit may carry.")
    readers: int = Field(3, ge=1, le=32, description="Threads, or connections, that read beside the writer.")
    blob_max_bytes: int = Field(64 * 2**20, ge=2**20, description="Largest single blob.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text and not text.startswith(_SCHEMES):
            raise ValueError("begins with postgresql://, or is empty for SQLite")
        return url
