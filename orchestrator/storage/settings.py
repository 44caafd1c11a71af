"""What the store may be told."""

from pydantic import Field

from orchestrator.contracts.model import Model


class StorageSettings(Model):
    """Where rows and blobs are kept. The state directory itself is chosen by `ORCHESTRATOR_STATE_DIR`."""

    busy_timeout_ms: int = Field(5_000, ge=0, description="How long a transaction waits for a lock of another process.")
    batch_size: int = Field(512, ge=1, description="Transactions that one commit may carry.")
    readers: int = Field(3, ge=1, le=32, description="Threads that read beside the writer.")
    blob_max_bytes: int = Field(64 * 2**20, ge=2**20, description="Largest single blob.")
