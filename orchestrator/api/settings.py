"""What the HTTP door may be told."""

from pydantic import Field

from orchestrator.contracts.model import Model


class ApiSettings(Model):
    """Where the daemon listens, and whom it answers."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs governance.require_key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: list[str] = Field(
        [], description="Names beside loopback's that a Host header may carry, without port."
    )
    allowed_origins: list[str] = Field(
        [], description="Origins that may send other requests than GET, such as https://ops.example."
    )
    metrics_allow: list[str] = Field(
        [], description="Networks beside loopback that may read /metrics, such as 10.0.0.0/8."
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest request body.")
    body_timeout_ms: int = Field(30_000, ge=100, description="Time that a client may take to send its body.")
    key_rate_per_s: float = Field(
        50.0, gt=0, description="Requests a second of one key from peers other than loopback."
    )
    wrong_keys_per_minute: int = Field(
        10, ge=1, description="Wrong keys a minute from one peer; after that they get 429."
    )
    idempotency_ttl_s: int = Field(86_400, ge=60, description="How long an answer is kept for its Idempotency-Key.")
    shutdown_ms: int = Field(60_000, ge=0, description="How long a drain waits for requests under way.")
